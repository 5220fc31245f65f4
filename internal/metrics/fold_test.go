package metrics

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

var allPlugins = []string{PluginForward, PluginDrops, PluginFlows, PluginRetransmit, PluginDNS, PluginStats, PluginAPIServer}

var (
	webAddr = netip.MustParseAddr("10.0.0.1")
	dbAddr  = netip.MustParseAddr("10.0.0.2")
	dnsAddr = netip.MustParseAddr("10.96.0.10")
	extAddr = netip.MustParseAddr("203.0.113.7")
	n1Addr  = netip.MustParseAddr("192.168.0.1")
)

// IDs of targets on node n1.
const (
	web  = 1
	db   = 2
	host = 9
)

// clock is moved by tests.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

type directory map[netip.Addr]Party

func (d directory) Party(addr netip.Addr) Party {
	if p, ok := d[addr]; ok {
		return p
	}
	return Party{Kind: KindExternal}
}

func testDirectory() directory {
	return directory{
		dnsAddr: {Kind: KindService, Namespace: "kube-system", Name: "kube-dns"},
		dbAddr:  {Kind: KindPod, Namespace: "shop", Name: "db-0", Workload: "StatefulSet/db", Policies: []string{"deny-all"}},
	}
}

func pod(name, workload, service string, addr netip.Addr) Party {
	return Party{Kind: KindPod, Namespace: "shop", Name: name, Workload: workload, Service: service, Addresses: []netip.Addr{addr}}
}

func newTestFold(o Options) (*Fold, *clock) {
	c := &clock{t: time.Unix(1_000_000, 0).UTC()}
	if o.Now == nil {
		o.Now = c.now
	}
	if o.Plugins == nil {
		o.Plugins = allPlugins
	}
	if o.Directory == nil {
		o.Directory = testDirectory()
	}
	f := NewFold(o)
	f.SetNode("n1", "Linux 6.18", nil, nil)
	f.SetTarget("n1", web, pod("web-1", "Deployment/web", "web", webAddr))
	f.SetInterfaces("n1", []wire.Interface{{ID: 0, Target: web}, {ID: 1, Target: web}})
	return f, c
}

func flowKeyOf(target uint32, remote netip.Addr, port uint16) wire.FlowKey {
	return wire.FlowKey{Target: target, Protocol: 6, Local: webAddr, Remote: remote, Port: port, Role: wire.RoleClient}
}

func onlyRow(t *testing.T, r *Report) *Row {
	t.Helper()
	if len(r.Rows) != 1 {
		t.Fatalf("%d rows, want 1: %+v", len(r.Rows), r.Rows)
	}
	return &r.Rows[0]
}

// What comes later replaces what came before; interfaces of a pod add up.
func TestFoldIsCumulative(t *testing.T) {
	f, c := newTestFold(Options{})
	c.move(time.Second)
	f.Begin()
	f.Add("n1", &wire.Sample{Seq: 1, Traffic: []wire.TrafficSample{
		{Interface: 0, PacketsIn: 10, PacketsOut: 20, BytesIn: 100, BytesOut: 200},
		{Interface: 1, PacketsIn: 1, PacketsOut: 2, BytesIn: 3, BytesOut: 4},
	}})
	c.move(3 * time.Second)
	f.Add("n1", &wire.Sample{Seq: 2, Traffic: []wire.TrafficSample{{Interface: 0, PacketsIn: 15, PacketsOut: 25, BytesIn: 150, BytesOut: 250}}})
	c.move(time.Minute)
	r := f.Report(ByPod)
	row := onlyRow(t, r)
	if row.PacketsIn != 16 || row.PacketsOut != 27 || row.BytesIn != 153 || row.BytesOut != 254 {
		t.Errorf("traffic is %+v", row.Values)
	}
	if row.Name != "web-1" || row.Node != "n1" || row.Targets != 1 {
		t.Errorf("row is of %+v", row.Party)
	}
	if r.Seconds() != 3 {
		t.Errorf("report covers %v s, want the 3 s between beginning and last sample", r.Seconds())
	}
	if r.APIVersion != APIVersion || r.Kind != Kind || !slices.IsSorted(r.Plugins) {
		t.Errorf("header is %+v", r)
	}
}

