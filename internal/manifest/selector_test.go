package manifest

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// What a selector selects, its manifest's form does.
func TestParseSelector(t *testing.T) {
	objects := []labels.Set{{}, {"a": "1"}, {"a": "2"}, {"a": "3"}, {"a": ""}, {"b": "1"}, {"a": "1", "b": "1"}, {"a": "2", "b": "2"}}
	for _, text := range []string{
		"", "a=1", "a==1", "a!=1", "a in (1,2)", "a notin (1,2)", "a", "!a", "a=", "a=1,b=1", "a=1,a=2", "a in (1),b!=2,a", "a in (,1)",
	} {
		want, err := labels.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		form, err := ParseSelector(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		got, err := metav1.LabelSelectorAsSelector(form)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		for _, object := range objects {
			if got.Matches(object) != want.Matches(object) {
				t.Errorf("%q and %v: %t, its form %s: %t", text, object, want.Matches(object), got, got.Matches(object))
			}
		}
	}
	for _, text := range []string{"a>5", "a<5", "a=("} {
		if s, err := ParseSelector(text); err == nil {
			t.Errorf("%q: %v", text, s)
		}
	}
}
