package metrics

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

// A Change is a number that is not the same in two reports.
type Change struct {
	What   string `json:"what"`   // "pod shop/web-1", "drops NETFILTER_DROP of pod shop/web-1"
	Metric string `json:"metric"` // name of a column; with "/s" when it is a rate
	Unit   Unit   `json:"unit"`
	// Before and After are per second when PerSecond is set. Of what one of the two
	// reports does not have, the number is 0 and New or Gone is set.
	Before    float64 `json:"before"`
	After     float64 `json:"after"`
	PerSecond bool    `json:"perSecond,omitempty"`
	New       bool    `json:"new,omitempty"`
	Gone      bool    `json:"gone,omitempty"`
}

// Relative returns by what part of the larger number the two differ, from -1, all
// of it is gone, to 1, there was nothing before.
func (c *Change) Relative() float64 {
	larger := max(c.Before, c.After)
	if larger == 0 {
		return 0
	}
	return (c.After - c.Before) / larger
}

// weight orders changes: a number that has doubled matters more than one that has
// grown by a tenth, and 1000 that have become 2000 more than 1 that has become 2.
func (c *Change) weight() float64 {
	return math.Abs(c.Relative()) * math.Log10(1+math.Abs(c.After-c.Before))
}

const (
	// sameTime is how much of their time two reports may differ by and still be
	// compared by their totals.
	sameTime = 0.01
	// noise is the part by which a number differs without having changed.
	noise = 0.01
)

// Comparable explains why two reports cannot be compared. Nil: they can.
func Comparable(before, after *Report) error {
	if before.By != after.By {
		return hint.Wrap(fmt.Errorf("report before is by %s, the one after by %s", before.By, after.By),
			fmt.Sprintf("measure with --by %s", before.By))
	}
	return nil
}

// Compare returns what has changed from one report to another, the largest
// changes first: the numbers of rows, drops by reason and DNS responses by code.
// When the two cover different times, counters are compared as rates. Only what
// both have measured is compared; differences below 1 % are left out.
func Compare(before, after *Report) []Change {
	c := comparison{rates: math.Abs(before.Seconds()-after.Seconds()) > sameTime*max(before.Seconds(), after.Seconds())}
	if before.Seconds() <= 0 || after.Seconds() <= 0 {
		c.rates = false
	}
	c.beforeSeconds, c.afterSeconds = before.Seconds(), after.Seconds()
	c.rows(before, after)
	if before.Measured(PluginDrops, "") && after.Measured(PluginDrops, "") {
		c.counts("drops", dropReasons(before), dropReasons(after))
	}
	if before.Measured(PluginDNS, "") && after.Measured(PluginDNS, "") {
		c.counts("dns_responses", dnsCodes(before), dnsCodes(after))
	}
	c.counts("lost", losses(before), losses(after))
	slices.SortFunc(c.changes, func(a, b Change) int {
		return cmp.Or(cmp.Compare(b.weight(), a.weight()), strings.Compare(a.What, b.What), strings.Compare(a.Metric, b.Metric))
	})
	return c.changes
}

type comparison struct {
	rates                       bool
	beforeSeconds, afterSeconds float64
	changes                     []Change
}

func (c *comparison) rows(before, after *Report) {
	known := make(map[rowKey]*Row, len(before.Rows))
	for i := range before.Rows {
		known[before.Rows[i].key(before.By)] = &before.Rows[i]
	}
	columns := slices.DeleteFunc(numbers(), func(column Column) bool {
		return !column.Measured(before, "") || !column.Measured(after, "") || derived(column.Name)
	})
	for i := range after.Rows {
		row := &after.Rows[i]
		key := row.key(after.By)
		c.row(columns, row.Describe(after.By), known[key], row)
		delete(known, key)
	}
	for _, row := range known {
		c.row(columns, row.Describe(before.By), row, nil)
	}
}

// derived tells which columns say nothing that others do not.
func derived(name string) bool {
	switch name {
	case "packets", "bytes", "segments_out", "resets", "connect_failures":
		return true
	}
	return strings.HasSuffix(name, "_p90") || strings.HasSuffix(name, "_mean") || strings.HasSuffix(name, "_max")
}

// row compares a row, which only one of the two reports may have.
func (c *comparison) row(columns []Column, what string, before, after *Row) {
	for i := range columns {
		column := &columns[i]
		var x, y float64
		var ok [2]bool
		if before != nil {
			x, ok[0] = column.Value(&before.Values)
		}
		if after != nil {
			y, ok[1] = column.Value(&after.Values)
		}
		if before != nil && after != nil && !(ok[0] && ok[1]) {
			continue // no ratio of nothing
		}
		c.add(Change{What: what, Metric: column.Name, Unit: column.Unit, Before: x, After: y, New: before == nil, Gone: after == nil}, column.Count != nil)
	}
}

// counts compares counters by what they count.
func (c *comparison) counts(metric string, before, after map[string]uint64) {
	for what, y := range after {
		x, known := before[what]
		c.add(Change{What: what, Metric: metric, Unit: UnitCount, Before: float64(x), After: float64(y), New: !known}, true)
	}
	for what, x := range before {
		if _, known := after[what]; !known {
			c.add(Change{What: what, Metric: metric, Unit: UnitCount, Before: float64(x), Gone: true}, true)
		}
	}
}

func (c *comparison) add(change Change, counter bool) {
	if counter && c.rates {
		change.Metric += "/s"
		change.PerSecond = true
		change.Before /= c.beforeSeconds
		change.After /= c.afterSeconds
	}
	if math.Abs(change.Relative()) >= noise {
		c.changes = append(c.changes, change)
	}
}

func dropReasons(r *Report) map[string]uint64 {
	counts := make(map[string]uint64)
	for i := range r.Drops {
		d := &r.Drops[i]
		what := "drops " + d.Reason
		if d.Hook != "" {
			what += " (" + d.Hook + ")"
		}
		what += " of " + d.Target.Describe()
		counts[what] = plus(counts[what], d.Packets)
	}
	return counts
}

func dnsCodes(r *Report) map[string]uint64 {
	counts := make(map[string]uint64)
	for i := range r.DNS {
		d := &r.DNS[i]
		for code, n := range d.Codes {
			what := "DNS " + code + " of " + d.Target.Describe()
			counts[what] = plus(counts[what], n)
		}
	}
	return counts
}

func losses(r *Report) map[string]uint64 {
	counts := make(map[string]uint64)
	for _, l := range r.Lost {
		what := "lost by " + l.Plugin + " on node " + l.Node + ": " + l.What
		counts[what] = plus(counts[what], l.Count)
	}
	return counts
}
