package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	retina "github.com/kubectl-retina/kubectl-retina"
)

func catalogue(t *testing.T) *retina.Catalogue {
	t.Helper()
	c, err := retina.Catalog()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPageIsUpToDate(t *testing.T) {
	const file = "../../docs/reference/plugins.md"
	written, err := os.ReadFile(filepath.FromSlash(file))
	if err != nil {
		t.Fatal(err)
	}
	if string(written) != page(catalogue(t)) {
		t.Error("docs/reference/plugins.md is not what plugins.yaml says: run `go run ./tools/plugindocs`")
	}
}

func TestPageHasEverything(t *testing.T) {
	c := catalogue(t)
	text := page(c)
	want := []string{"[apiserver](#apiserver)", "## metrics serve"}
	for i := range c.Plugins {
		p := &c.Plugins[i]
		want = append(want, "\n## "+p.Name+"\n", p.Description)
		want = append(want, p.Blind...)
		for _, h := range p.Hooks {
			want = append(want, "| "+h.Kind+" | "+h.At+" | "+h.Kernel+" | "+h.Fallback+" |")
		}
	}
	for _, m := range c.Metrics() {
		want = append(want, "`"+m.Name+"`", "| "+m.Help+" |", m.Type+", "+m.Unit)
	}
	for label, meaning := range c.Labels {
		want = append(want, "| `"+label+"` | "+meaning+" |")
	}
	for _, part := range want {
		if !strings.Contains(text, part) {
			t.Errorf("%q is missing", part)
		}
	}
}

// TestTablesAreWhole: each row of a table has as many cells as the others.
func TestTablesAreWhole(t *testing.T) {
	cells, number := 0, 0
	for line := range strings.Lines(page(catalogue(t))) {
		number++
		if !strings.HasPrefix(line, "|") {
			cells = 0
			continue
		}
		n := strings.Count(strings.ReplaceAll(line, `\|`, ""), "|")
		if cells != 0 && n != cells {
			t.Errorf("line %d has %d signs, the table %d: %s", number, n, cells, line)
		}
		cells = n
	}
}