// A flow that ended and comes back counts from 0 and is added to itself.
func TestFlowComesBack(t *testing.T) {
	f, _ := newTestFold(Options{})
	key := flowKeyOf(web, dbAddr, 5432)
	send := func(packets, retransmits uint64, ended bool) {
		f.Add("n1", &wire.Sample{
			Flows: []wire.FlowSample{{
				FlowKey: key, PacketsOut: packets, SegmentsOut: 2 * packets, FlagsOut: []uint64{packets}, Opened: 1,
				Connect: wire.Times{Count: 1, Sum: packets, Max: packets, Last: packets}, Ended: ended,
			}},
			Retransmits: []wire.RetransmitSample{{FlowKey: key, Segments: retransmits, Ended: ended}},
		})
	}
	send(5, 1, false)
	send(7, 2, true)
	send(3, 1, false)
	send(4, 1, false)
	r := f.Report(ByFlow)
	if len(r.Flows) != 1 {
		t.Fatalf("flows are %+v", r.Flows)
	}
	flow := r.Flows[0]
	want := FlowValues{PacketsOut: 11, SegmentsOut: 22, FlagsOut: []uint64{11}, Opened: 2, Connect: wire.Times{Count: 2, Sum: 11, Max: 7}, Retransmits: 3}
	if diff := cmp.Diff(want, flow.FlowValues, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("flow differs:\n%s", diff)
	}
	if flow.Remote.Name != "db-0" || flow.Local.Name != "web-1" || flow.Protocol != "TCP" || flow.Port != 5432 {
		t.Errorf("flow is %+v", flow)
	}
	if row := onlyRow(t, r); row.PacketsOut != 11 || row.Retransmits != 3 || row.SegmentsOut != 22 || row.Remote.Name != "db-0" {
		t.Errorf("row is %+v", row)
	}
}

// The parts of a sample are not seen before the last of them is there.
func TestPartsAreAppliedTogether(t *testing.T) {
	f, _ := newTestFold(Options{})
	part := func(seq uint64, i uint32, packets uint64, more bool) {
		f.Add("n1", &wire.Sample{Seq: seq, More: more, Traffic: []wire.TrafficSample{{Interface: i, PacketsIn: packets}}})
	}
	part(1, 0, 10, true)
	if got := onlyRow(t, f.Report(ByPod)).PacketsIn; got != 0 {
		t.Errorf("half a sample counts %d packets", got)
	}
	part(1, 1, 5, false)
	if got := onlyRow(t, f.Report(ByPod)).PacketsIn; got != 15 {
		t.Errorf("sample in two parts counts %d packets, want 15", got)
	}
	part(2, 0, 20, true)
	f.SetNode("n1", "Linux 6.18", nil, errors.New("stream\ncut"))
	r := f.Report(ByPod)
	if got := onlyRow(t, r).PacketsIn; got != 25 || r.Nodes[0].Error != "stream; cut" {
		t.Errorf("%d packets, want 25 after the stream was cut: %q", got, r.Nodes[0].Error)
	}
}

// Never-ending parts do not fill the memory.
func TestPartsAreBounded(t *testing.T) {
	f, _ := newTestFold(Options{FlowLimit: 4})
	for i := range 200 {
		f.Add("n1", &wire.Sample{Seq: 1, More: true, Traffic: []wire.TrafficSample{{Interface: 0, PacketsIn: uint64(i)}}})
	}
	if held := f.nodes["n1"].held; held > maxHeld*4 {
		t.Errorf("%d entries are held back", held)
	}
	if got := onlyRow(t, f.Report(ByPod)).PacketsIn; got == 0 {
		t.Error("nothing was applied")
	}
}

