package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestPagesAreUpToDate compares the committed pages with what the commands say now.
func TestPagesAreUpToDate(t *testing.T) {
	all, err := pages()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 15 {
		t.Fatalf("only %d pages", len(all))
	}
	const folder = "../../docs/reference/commands"
	for name, want := range all {
		got, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Errorf("%v; run: go run ./tools/commanddocs", err)
			continue
		}
		if string(got) != want {
			t.Errorf("%s is out of date; run: go run ./tools/commanddocs", name)
		}
	}
	files, err := filepath.Glob(filepath.Join(folder, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if _, ok := all[filepath.Base(file)]; !ok {
			t.Errorf("%s is of no command; run: go run ./tools/commanddocs", file)
		}
	}
}
