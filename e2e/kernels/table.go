//go:build linux

package main

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/kubectl-retina/kubectl-retina/e2e/kernels/plan"
	"github.com/kubectl-retina/kubectl-retina/e2e/kernels/verdict"
	"github.com/kubectl-retina/kubectl-retina/internal/oneline"
)

// page writes the support table, with the reasons below it, as Markdown.
type page struct {
	text  strings.Builder
	notes []string
}

// render writes what all kernels showed.
func render(outcomes []*outcome, probes []plan.Probe) string {
	p := new(page)
	p.row("", outcomes, func(o *outcome) string { return title(o) })
	p.text.WriteString("|---" + strings.Repeat("|---", len(outcomes)) + "|\n")
	for _, probe := range probes {
		p.row(rowName(probe), outcomes, func(o *outcome) string { return p.cell(o, probe) })
	}
	others := func(t verdict.Test) bool { return !strings.HasPrefix(t.Suite, pluginsDir) }
	if slices.ContainsFunc(outcomes, func(o *outcome) bool { return slices.ContainsFunc(o.sorted(), others) }) {
		p.row("collector, filters in the kernel", outcomes, func(o *outcome) string { return p.state(o, others, verdict.Probe{}) })
	}
	p.text.WriteString("\n")
	for i, note := range p.notes {
		fmt.Fprintf(&p.text, "%d. %s\n", i+1, note)
	}
	p.skipped(outcomes)
	return p.text.String()
}

const pluginsDir = "internal/plugin/"

func title(o *outcome) string {
	return fmt.Sprintf("Linux %s<br>%s", strings.TrimSuffix(o.version, "-cloud-amd64"), o.name)
}

func rowName(p plan.Probe) string {
	switch p.Hook {
	case "tcx":
		return p.Plugin + " by TCX"
	case "socket":
		return p.Plugin + " by packet socket"
	}
	return "**" + p.Plugin + "**"
}

func (p *page) row(name string, outcomes []*outcome, cell func(*outcome) string) {
	fmt.Fprintf(&p.text, "| %s ", name)
	for _, o := range outcomes {
		fmt.Fprintf(&p.text, "| %s ", cell(o))
	}
	p.text.WriteString("|\n")
}

// cell says whether a plugin works on a kernel.
func (p *page) cell(o *outcome, asked plan.Probe) string {
	i := slices.IndexFunc(o.probed, func(v verdict.Probe) bool { return v.Plugin == asked.Plugin && v.Forced == asked.Hook })
	if i < 0 {
		return "not asked"
	}
	return p.state(o, func(t verdict.Test) bool {
		of, _, _ := strings.Cut(strings.TrimPrefix(t.Suite, pluginsDir), "/")
		if !strings.HasPrefix(t.Suite, pluginsDir) || of != asked.Plugin {
			return false
		}
		return asked.Hook == "" || slices.Contains(strings.Split(t.Name, "/")[1:], asked.Hook)
	}, o.probed[i])
}

// state is a cell's text: how many tests passed, and what the collector said.
func (p *page) state(o *outcome, belongs func(verdict.Test) bool, said verdict.Probe) string {
	passed, failed := 0, 0
	for _, t := range o.tests {
		switch {
		case !belongs(t):
		case t.Result == verdict.Pass:
			passed++
		case t.Result == verdict.Fail:
			failed++
		}
	}
	text := "yes"
	switch {
	case failed > 0 || said.Error != "" || len(said.Left) > 0:
		return fmt.Sprintf("**broken**: %d tests failed", failed)
	case said.Refused.Cause != "":
		return "no" + p.note(said.Refused)
	case len(said.Lacks) > 0:
		text = "in part"
		for _, reason := range said.Lacks {
			text += p.note(reason)
		}
	}
	if said.Forced == "" && said.Hook != "" {
		text += ", by " + said.Hook
	}
	if passed > 0 {
		text += fmt.Sprintf(" (%d)", passed)
	}
	return text
}

// note returns the mark of a reason that stands below the table.
func (p *page) note(r verdict.Reason) string {
	text := oneline.Text(r.Cause)
	if r.Hint != "" {
		text += "; " + oneline.Text(r.Hint)
	}
	i := slices.Index(p.notes, text)
	if i < 0 {
		i = len(p.notes)
		p.notes = append(p.notes, text)
	}
	return fmt.Sprintf(" [%d]", i+1)
}

// skipped lists the tests that did not run, by why and where.
func (p *page) skipped(outcomes []*outcome) {
	type why struct{ test, reason string }
	var order []why
	where := map[why][]string{}
	for _, o := range outcomes {
		for _, t := range o.sorted() {
			if t.Result != verdict.Skip {
				continue
			}
			reason := strings.ReplaceAll(oneline.Text(reasonOf(t.Output)), "|", "\\|")
			w := why{path.Base(t.Suite) + " " + t.Name, strings.ReplaceAll(reason, o.version, "this kernel")}
			if where[w] == nil {
				order = append(order, w)
			}
			where[w] = append(where[w], strings.Join(strings.SplitN(o.version, ".", 3)[:2], "."))
		}
	}
	if len(order) == 0 {
		return
	}
	p.text.WriteString("\nTests that did not run:\n\n| test | on Linux | why |\n|---|---|---|\n")
	for _, w := range order {
		fmt.Fprintf(&p.text, "| %s | %s | %s |\n", w.test, strings.Join(where[w], ", "), w.reason)
	}
}
