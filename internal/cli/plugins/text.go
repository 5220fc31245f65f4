package plugins

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"k8s.io/cli-runtime/pkg/printers"

	retina "github.com/kubectl-retina/kubectl-retina"
)

// lineWidth is how long lines of a description are at most, words permitting.
const lineWidth = 80

// table prints plugins, one line each.
func (o *options) table(plugins []retina.Plugin) error {
	wide := o.output == "wide"
	w := printers.GetNewTabWriter(o.streams.Out)
	if !o.noHeaders {
		titles := []string{"NAME", "KERNEL", "HOOKS", "METRICS", "SUMMARY"}
		if wide {
			titles = slices.Insert(titles, 4, "COMMAND", "LABELS", "NEEDS")
		}
		fmt.Fprintln(w, strings.Join(titles, "\t"))
	}
	for i := range plugins {
		p := &plugins[i]
		cells := []string{p.Name, p.Kernel, hookNames(p, wide), fmt.Sprint(len(p.Metrics)), p.Summary}
		if wide {
			cells = slices.Insert(cells, 4, p.Command, orNothing(ownLabels(p)), orNothing(strings.Join(p.Needs, "; ")))
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	return w.Flush()
}

// hookNames names the hooks of a plugin; in wide lines with their places.
func hookNames(p *retina.Plugin, wide bool) string {
	var names []string
	for _, h := range p.Hooks {
		name := h.Kind
		if wide && h.Kind == "tp_btf" {
			name += ":" + h.At
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// ownLabels are the labels of a plugin's metrics that are not of their context.
func ownLabels(p *retina.Plugin) string {
	var labels []string
	for i := range p.Metrics {
		for _, label := range p.Metrics[i].Labels {
			if !slices.Contains(labels, label) {
				labels = append(labels, label)
			}
		}
	}
	return strings.Join(labels, ",")
}

func orNothing(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// describe prints all about one plugin.
func describe(out io.Writer, catalogue *retina.Catalogue, p *retina.Plugin) error {
	var b strings.Builder
	paragraph(&b, "", p.Name+": "+p.Summary)
	b.WriteByte('\n')
	paragraph(&b, "", p.Description)
	fmt.Fprintf(&b, "\nUsed by: kubectl retina %s\nKernel:  Linux %s or later\n", p.Command, p.Kernel)
	section(&b, "Needs", p.Needs)
	var hooks []string
	for _, h := range p.Hooks {
		hooks = append(hooks, fmt.Sprintf("%s, %s (Linux %s); without it: %s", h.Kind, h.At, h.Kernel, h.Fallback))
	}
	section(&b, "Hooks", hooks)
	section(&b, "Cannot see", p.Blind)
	if len(p.Metrics) > 0 {
		b.WriteString("\nMetrics:\n")
	}
	for i := range p.Metrics {
		describeMetric(&b, catalogue, &p.Metrics[i])
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func describeMetric(b *strings.Builder, catalogue *retina.Catalogue, m *retina.Metric) {
	fmt.Fprintf(b, "  %s\n", m.Name)
	paragraph(b, "    ", m.Help)
	paragraph(b, "    ", fmt.Sprintf("%s of %s by %s: %s", m.Type, m.Unit, m.Context, strings.Join(labelsOf(catalogue, m), ", ")))
	if m.Remote != "" {
		paragraph(b, "    ", "by pairs of source and destination with --remote-context, from "+m.Remote)
	}
	if m.Retina != "" && m.Retina != m.Name {
		paragraph(b, "    ", "Retina: "+m.Retina)
	}
	if len(m.Expect) > 0 {
		paragraph(b, "    ", "--expect: "+strings.Join(m.Expect, ", "))
	}
}

// labelsOf are the labels of a metric in its own context.
func labelsOf(catalogue *retina.Catalogue, m *retina.Metric) []string {
	labels := slices.Clone(m.Labels)
	if context := catalogue.Context(m.Context); context != nil {
		labels = slices.Concat(context.Labels, labels)
	}
	return labels
}

// section prints a title and lines below it, or nothing without any.
func section(b *strings.Builder, title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s:\n", title)
	for _, line := range lines {
		paragraph(b, "  ", line)
	}
}

// paragraph prints text in lines of at most lineWidth; those after the first are
// indented by two more when the first one is.
func paragraph(b *strings.Builder, indent, text string) {
	line, next := indent, indent
	if indent != "" {
		next += "  "
	}
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
			line += word
		case len(line)+1+len(word) > lineWidth:
			b.WriteString(line + "\n")
			line = next + word
		default:
			line += " " + word
		}
	}
	b.WriteString(line + "\n")
}
