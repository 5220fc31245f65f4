//go:build linux

package main

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/kubectl-retina/kubectl-retina/e2e/kernels/verdict"
)

func TestParser(t *testing.T) {
	output := strings.Join([]string{
		mark + "=== RUN   TestA",
		mark + "=== RUN   TestA/one",
		"    a_test.go:1: broken",
		mark + "    --- FAIL: TestA/one (0.01s)",
		mark + "=== RUN   TestA/two",
		"--- PASS: TestA/two (0.00s)", // printed by a test
		"    a_test.go:2: needs Linux 9.9",
		mark + "    --- SKIP: TestA/two (0.01s)",
		mark + "--- FAIL: TestA (0.02s)",
		mark + "=== RUN   TestB",
		"seen",
		mark + "--- PASS: TestB (0.02s)",
		mark + "=== RUN   TestC",
		"panic: oh",
	}, "\n")
	p := &parser{suite: "s", output: map[string]string{}, open: map[string]bool{}}
	p.read(strings.NewReader(output))
	p.finish(errors.New("exit status 2"))
	want := []verdict.Test{
		{Suite: "s", Name: "TestA/one", Result: verdict.Fail, Output: "a_test.go:1: broken\n"},
		{Suite: "s", Name: "TestA/two", Result: verdict.Skip, Output: "--- PASS: TestA/two (0.00s)\na_test.go:2: needs Linux 9.9\n"},
		{Suite: "s", Name: "TestA", Result: verdict.Fail},
		{Suite: "s", Name: "TestB", Result: verdict.Pass},
		{Suite: "s", Name: "TestC", Result: verdict.Fail, Output: "panic: oh\npanic: oh\n\nhas not ended: exit status 2\n"},
	}
	if !slices.Equal(p.tests, want) {
		t.Errorf("got\n%q\nwant\n%q", p.tests, want)
	}
}

func TestParserKeepsTheEnd(t *testing.T) {
	p := &parser{suite: "s", output: map[string]string{}, open: map[string]bool{}}
	p.line(mark + "=== RUN   TestA")
	for range 1000 {
		p.line(strings.Repeat("x", 100))
	}
	p.line("the end")
	p.line(mark + "--- FAIL: TestA (1.00s)")
	if got := p.tests[0].Output; len(got) != verdict.MaxOutput || !strings.HasSuffix(got, "x\nthe end\n") {
		t.Errorf("%d bytes, ends in %q", len(got), got[max(0, len(got)-20):])
	}
}
