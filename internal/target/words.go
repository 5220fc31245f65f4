package target

import "k8s.io/apimachinery/pkg/runtime/schema"

// A Resource is what a type of target is in the API.
type Resource struct {
	schema.GroupVersionResource
	Namespaced bool
}

// Words returns the types that can be named, in their shortest form, as
// somebody would type them.
func Words() []string {
	var words []string
	for _, k := range kinds() {
		word := k.name
		if len(k.short) > 2 || k.short == "ds" || k.short == "rs" {
			word = k.short
		}
		words = append(words, word)
	}
	return words
}

// ResourceOf returns the resource that a word names: a type as Words has it, or
// any other form that targets take.
func ResourceOf(word string) (Resource, bool) {
	k, ok := kindOf(word)
	return Resource{schema.GroupVersionResource{Group: k.group, Version: "v1", Resource: k.resource}, k.namespaced()}, ok
}
