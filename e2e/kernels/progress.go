//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/kubectl-retina/kubectl-retina/e2e/kernels/verdict"
	"github.com/kubectl-retina/kubectl-retina/internal/oneline"
)

// progress tells what a machine says while it runs.
type progress struct {
	to                      io.Writer
	passed, failed, skipped int
}

func (p *progress) tell(m verdict.Message) {
	switch {
	case m.Test != nil:
		p.test(*m.Test)
	case m.Suite != nil:
		fmt.Fprintf(p.to, "  %s: %d passed, %d failed, %d did not run\n", oneline.Text(m.Suite.Name), p.passed, p.failed, p.skipped)
		p.passed, p.failed, p.skipped = 0, 0, 0
		p.wrong(m.Suite.Error, m.Suite.Left)
	case m.Probe != nil:
		fmt.Fprintf(p.to, "  collector %s %s: %s%s\n", oneline.Text(m.Probe.Plugin), oneline.Text(m.Probe.Forced),
			oneline.Text(m.Probe.Hook), oneline.Text(m.Probe.Refused.Cause))
		p.wrong(m.Probe.Error, m.Probe.Left)
	}
}

func (p *progress) wrong(text string, left []string) {
	if text != "" {
		fmt.Fprintf(p.to, "    %s\n", oneline.Text(text))
	}
	for _, name := range left {
		fmt.Fprintf(p.to, "    left behind: %s\n", oneline.Text(name))
	}
}

// test prints tests that fail.
func (p *progress) test(t verdict.Test) {
	switch t.Result {
	case verdict.Pass:
		p.passed++
	case verdict.Skip:
		p.skipped++
	default:
		p.failed++
		fmt.Fprintf(p.to, "    FAIL %s\n", oneline.Text(t.Name))
		for line := range strings.Lines(t.Output) {
			fmt.Fprintf(p.to, "      %s\n", oneline.Text(line))
		}
	}
}

// Markers in the file that has the table.
const (
	beginTable = "<!-- begin: written by go run ./e2e/kernels -update docs/kernels.md -->\n"
	endTable   = "<!-- end -->\n"
)

// update writes the table between the markers of a file.
func update(file, table string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, begins := bytes.Cut(text, []byte(beginTable))
	_, after, ends := bytes.Cut(rest, []byte(endTable))
	if !begins || !ends {
		return fmt.Errorf("%s: %w", file, errors.New("no markers for the table"))
	}
	whole := string(before) + beginTable + "\n" + table + "\n" + endTable + string(after)
	return os.WriteFile(file, []byte(whole), 0o644)
}
