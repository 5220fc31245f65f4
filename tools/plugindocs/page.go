package main

import (
	"fmt"
	"slices"
	"strings"

	retina "github.com/kubectl-retina/kubectl-retina"
)

const intro = `<!-- Written by tools/plugindocs from plugins.yaml: change that, and run "go run ./tools/plugindocs". -->
# Plugins

What can be measured, where in the kernel, since which Linux, and under which names. The same is printed by ` + "`kubectl retina plugins`" + `. A kernel that lacks
a hook is not refused: what it cannot give is said for each node, and the rest is measured.
`

const names = `
## Names and types

A counter is served under two names: Retina's with ` + "`_total`" + `, typed, and Retina's own, untyped, so that its dashboards and alerts go on working.
` + "`metrics serve --retina-names=false`" + ` leaves the second out. Why: Prometheus' own linter refuses a counter whose name does not end in ` + "`_total`" + `, and a
` + "`_count`" + ` that is no histogram's. Directions are lower case in every context.

A series has the labels of its context, and its metric's own.

| context | labels | |
|---|---|---|
`

// page is the whole page.
func page(c *retina.Catalogue) string {
	var b strings.Builder
	b.WriteString(intro)
	b.WriteString("\n| plugin | first Linux | what |\n|---|---|---|\n")
	for i := range c.Plugins {
		p := &c.Plugins[i]
		fmt.Fprintf(&b, "| [%s](#%s) | %s | %s |\n", p.Name, p.Name, p.Kernel, cell(p.Summary))
	}
	for i := range c.Plugins {
		writePlugin(&b, &c.Plugins[i])
	}
	b.WriteString("\n## metrics serve\n\nWhat the endpoint says of itself.\n")
	writeMetrics(&b, c.Endpoint)
	b.WriteString(names)
	for _, context := range c.Contexts {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", context.Name, orNothing(quoted(context.Labels, " ")), cell(context.Summary))
	}
	b.WriteString("\n| label | |\n|---|---|\n")
	for _, label := range labelsInOrder(c) {
		fmt.Fprintf(&b, "| `%s` | %s |\n", label, cell(c.Labels[label]))
	}
	return b.String()
}

func writePlugin(b *strings.Builder, p *retina.Plugin) {
	fmt.Fprintf(b, "\n## %s\n\n%s. For `kubectl retina %s`; Linux %s or later.\n\n%s\n", p.Name, sentence(p.Summary), p.Command, p.Kernel, p.Description)
	if len(p.Needs) > 0 {
		fmt.Fprintf(b, "\n**Needs** %s.\n", strings.Join(p.Needs, "; "))
	}
	b.WriteString("\n| hook | where | first Linux | without it |\n|---|---|---|---|\n")
	for _, h := range p.Hooks {
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", h.Kind, cell(h.At), h.Kernel, cell(h.Fallback))
	}
	b.WriteString("\n**Cannot see**\n\n")
	for _, line := range p.Blind {
		fmt.Fprintf(b, "- %s\n", line)
	}
	writeMetrics(b, p.Metrics)
}

func writeMetrics(b *strings.Builder, metrics []retina.Metric) {
	if len(metrics) == 0 {
		return
	}
	expect := slices.ContainsFunc(metrics, func(m retina.Metric) bool { return len(m.Expect) > 0 })
	b.WriteString("\n| metric | type, unit | context, labels | in the report |")
	if expect {
		b.WriteString(" `--expect` |")
	}
	b.WriteString(" |\n|---|---|---|---|---|")
	if expect {
		b.WriteString("---|")
	}
	b.WriteString("\n")
	for i := range metrics {
		m := &metrics[i]
		name := "`" + m.Name + "`"
		if m.Retina != "" && m.Retina != m.Name {
			name += "<br>`" + m.Retina + "`"
		}
		context := m.Context
		if m.Remote != "" {
			context += " or remote"
		}
		if len(m.Labels) > 0 {
			context += ": " + quoted(m.Labels, " ")
		}
		report := orNothing(quoted(m.Report, "<br>"))
		if m.Group != "" {
			report += " of `" + m.Group + "`"
		}
		fmt.Fprintf(b, "| %s | %s, %s | %s | %s |", name, m.Type, m.Unit, context, report)
		if expect {
			fmt.Fprintf(b, " %s |", orNothing(quoted(m.Expect, "<br>")))
		}
		fmt.Fprintf(b, " %s |\n", cell(m.Help))
	}
}

// labelsInOrder are the labels as contexts and metrics have them.
func labelsInOrder(c *retina.Catalogue) []string {
	var all []string
	add := func(labels []string) {
		for _, label := range labels {
			if !slices.Contains(all, label) {
				all = append(all, label)
			}
		}
	}
	for _, context := range c.Contexts {
		add(context.Labels)
	}
	for _, m := range c.Metrics() {
		add(m.Labels)
	}
	return all
}

// quoted are words as code.
func quoted(words []string, between string) string {
	var all []string
	for _, word := range words {
		all = append(all, "`"+word+"`")
	}
	return strings.Join(all, between)
}

// cell is text that does not end a table's cell.
func cell(text string) string { return strings.ReplaceAll(text, "|", "\\|") }

// sentence begins with a capital letter.
func sentence(text string) string {
	if text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

func orNothing(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