func TestUntrustedSamples(t *testing.T) {
	f, _ := newTestFold(Options{FlowLimit: 8})
	f.Add("unknown", &wire.Sample{Lost: []wire.LostSample{{Plugin: "dns", What: "x", Count: 1}}})
	f.SetInterfaces("n1", []wire.Interface{{ID: 7, Target: 77}})
	s := &wire.Sample{
		Traffic:     []wire.TrafficSample{{Interface: 7, PacketsIn: 1}, {Interface: 99, PacketsIn: 1}},
		Drops:       []wire.DropSample{{Target: 77, Reason: "X", Packets: 1}, {Target: web, Reason: "A\x1b[2J\nB" + strings.Repeat("x", 999), Direction: "up", On: "moon", Packets: 1}},
		Latency:     []wire.LatencySample{{Target: 77}, {Target: web, Connect: wire.Histogram{Sum: 9, Buckets: make([]uint64, 4000)}, RTT: wire.Histogram{Sum: 4, Buckets: []uint64{0, 1}}}},
		Retransmits: []wire.RetransmitSample{{FlowKey: wire.FlowKey{Target: 77}, Segments: 1}},
		DNS:         []wire.DNSSample{{Target: web, Role: "boss", Name: "a\u202eb", Type: "A", Codes: map[string]uint64{"NX\r\nDOMAIN": 2}}},
		Stats:       []wire.StatSample{{Target: 77}, {Target: web, Group: "tcp", Name: "x\x00", Value: 1}},
		APIServers:  []wire.APIServerSample{{Errors: map[string]uint64{"a\nb": 1}}},
		Lost:        []wire.LostSample{{Plugin: "dns\x1b", What: "table\nfull", Count: 3}},
	}
	for i := range 100 {
		s.Flows = append(s.Flows, wire.FlowSample{FlowKey: flowKeyOf(web, extAddr, uint16(i)), FlagsIn: make([]uint64, 500)})
	}
	f.Add("n1", s)
	r := f.Report(ByPod)
	row := onlyRow(t, r)
	if row.PacketsIn != 0 || len(row.Connect.Buckets) != 0 || Count(row.RTT) != 1 {
		t.Errorf("row is %+v", row.Values)
	}
	if len(r.Drops) != 1 || !strings.HasPrefix(r.Drops[0].Reason, "A[2J; B") || len(r.Drops[0].Reason) > maxWord || r.Drops[0].Direction != "" || r.Drops[0].On != "" {
		t.Errorf("drops are %+v", r.Drops)
	}
	if d := r.DNS[0]; d.Role != "" || d.Name != "ab" || d.Codes["NX; DOMAIN"] != 2 {
		t.Errorf("DNS is %+v", d)
	}
	if len(r.Stats) != 1 || r.Stats[0].Name != "x" || r.APIServers[0].Errors["a; b"] != 1 {
		t.Errorf("stats are %+v, API servers %+v", r.Stats, r.APIServers)
	}
	if len(r.Flows) != 8 || len(r.Flows[0].FlagsIn) != wire.NumFlags {
		t.Errorf("%d flows, want 8, with %d flags", len(r.Flows), len(r.Flows[0].FlagsIn))
	}
	want := []Lost{
		{"n1", "dns", "table; full", 3},
		{"n1", PluginFlows, "flows: the command keeps 8 of a node", 92},
	}
	if diff := cmp.Diff(want, r.Lost); diff != "" {
		t.Errorf("lost differs:\n%s", diff)
	}
}

// When there is no room, flows that have ended are summed up, and nothing is lost.
func TestEndedFlowsMakeRoom(t *testing.T) {
	f, _ := newTestFold(Options{FlowLimit: 4})
	for i := range 50 {
		f.Add("n1", &wire.Sample{Flows: []wire.FlowSample{{FlowKey: flowKeyOf(web, extAddr, uint16(i+1)), PacketsIn: 2, Ended: true}}})
	}
	f.Add("n1", &wire.Sample{Flows: []wire.FlowSample{{FlowKey: flowKeyOf(web, extAddr, 1), PacketsIn: 5}}})
	r := f.Report(ByPod)
	var sum uint64
	for _, flow := range r.Flows {
		sum += flow.PacketsIn
	}
	if sum != 105 || len(r.Flows) > 4 || len(r.Lost) != 0 {
		t.Errorf("%d packets in %d flows, lost %v; want 105 in at most 4", sum, len(r.Flows), r.Lost)
	}
	if r.Flows[0].Remote.Kind != KindExternal && r.Flows[len(r.Flows)-1].Remote.Kind != KindUnknown {
		t.Errorf("flows are %+v", r.Flows)
	}
}

func TestEndedDropsMakeRoom(t *testing.T) {
	f, _ := newTestFold(Options{FlowLimit: 4})
	for i := range 50 {
		f.Add("n1", &wire.Sample{Drops: []wire.DropSample{{
			Target: web, Reason: "NO_SOCKET", Source: netip.AddrPortFrom(extAddr, uint16(i+1)), Destination: netip.AddrPortFrom(webAddr, 9),
			Packets: 1, Bytes: 30, Ended: true,
		}}})
	}
	r := f.Report(ByPod)
	var sum uint64
	for _, drop := range r.Drops {
		sum += drop.Packets
	}
	if row := onlyRow(t, r); sum != 50 || row.Drops != 50 || len(r.Drops) > 4 || len(r.Lost) != 0 {
		t.Errorf("%d packets in %d drops, %d in the row, lost %v; want 50 in at most 4", sum, len(r.Drops), row.Drops, r.Lost)
	}
}

