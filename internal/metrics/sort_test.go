package metrics

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

func sortable() *Report {
	row := func(name string, packets, connect uint64) Row {
		r := Row{Party: Party{Kind: KindPod, Namespace: "shop", Name: name}, Values: Values{PacketsIn: packets}}
		if connect > 0 {
			r.Connect = histogramOf(connect)
		}
		return r
	}
	return &Report{By: ByPod, Rows: []Row{row("a", 5, 0), row("b", 10, 7), row("c", 5, 900), row("d", 100, 0)}}
}

func TestSort(t *testing.T) {
	for key, want := range map[string]string{
		"packets": "dbac", "PACKETS-IN": "dbac", "name": "abcd", "connect_p99": "cbad", "retransmit_ratio": "abcd", "drops": "abcd",
	} {
		r := sortable()
		r.Rows[0], r.Rows[2] = r.Rows[2], r.Rows[0]
		if err := r.Sort(key); err != nil {
			t.Errorf("%s: %v", key, err)
			continue
		}
		var got string
		for i := range r.Rows {
			got += r.Rows[i].Name
		}
		if got != want {
			t.Errorf("by %s: %s, want %s", key, got, want)
		}
	}
}

func TestSortByUnknownKey(t *testing.T) {
	for key, want := range map[string]string{
		"packet": `did you mean "packets"?`, "droops": `did you mean "drops"?`, "connect.p99": `did you mean "connect_p99"?`, "zebra": "",
	} {
		err := sortable().Sort(key)
		if err == nil || hint.Of(err) != want || !strings.Contains(err.Error(), "there are kind, namespace, name") {
			t.Errorf("%s: %v, hint %q, want %q", key, err, hint.Of(err), want)
		}
	}
}

func TestTop(t *testing.T) {
	for n, want := range map[int]int{-1: 4, 0: 4, 1: 1, 4: 4, 9: 4} {
		r := sortable()
		if r.Top(n); len(r.Rows) != want {
			t.Errorf("top %d has %d rows, want %d", n, len(r.Rows), want)
		}
	}
}

// Names of columns are unique and fit where they are used.
func TestColumns(t *testing.T) {
	for _, by := range []By{ByPod, ByNode, ByWorkload, ByNamespace, ByService, ByFlow} {
		seen := make(map[string]bool)
		for _, c := range Columns(by) {
			if seen[c.Name] || c.Name != columnName(c.Name) || c.Help == "" {
				t.Errorf("by %s: column %q", by, c.Name)
			}
			seen[c.Name] = true
			kinds := 0
			for _, set := range []bool{c.Text != nil, c.Count != nil, c.Number != nil} {
				if set {
					kinds++
				}
			}
			if kinds != 1 || (c.Text == nil) == (c.Unit == "") {
				t.Errorf("by %s: column %q has %d kinds and unit %q", by, c.Name, kinds, c.Unit)
			}
		}
	}
}

// Each counter of Values is added, and nothing is taken for another.
func TestValuesCounters(t *testing.T) {
	var v, w Values
	for i, c := range v.counters() {
		*c = uint64(1000 + i)
	}
	w.Add(&v)
	w.Add(&v)
	for i, c := range w.counters() {
		if *c != 2*uint64(1000+i) {
			t.Errorf("counter %d is %d", i, *c)
		}
	}
	if diff := cmp.Diff(v, w.since(&v)); diff != "" {
		t.Errorf("rest differs:\n%s", diff)
	}
	if v.FlagsOut[wire.FlagNS] == 0 || v.DNSTimeouts == 0 {
		t.Error("a counter is not in the list")
	}
}
