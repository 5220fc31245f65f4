package metrics

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// sampleOf is a sample of everything, n times as much.
func sampleOf(n uint64) *wire.Sample {
	key := flowKeyOf(web, dbAddr, 5432)
	h := wire.Histogram{Sum: 20 * n, Buckets: []uint64{0, 0, 0, 0, 0, 0, 0, 0, n}}
	return &wire.Sample{
		Traffic: []wire.TrafficSample{{Interface: 0, PacketsIn: 100 * n, PacketsOut: 50 * n, BytesIn: 9000 * n, BytesOut: 800 * n}},
		Drops: []wire.DropSample{{
			Target: web, Reason: "NETFILTER_DROP", Hook: "INPUT", Direction: wire.DirectionIn, Protocol: 6,
			Source: netip.AddrPortFrom(dbAddr, 5432), Destination: netip.AddrPortFrom(webAddr, 4000), Packets: n, Bytes: 60 * n,
		}},
		Flows: []wire.FlowSample{{
			FlowKey: key, PacketsIn: 90 * n, PacketsOut: 40 * n, SegmentsOut: 40 * n, FlagsIn: []uint64{n, n}, FlagsOut: []uint64{0, 0, 0, 0, n},
			Opened: n, Refused: n, Connect: wire.Times{Count: n, Sum: 20 * n, Max: 20, Last: 20},
		}},
		Latency:     []wire.LatencySample{{Target: web, Connect: h}},
		Retransmits: []wire.RetransmitSample{{FlowKey: key, Segments: n}},
		DNS: []wire.DNSSample{{
			Target: web, Role: wire.RoleClient, Server: netip.AddrPortFrom(dnsAddr, 53), Protocol: 17, Name: "a", Type: "A",
			Queries: 2 * n, Responses: n, Codes: map[string]uint64{"NXDOMAIN": n, "NOERROR": 0}, Timeouts: n, Latency: h,
		}},
		Stats: []wire.StatSample{
			{Target: web, Group: "udp", Name: "InErrors", Value: n}, {Target: web, Group: "socket", Name: "tcp_inuse", Gauge: true, Value: 7},
		},
		APIServers: []wire.APIServerSample{{Address: netip.AddrPortFrom(n1Addr, 6443), Attempts: n, Errors: map[string]uint64{"refused": n}, Latency: h}},
		Lost:       []wire.LostSample{{Plugin: "dns", What: "x", Count: n}},
	}
}

// The difference of what 5 and 3 give is what 2 give.
func TestDiff(t *testing.T) {
	for _, by := range []By{ByPod, ByNode, ByWorkload, ByNamespace, ByService, ByFlow} {
		f, c := newTestFold(Options{})
		c.move(time.Second)
		f.Add("n1", sampleOf(3))
		before := f.Report(by)
		c.move(2 * time.Second)
		f.Add("n1", sampleOf(5))
		after := f.Report(by)
		was := asJSON(t, after)
		got := Diff(before, after)
		if got.Seconds() != 2 {
			t.Errorf("difference covers %v s, want 2", got.Seconds())
		}
		g, _ := newTestFold(Options{})
		g.Add("n1", sampleOf(2))
		want := g.Report(by)
		want.Began, want.Ended, want.Nodes = got.Began, got.Ended, after.Nodes
		for i := range want.DNS {
			want.DNS[i].Codes = map[string]uint64{"NXDOMAIN": 2} // what has not changed is left out
		}
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
			t.Errorf("by %s:\n%s", by, diff)
		}
		if asJSON(t, after) != was {
			t.Errorf("by %s: Diff has changed the report", by)
		}
		if Diff(nil, after) != after {
			t.Error("without a before, all is new")
		}
	}
}

// Where a counter has gone down, all of the entry is new.
func TestDiffOfRestarted(t *testing.T) {
	f, _ := newTestFold(Options{})
	f.Add("n1", sampleOf(5))
	before := f.Report(ByPod)
	f.Add("n1", sampleOf(3))
	f.Add("n1", &wire.Sample{Traffic: []wire.TrafficSample{{Interface: 1, PacketsIn: 1_000_000}}}) // one has grown
	after := f.Report(ByPod)
	got := Diff(before, after)
	got.Began = after.Began
	if asJSON(t, got) != asJSON(t, after) {
		t.Errorf("difference is\n%s\nwant\n%s", asJSON(t, got), asJSON(t, after))
	}
}

// What is only in one of the two.
func TestDiffNewAndGone(t *testing.T) {
	f, _ := newTestFold(Options{})
	f.Add("n1", sampleOf(5))
	before := f.Report(ByPod)
	f.EndTarget("n1", web)
	f.Forget(0)
	f.SetTarget("n1", db, pod("db-0", "", "", dbAddr))
	f.SetInterfaces("n1", []wire.Interface{{ID: 5, Target: db}})
	f.Add("n1", &wire.Sample{Traffic: []wire.TrafficSample{{Interface: 5, PacketsIn: 4}}})
	got := Diff(before, f.Report(ByPod))
	if row := onlyRow(t, got); row.Name != "db-0" || row.PacketsIn != 4 || len(got.Flows) != 0 {
		t.Errorf("difference is %+v", got)
	}
}