func TestEndedNamesMakeRoom(t *testing.T) {
	f, _ := newTestFold(Options{FlowLimit: 4})
	for i := range 50 {
		f.Add("n1", &wire.Sample{DNS: []wire.DNSSample{{
			Target: web, Role: wire.RoleClient, Server: netip.AddrPortFrom(extAddr, 53), Protocol: 17, Name: fmt.Sprintf("n%d.example", i), Type: "A",
			Queries: 2, Responses: 1, Timeouts: 1, Codes: map[string]uint64{"NOERROR": 1}, Ended: true,
		}}})
	}
	r := f.Report(ByPod)
	var sum uint64
	for _, d := range r.DNS {
		sum += d.Queries
	}
	if row := onlyRow(t, r); sum != 100 || row.DNSQueries != 100 || row.DNSTimeouts != 50 || len(r.DNS) > 4 || len(r.Lost) != 0 {
		t.Errorf("%d queries for %d names, %d in the row, lost %v; want 100 for at most 4", sum, len(r.DNS), row.DNSQueries, r.Lost)
	}
}

// A name that comes back counts on.
func TestNameThatEndedComesBack(t *testing.T) {
	f, _ := newTestFold(Options{})
	for _, ended := range []bool{true, false} {
		f.Add("n1", &wire.Sample{DNS: []wire.DNSSample{{
			Target: web, Role: wire.RoleClient, Server: netip.AddrPortFrom(extAddr, 53), Protocol: 17, Name: "x", Type: "A", Queries: 3, Ended: ended,
		}}})
	}
	if r := f.Report(ByPod); len(r.DNS) != 1 || r.DNS[0].Queries != 6 {
		t.Errorf("%+v, want 6 queries for one name", r.DNS)
	}
}

func TestEndedTargets(t *testing.T) {
	f, c := newTestFold(Options{})
	f.SetTarget("n1", db, pod("db-0", "StatefulSet/db", "", dbAddr))
	f.SetInterfaces("n1", []wire.Interface{{ID: 2, Target: db}})
	f.Add("n1", &wire.Sample{
		Traffic: []wire.TrafficSample{{Interface: 0, PacketsIn: 1}, {Interface: 2, PacketsIn: 2}},
		Drops:   []wire.DropSample{{Target: db, Reason: "X", Packets: 1}},
		Flows:   []wire.FlowSample{{FlowKey: flowKeyOf(db, webAddr, 1)}},
		DNS:     []wire.DNSSample{{Target: db, Name: "a"}},
		Stats:   []wire.StatSample{{Target: db, Group: "socket", Name: "inuse", Gauge: true, Value: 3}},
	})
	f.EndTarget("n1", db)
	f.EndTarget("n1", 12345)
	c.move(time.Minute)
	f.EndTarget("n1", db) // the first time counts
	r := f.Report(ByNamespace)
	if row := onlyRow(t, r); row.PacketsIn != 3 || row.Targets != 2 || row.GoneTargets != 1 || row.Name != "" || row.Node != "n1" {
		t.Errorf("row is %+v", row)
	}
	if len(r.Stats) != 0 {
		t.Errorf("gauges of a target that is gone: %+v", r.Stats)
	}
	f.Forget(2 * time.Minute)
	if len(f.Report(ByPod).Rows) != 2 {
		t.Error("target was forgotten too early")
	}
	f.Forget(time.Minute)
	r = f.Report(ByPod)
	if row := onlyRow(t, r); row.PacketsIn != 1 || len(r.Drops)+len(r.Flows)+len(r.DNS) != 0 {
		t.Errorf("something is left of a forgotten target: %+v", r)
	}
}

// A target that could not be attached to has no numbers, which is not the same as
// zeros. It is a target again once that has worked.
func TestRemoveTarget(t *testing.T) {
	f, _ := newTestFold(Options{})
	f.SetTarget("n1", db, pod("db-0", "StatefulSet/db", "db", dbAddr))
	drops := func(target uint32, n uint64) {
		f.Add("n1", &wire.Sample{Drops: []wire.DropSample{{Target: target, Reason: "X", Packets: n}}})
	}
	drops(web, 1)
	drops(db, 2)
	f.RemoveTarget("n1", db)
	f.RemoveTarget("n1", 77) // nobody
	drops(db, 3)
	r := f.Report(ByPod)
	if row := onlyRow(t, r); row.Name != "web-1" || row.Drops != 1 || len(r.Drops) != 1 {
		t.Errorf("left is %+v with drops %+v", row.Party, r.Drops)
	}
	f.SetTarget("n1", db, pod("db-0", "StatefulSet/db", "db", dbAddr))
	drops(db, 4)
	r = f.Report(ByPod)
	if len(r.Rows) != 2 || r.Rows[0].Name != "db-0" || r.Rows[0].Drops != 4 {
		t.Errorf("rows are %+v", r.Rows)
	}
}

