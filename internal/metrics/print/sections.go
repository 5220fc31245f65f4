package print

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

const (
	// shortest is how many lines a section of a table has that is not wide.
	shortest = 20
	wideHint = ": see -o wide"
)

// A tally sums up entries that a table tells as one.
type tally[K comparable] struct {
	counts map[K]uint64
}

func (t *tally[K]) add(key K, count uint64) {
	if t.counts == nil {
		t.counts = make(map[K]uint64)
	}
	t.counts[key] += count
}

// largest returns the keys with the largest counts first, as many as are shown, and
// how many are not.
func (t *tally[K]) largest(wide bool, text func(K) string) (keys []K, hidden int) {
	keys = slices.SortedFunc(maps.Keys(t.counts), func(a, b K) int {
		return cmp.Or(cmp.Compare(t.counts[b], t.counts[a]), strings.Compare(text(a), text(b)))
	})
	if !wide && len(keys) > shortest {
		return keys[:shortest], len(keys) - shortest
	}
	return keys, 0
}

type dropLine struct{ reason, hook, from, to, target, node, on, function, hint string }

func drops(r *metrics.Report, wide bool) *Grid {
	var all tally[dropLine]
	for i := range r.Drops {
		d := &r.Drops[i]
		if d.Packets == 0 {
			continue
		}
		line := dropLine{reason: d.Reason, hook: d.Hook, target: d.Target.String(), hint: d.Hint}
		line.from, line.to = sides(d)
		if wide {
			line.node, line.on, line.function = d.Node, d.On, d.Function
		}
		all.add(line, d.Packets)
	}
	header := []string{"DROPS", "REASON", "HOOK", "FROM", "", "TO", "TARGET"}
	if wide {
		header = append(header, "NODE", "ON", "FUNCTION")
	}
	grid := NewGrid(append(header, "HINT")...)
	lines, hidden := all.largest(wide, func(l dropLine) string { return fmt.Sprint(l) })
	for _, l := range lines {
		cells := []string{Number(float64(all.counts[l]), metrics.UnitCount), l.reason, l.hook, l.from, "->", l.to, l.target}
		if wide {
			cells = append(cells, l.node, l.on, l.function)
		}
		grid.Add(append(cells, l.hint)...)
	}
	grid.Hidden(hidden, wideHint)
	return grid
}

// sides names both sides of a drop. Of the two ports only the server's, which is
// likely to be the smaller one, is shown: the client's is another every time.
func sides(d *metrics.Drop) (from, to string) {
	if d.Source == nil || d.Destination == nil {
		return "", strings.TrimSpace(d.Protocol)
	}
	from, to = d.Source.Party.String(), d.Destination.Party.String()
	if d.Source.Port != 0 && d.Source.Port < d.Destination.Port {
		from = fmt.Sprintf("%s %d/%s", from, d.Source.Port, d.Protocol)
	} else if d.Destination.Port != 0 {
		to = fmt.Sprintf("%s %d/%s", to, d.Destination.Port, d.Protocol)
	} else if d.Protocol != "" {
		to += " " + d.Protocol
	}
	return from, to
}

type dnsLine struct{ failure, name, kind, server, target string }

func dnsFailures(r *metrics.Report, wide bool) *Grid {
	var all tally[dnsLine]
	for i := range r.DNS {
		d := &r.DNS[i]
		line := dnsLine{name: or(d.Name, "(names without room)"), kind: d.Type, server: d.Server.Party.String(), target: d.Target.String()}
		if d.Role == "server" {
			line.server = "(answered here)"
		}
		for code, count := range d.Codes {
			if line.failure = code; code != "NOERROR" && count > 0 {
				all.add(line, count)
			}
		}
		if line.failure = "timeout"; d.Timeouts > 0 {
			all.add(line, d.Timeouts)
		}
	}
	grid := NewGrid("DNS-FAILURES", "RESULT", "NAME", "TYPE", "SERVER", "TARGET")
	lines, hidden := all.largest(wide, func(l dnsLine) string { return fmt.Sprint(l) })
	for _, l := range lines {
		grid.Add(Number(float64(all.counts[l]), metrics.UnitCount), l.failure, l.name, l.kind, l.server, l.target)
	}
	grid.Hidden(hidden, wideHint)
	return grid
}

func apiServers(r *metrics.Report) *Grid {
	grid := NewGrid("API-SERVER", "NODE", "ATTEMPTS", "ERRORS", "HANDSHAKE-P50", "P50", "P99")
	for i := range r.APIServers {
		a := &r.APIServers[i]
		var errors []string
		for _, code := range slices.Sorted(maps.Keys(a.Errors)) {
			if a.Errors[code] > 0 {
				errors = append(errors, fmt.Sprintf("%d %s", a.Errors[code], code))
			}
		}
		cells := []string{a.Address.String(), a.Node, fmt.Sprint(a.Attempts), or(strings.Join(errors, ", "), "0")}
		cells = append(cells, quantile(a.Handshake, 0.5), quantile(a.Latency, 0.5), quantile(a.Latency, 0.99))
		grid.Add(cells...)
	}
	return grid
}

// quantile returns "" for one of nothing.
func quantile(h wire.Histogram, q float64) string {
	value, ok := metrics.Quantile(h, q)
	if !ok {
		return ""
	}
	return Number(value, metrics.UnitTime)
}

func failed(r *metrics.Report) *Grid {
	grid := NewGrid("FAILED", "CAUSE")
	for i := range r.Nodes {
		if n := &r.Nodes[i]; n.Error != "" {
			grid.Add("node/"+n.Name, n.Error)
		}
	}
	return grid
}

func unsupported(r *metrics.Report) *Grid {
	grid := NewGrid("UNSUPPORTED", "NODE", "KERNEL", "CAUSE", "HINT")
	for i := range r.Nodes {
		n := &r.Nodes[i]
		for _, u := range n.Unsupported {
			plugin := u.Plugin
			if u.Partial {
				plugin += " (in part)"
			}
			grid.Add(plugin, n.Name, n.Kernel, u.Cause, u.Hint)
		}
	}
	return grid
}

func skipped(r *metrics.Report) *Grid {
	grid := NewGrid("SKIPPED", "REASON")
	for _, s := range r.Skipped {
		grid.Add(s.Target, s.Reason)
	}
	return grid
}

func lost(r *metrics.Report) *Grid {
	grid := NewGrid("LOST", "PLUGIN", "NODE", "WHAT")
	for _, l := range r.Lost {
		grid.Add(Number(float64(l.Count), metrics.UnitCount), l.Plugin, l.Node, l.What)
	}
	return grid
}