func TestCompare(t *testing.T) {
	f, c := newTestFold(Options{})
	c.move(10 * time.Second)
	f.Add("n1", sampleOf(10))
	before := f.Report(ByPod)

	t.Run("same", func(t *testing.T) {
		if changes := Compare(before, before); len(changes) != 0 {
			t.Errorf("changes are %+v", changes)
		}
	})
	t.Run("same rates in another time", func(t *testing.T) {
		g, c := newTestFold(Options{})
		c.move(20 * time.Second)
		g.Add("n1", sampleOf(20))
		if changes := Compare(before, g.Report(ByPod)); len(changes) != 0 {
			t.Errorf("changes are %+v", changes)
		}
	})
	t.Run("other rates", func(t *testing.T) {
		g, c := newTestFold(Options{})
		c.move(20 * time.Second)
		s := sampleOf(20)
		s.Drops[0].Packets = 400
		s.DNS[0].Codes = map[string]uint64{"SERVFAIL": 20}
		g.Add("n1", s)
		var got []string
		for _, change := range Compare(before, g.Report(ByPod)) {
			got = append(got, fmt.Sprintf("%s %s %v -> %v new=%v gone=%v", change.What, change.Metric, change.Before, change.After, change.New, change.Gone))
		}
		want := []string{
			"drops NETFILTER_DROP (INPUT) of pod shop/web-1 drops/s 1 -> 20 new=false gone=false",
			"pod shop/web-1 drops/s 1 -> 20 new=false gone=false",
			"DNS NXDOMAIN of pod shop/web-1 dns_responses/s 1 -> 0 new=false gone=true",
			"DNS SERVFAIL of pod shop/web-1 dns_responses/s 0 -> 1 new=true gone=false",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("changes differ:\n%s", diff)
		}
	})
	t.Run("new and gone rows", func(t *testing.T) {
		g, c := newTestFold(Options{})
		c.move(10 * time.Second)
		g.EndTarget("n1", web)
		g.Forget(0)
		g.SetTarget("n1", db, pod("db-0", "", "", dbAddr))
		g.SetInterfaces("n1", []wire.Interface{{ID: 5, Target: db}})
		g.Add("n1", &wire.Sample{Traffic: []wire.TrafficSample{{Interface: 5, PacketsIn: 4}}})
		got := make(map[string]int)
		for _, change := range Compare(before, g.Report(ByPod)) {
			if change.New {
				got["new "+change.What]++
			}
			if change.Gone {
				got["gone "+change.What]++
			}
		}
		if got["new pod shop/db-0"] != 1 || got["gone pod shop/web-1"] < 10 || got["gone drops NETFILTER_DROP (INPUT) of pod shop/web-1"] != 1 {
			t.Errorf("changes are %v", got)
		}
	})
	t.Run("not measured", func(t *testing.T) {
		g, c := newTestFold(Options{Plugins: []string{PluginForward}})
		c.move(10 * time.Second)
		g.Add("n1", &wire.Sample{Traffic: sampleOf(20).Traffic})
		for _, change := range Compare(before, g.Report(ByPod)) {
			if !strings.HasPrefix(change.Metric, "packets") && !strings.HasPrefix(change.Metric, "bytes") && change.Metric != "lost" {
				t.Errorf("compared what was not measured: %+v", change)
			}
		}
	})
	t.Run("other rows", func(t *testing.T) {
		err := Comparable(before, f.Report(ByNode))
		if err == nil || hint.Of(err) != "measure with --by pod" || Comparable(before, before) != nil {
			t.Errorf("error is %v", err)
		}
	})
}

func TestRead(t *testing.T) {
	f, c := newTestFold(Options{})
	c.move(time.Second)
	f.Add("n1", sampleOf(3))
	r := f.Report(ByFlow)
	text := asJSON(t, r)
	got, err := Read(strings.NewReader(text))
	if err != nil || asJSON(t, got) != text {
		t.Errorf("%v; read\n%s\nwant\n%s", err, asJSON(t, got), text)
	}
	if changes := Compare(got, r); len(changes) != 0 {
		t.Errorf("a report that was read has changed: %+v", changes)
	}
	for text, want := range map[string]string{
		"":                  "not a report: ",
		`{"kind":"Pod"}`:    `not a report: kind is "Pod", want "Report"`,
		`{"kind":"Report"}`: `report has version "", this program reads "metrics.retina.sh/v1"`,
		strings.Replace(text, `"ended": "1970`, `"ended": "1960`, 1): "report ends before it begins",
	} {
		if _, err := Read(strings.NewReader(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("error is %v, want %s", err, want)
		}
	}
}

func asJSON(t *testing.T, r *Report) string {
	t.Helper()
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