// A node that is deleted takes its targets along and then its collector: nothing is
// to be said of it any more. One that fails and has targets stays, and so does one
// that works and has none.
func TestForgetNodes(t *testing.T) {
	f, c := newTestFold(Options{})
	failure := errors.New("the node is gone")
	f.SetNode("gone", "", nil, failure)
	f.SetTarget("gone", host, Party{Kind: KindNode, Name: "gone"})
	f.SetTarget("gone", web, pod("web-2", "Deployment/web", "web", extAddr))
	f.SetNode("never", "", nil, failure) // failed before anything was wanted of it
	f.SetNode("failing", "", nil, failure)
	f.SetTarget("failing", web, pod("web-3", "Deployment/web", "web", dbAddr))
	f.SetNode("idle", "Linux 6.18", nil, nil)
	f.SetTarget("brief", web, pod("web-5", "Deployment/web", "web", extAddr)) // gone before there was a collector
	f.EndTarget("brief", web)
	want := func(names ...string) {
		t.Helper()
		f.Forget(time.Minute)
		var got []string
		for _, n := range f.Report(ByNode).Nodes {
			got = append(got, n.Name)
		}
		if !slices.Equal(got, names) {
			t.Errorf("nodes are %v, want %v", got, names)
		}
	}
	want("brief", "failing", "gone", "idle", "n1")
	f.EndTarget("gone", host)
	want("brief", "failing", "gone", "idle", "n1")
	f.EndTarget("gone", web)
	want("brief", "failing", "gone", "idle", "n1") // its last numbers are told for a minute
	c.move(time.Minute)
	want("failing", "idle", "n1")
	f.SetTarget("gone", 3, pod("web-4", "Deployment/web", "web", extAddr)) // a node of that name again
	want("failing", "gone", "idle", "n1")
}

// A new collector on a node counts from 0, on interfaces with the same IDs.
func TestRestart(t *testing.T) {
	f, _ := newTestFold(Options{})
	key := flowKeyOf(web, dbAddr, 5432)
	send := func(n uint64) {
		f.Add("n1", &wire.Sample{
			Traffic: []wire.TrafficSample{{Interface: 0, PacketsIn: n}},
			Drops:   []wire.DropSample{{Target: web, Reason: "X", Packets: n}},
			Flows:   []wire.FlowSample{{FlowKey: key, PacketsIn: n}},
			Latency: []wire.LatencySample{{Target: web, RTT: wire.Histogram{Sum: n, Buckets: []uint64{n}}}},
			DNS:     []wire.DNSSample{{Target: web, Name: "a", Queries: n, Codes: map[string]uint64{"NOERROR": n}}},
			Stats: []wire.StatSample{
				{Target: web, Group: "tcp", Name: "OutSegs", Value: n}, {Target: web, Group: "socket", Name: "inuse", Gauge: true, Value: n},
			},
			APIServers: []wire.APIServerSample{{Address: netip.AddrPortFrom(n1Addr, 6443), Attempts: n}},
			Lost:       []wire.LostSample{{Plugin: "dns", What: "x", Count: n}},
		})
	}
	send(10)
	f.Restart("n1")
	send(99) // traffic of unknown interfaces is ignored
	f.Restart("n1")
	f.SetInterfaces("n1", []wire.Interface{{ID: 0, Target: web}})
	send(1)
	send(2)
	r := f.Report(ByPod)
	row := onlyRow(t, r)
	if row.PacketsIn != 12 || row.Drops != 111 || Count(row.RTT) != 111 || row.RTT.Sum != 111 || row.DNSQueries != 111 || row.SegmentsOut != 111 {
		t.Errorf("row is %+v", row.Values)
	}
	if r.Flows[0].PacketsIn != 111 || r.DNS[0].Codes["NOERROR"] != 111 || r.APIServers[0].Attempts != 111 {
		t.Errorf("report is %+v", r)
	}
	// What happened between two collectors is not counted, and that is not kept quiet.
	gap := Lost{Node: "n1", Plugin: "collector", What: "restarted: what happened meanwhile", Count: 2}
	if want := []Lost{gap, {Node: "n1", Plugin: "dns", What: "x", Count: 111}}; !slices.Equal(r.Lost, want) {
		t.Errorf("lost are %+v, want %+v", r.Lost, want)
	}
	for range 3 { // attempts to start one
		f.Restart("n1")
	}
	if gap.Count++; f.Report(ByPod).Lost[0] != gap {
		t.Errorf("after attempts: %+v", f.Report(ByPod).Lost)
	}
	for _, s := range r.Stats {
		if s.Gauge && s.Value != 2 {
			t.Errorf("gauge is %d, want 2", s.Value)
		}
	}
}
