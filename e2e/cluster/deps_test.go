//go:build linux

package main

import (
	"slices"
	"testing"
)

func TestMissingPackages(t *testing.T) {
	here, absent := func() bool { return true }, func() bool { return false }
	got := missingPackages([]dependency{
		{program: "sh", pack: "dash"},
		{program: "no-such-program", pack: "z"},
		{program: "no-such-program-either", pack: "z"},
		{pack: "here", present: here},
		{pack: "a", present: absent},
	})
	if want := []string{"a", "z"}; !slices.Equal(got, want) {
		t.Errorf("missing: %q, want %q", got, want)
	}
}

func TestIsStaticWantsAProgram(t *testing.T) {
	for _, path := range []string{"deps.go", "/does/not/exist", "."} {
		if isStatic(path) {
			t.Errorf("%s is a static program", path)
		}
	}
}

func TestLastLines(t *testing.T) {
	for text, want := range map[string]string{"": "", "a\n": "a", "a\nb\n\nc\n \n": "b\nc"} {
		if got := lastLines(text, 2); got != want {
			t.Errorf("lastLines(%q): %q, want %q", text, got, want)
		}
	}
}
