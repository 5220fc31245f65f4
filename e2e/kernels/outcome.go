//go:build linux

package main

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/kubectl-retina/kubectl-retina/e2e/kernels/plan"
	"github.com/kubectl-retina/kubectl-retina/e2e/kernels/verdict"
)

// outcome is everything that one kernel showed.
type outcome struct {
	kernel
	booted string // the release that the machine told
	tests  map[testKey]verdict.Test
	suites map[string]verdict.Suite
	probed []verdict.Probe
}

type testKey struct{ suite, name string }

func newOutcome(k kernel) *outcome {
	return &outcome{kernel: k, tests: map[testKey]verdict.Test{}, suites: map[string]verdict.Suite{}}
}

// add takes one message.
func (o *outcome) add(m verdict.Message) {
	switch {
	case m.Boot != nil:
		o.booted = m.Boot.Release
	case m.Test != nil:
		o.tests[testKey{m.Test.Suite, m.Test.Name}] = *m.Test
	case m.Suite != nil:
		o.suites[m.Suite.Name] = *m.Suite
	case m.Probe != nil:
		o.probed = append(o.probed, *m.Probe)
	}
}

// complete fails when something that was planned was not told.
func (o *outcome) complete(p plan.Plan) error {
	if o.booted != o.version {
		return fmt.Errorf("the machine runs Linux %q, not %q", o.booted, o.version)
	}
	for _, s := range p.Suites {
		if _, ok := o.suites[s.Name]; !ok {
			return fmt.Errorf("Linux %s: the tests of %s have not run", o.version, s.Name)
		}
	}
	if len(o.probed) != len(p.Probes) {
		return fmt.Errorf("Linux %s: the collector was asked %d of %d times", o.version, len(o.probed), len(p.Probes))
	}
	return nil
}

// sorted returns the tests in order.
func (o *outcome) sorted() []verdict.Test {
	return slices.SortedFunc(maps.Values(o.tests), func(a, b verdict.Test) int {
		return strings.Compare(a.Suite+" "+a.Name, b.Suite+" "+b.Name)
	})
}

// problems are what must not be: failed tests, leftovers, and a plugin that does
// not run on a kernel that it is said to run on.
func (o *outcome) problems(since func(plugin string) string) []string {
	var all []string
	for _, t := range o.sorted() {
		if t.Result == verdict.Fail {
			all = append(all, fmt.Sprintf("%s %s", t.Suite, t.Name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(o.suites)) {
		s := o.suites[name]
		if s.Error != "" {
			all = append(all, fmt.Sprintf("%s: %s", name, s.Error))
		}
		if len(s.Left) > 0 {
			all = append(all, fmt.Sprintf("%s left behind: %s", name, strings.Join(s.Left, ", ")))
		}
	}
	for _, p := range o.probed {
		name := strings.TrimSpace("collector " + p.Plugin + " " + p.Forced)
		if p.Error != "" {
			all = append(all, fmt.Sprintf("%s: %s", name, p.Error))
		}
		if len(p.Left) > 0 {
			all = append(all, fmt.Sprintf("%s left behind: %s", name, strings.Join(p.Left, ", ")))
		}
		if p.Refused.Cause != "" && p.Forced == "" && !before(o.version, since(p.Plugin)) {
			all = append(all, fmt.Sprintf("%s: %s, though the catalogue says Linux %s", name, p.Refused.Cause, since(p.Plugin)))
		}
	}
	return all
}

// before reports whether a kernel is older than a version such as "6.6".
func before(kernel, version string) bool {
	return slices.Compare(numbers(kernel), numbers(version)) < 0
}

// numbers are the first two of a version.
func numbers(version string) []int {
	n := []int{0, 0}
	_, _ = fmt.Sscanf(version, "%d.%d", &n[0], &n[1])
	return n
}

// reasonOf is what a skipped test says, without the place that says it.
func reasonOf(output string) string {
	lines := strings.Split(strings.TrimSpace(output), "\n")
	return regexp.MustCompile(`^\S+_test\.go:\d+: `).ReplaceAllString(lines[len(lines)-1], "")
}
