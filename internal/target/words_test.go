package target

import (
	"slices"
	"testing"
)

func TestWords(t *testing.T) {
	want := []string{"pod", "deploy", "sts", "ds", "rs", "replicationcontroller", "job", "cronjob", "svc", "node"}
	if got := Words(); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	for _, word := range Words() {
		if _, ok := ResourceOf(word); !ok {
			t.Errorf("%q is not a type of target", word)
		}
	}
	if r, ok := ResourceOf("deployments.apps"); !ok || !r.Namespaced || r.String() != "apps/v1, Resource=deployments" {
		t.Errorf("deployments.apps: %+v, %t", r, ok)
	}
	if r, ok := ResourceOf("no"); !ok || r.Namespaced || r.Resource != "nodes" {
		t.Errorf("no: %+v, %t", r, ok)
	}
	if _, ok := ResourceOf("secret"); ok {
		t.Error("secret is a type of target")
	}
}
