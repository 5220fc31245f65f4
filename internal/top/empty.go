package top

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

const waiting = "waiting for the first numbers"

// emptiness says why a table has no rows: f is what there is, unfiltered is how
// many rows there would be without the filter.
func emptiness(f *frame, t *table, in scope, filter string, unfiltered int, location *time.Location) string {
	switch {
	case f == nil:
		return waiting
	case unfiltered > 0:
		return fmt.Sprintf("none of %d %s contains %q", unfiltered, t.noun(), filter)
	case len(t.plugins) > 0 && !f.measures(t.plugins...):
		return fmt.Sprintf("%s are not measured: plugin %s was not asked for", t.noun(), strings.Join(t.plugins, " or "))
	}
	nodes := tally(f.report, t.plugins)
	switch {
	case nodes.all > 0 && nodes.silent == nodes.all:
		return waiting
	case nodes.all > 0 && nodes.able == 0:
		return fmt.Sprintf("no node can tell %s%s", t.noun(), nodes.reservations())
	}
	of := ""
	if !in.whole() {
		of = " of " + clean(in.name)
	}
	var text string
	switch t.view {
	case Pods:
		text = "no pods" + of
	case Nodes:
		text = "no nodes" + of
	case Flows:
		text = "no traffic yet" + of
	case Drops:
		text = fmt.Sprintf("no drops%s: nothing was thrown away since %s", of, since(f.report, location))
	default:
		text = fmt.Sprintf("no DNS queries%s since %s", of, since(f.report, location))
	}
	return text + nodes.reservations()
}

// noun is what the rows are called.
func (t *table) noun() string {
	if t.view == DNS {
		return "DNS names"
	}
	return string(t.view)
}

// A nodeTally counts nodes: those that can tell what is asked, those that have not
// told anything yet, and all.
type nodeTally struct{ able, silent, all int }

// tally counts the nodes that can tell what one of the plugins would. Without
// plugins it is those that report at all.
func tally(r *metrics.Report, plugins []string) nodeTally {
	t := nodeTally{all: len(r.Nodes)}
	for i := range r.Nodes {
		n := &r.Nodes[i]
		lacks := func(plugin string) bool {
			return slices.ContainsFunc(n.Unsupported, func(u wire.PluginError) bool { return u.Plugin == plugin && !u.Partial })
		}
		works := len(plugins) == 0 || slices.ContainsFunc(plugins, func(p string) bool { return !lacks(p) })
		switch {
		case n.Error == "" && n.Samples == 0:
			t.silent++
		case n.Error == "" && works:
			t.able++
		}
	}
	return t
}

// reservations say what an empty table may be missing.
func (t nodeTally) reservations() string {
	text := ""
	if t.silent > 0 {
		text = fmt.Sprintf("; waiting for %d of %d nodes", t.silent, t.all)
	}
	if unable := t.all - t.able - t.silent; unable > 0 {
		text += fmt.Sprintf("; %d of %d nodes cannot: ! says why", unable, t.all)
	}
	return text
}

// since is when the report began.
func since(r *metrics.Report, location *time.Location) string {
	layout := time.TimeOnly
	if r.Seconds() > (24 * time.Hour).Seconds() {
		layout = time.DateTime
	}
	return r.Began.In(location).Format(layout)
}

// viewTabs names the views of a scope, with the present one in brackets.
func viewTabs(views []View, present View) string {
	var texts []string
	for _, v := range views {
		name := string(v)
		if v == present {
			name = "[" + name + "]"
		}
		texts = append(texts, name)
	}
	if !slices.Contains(views, present) {
		texts = append(texts, "["+string(present)+"]")
	}
	return strings.Join(texts, " ")
}
