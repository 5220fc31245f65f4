package metrics

import (
	"fmt"
	"net/netip"
	"reflect"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// A packet of a pod crosses the node's uplink too and counts once.
func TestByNodeCountsOnce(t *testing.T) {
	f, _ := newTestFold(Options{})
	traffic := []wire.TrafficSample{{Interface: 0, PacketsIn: 10}}
	f.Add("n1", &wire.Sample{Traffic: traffic, Drops: []wire.DropSample{{Target: web, Reason: "X", Packets: 1}}})
	if row := onlyRow(t, f.Report(ByNode)); row.PacketsIn != 10 || row.Drops != 1 || row.Name != "n1" || row.Kind != KindNode {
		t.Errorf("without the node as a target the row is %+v", row)
	}
	f.SetTarget("n1", host, Party{Kind: KindNode, Name: "n1", Node: "n1", Addresses: []netip.Addr{n1Addr}})
	f.SetInterfaces("n1", []wire.Interface{{ID: 8, Target: host, Uplink: true}, {ID: 9, Target: host}})
	f.Add("n1", &wire.Sample{
		Traffic: []wire.TrafficSample{{Interface: 8, PacketsIn: 12}, {Interface: 9, PacketsIn: 500}},
		Drops:   []wire.DropSample{{Target: host, Reason: "X", Packets: 2}},
		Flows: []wire.FlowSample{
			{FlowKey: wire.FlowKey{Target: host, Protocol: 6, Local: n1Addr, Remote: extAddr, Port: 443}, PacketsOut: 5, SegmentsOut: 5, Opened: 1},
			{FlowKey: wire.FlowKey{Target: host, Protocol: 6, Local: webAddr, Remote: extAddr, Port: 443}, PacketsOut: 7, SegmentsOut: 7, Opened: 1},
			{FlowKey: flowKeyOf(web, extAddr, 443), PacketsOut: 7, SegmentsOut: 7, Opened: 1},
		},
	})
	row := onlyRow(t, f.Report(ByNode))
	if row.PacketsIn != 12 || row.Drops != 3 || row.Opened != 2 || row.SegmentsOut != 12 || row.Targets != 2 {
		t.Errorf("row is %+v", row)
	}
	pods := f.Report(ByPod).Rows
	if len(pods) != 2 || pods[0].Kind != KindNode || pods[0].PacketsIn != 12 || pods[0].SegmentsOut != 5 || pods[1].PacketsIn != 10 {
		t.Errorf("by pod the rows are %+v", pods)
	}
}

// Without packetforward, the packets of flows are the traffic.
func TestTrafficFromFlows(t *testing.T) {
	flow := wire.FlowSample{FlowKey: flowKeyOf(web, dbAddr, 5432), PacketsIn: 3, BytesOut: 40}
	for _, test := range []struct {
		name        string
		plugins     []string
		unsupported []wire.PluginError
		want        uint64
	}{
		{"not asked for", []string{PluginFlows}, nil, 3},
		{"both", []string{PluginFlows, PluginForward}, nil, 0},
		{"unsupported", []string{PluginFlows, PluginForward}, []wire.PluginError{{Plugin: PluginForward}}, 3},
		{"partly unsupported", []string{PluginFlows, PluginForward}, []wire.PluginError{{Plugin: PluginForward, Partial: true}}, 0},
	} {
		f, _ := newTestFold(Options{Plugins: test.plugins})
		f.SetNode("n1", "", test.unsupported, nil)
		f.Add("n1", &wire.Sample{Flows: []wire.FlowSample{flow}})
		if got := onlyRow(t, f.Report(ByPod)).PacketsIn; got != test.want {
			t.Errorf("%s: %d packets, want %d", test.name, got, test.want)
		}
	}
}

func TestSegmentsOut(t *testing.T) {
	f, _ := newTestFold(Options{})
	key := flowKeyOf(web, dbAddr, 5432)
	f.Add("n1", &wire.Sample{
		Flows:       []wire.FlowSample{{FlowKey: key, PacketsOut: 20, SegmentsOut: 30}, {FlowKey: wire.FlowKey{Target: web, Protocol: 17, Remote: dbAddr}, PacketsOut: 9}},
		Retransmits: []wire.RetransmitSample{{FlowKey: key, Segments: 3}},
	})
	if row := onlyRow(t, f.Report(ByPod)); row.SegmentsOut != 30 || row.Retransmits != 3 {
		t.Errorf("from flows: %+v", row.Values)
	}
	f.Add("n1", &wire.Sample{Stats: []wire.StatSample{{Target: web, Group: "tcp", Name: "OutSegs", Value: 97}, {Target: web, Group: "tcp", Name: "RetransSegs", Value: 4}}})
	if row := onlyRow(t, f.Report(ByPod)); row.SegmentsOut != 101 {
		t.Errorf("from the kernel: %d, want 101", row.SegmentsOut)
	}
}

func TestDrops(t *testing.T) {
	f, _ := newTestFold(Options{})
	f.SetTarget("n1", web, Party{Kind: KindPod, Namespace: "shop", Name: "web-1", Addresses: []netip.Addr{webAddr}, Policies: []string{"a", "b", "c", "d"}})
	f.Add("n1", &wire.Sample{
		Flows: []wire.FlowSample{{FlowKey: flowKeyOf(web, dbAddr, 5432), PacketsOut: 1, SegmentsOut: 1}},
		Drops: []wire.DropSample{
			{Target: web, Reason: "NETFILTER_DROP", Hook: "FORWARD", Direction: wire.DirectionOut, Protocol: 6,
				Source: netip.AddrPortFrom(webAddr, 40000), Destination: netip.AddrPortFrom(dbAddr, 5432), Packets: 3, Bytes: 180},
			{Target: web, Reason: "NO_SOCKET", Protocol: 17, Direction: wire.DirectionIn,
				Source: netip.AddrPortFrom(extAddr, 999), Destination: netip.AddrPortFrom(webAddr, 81), Packets: 1},
			{Target: web, Reason: "NOT_SPECIFIED", Packets: 1},
		},
	})
	r := f.Report(ByFlow)
	var hints []string
	for _, d := range r.Drops {
		hints = append(hints, d.Reason+": "+d.Hint)
	}
	want := []string{
		"NETFILTER_DROP: pod shop/web-1 is selected by NetworkPolicies shop/a, shop/b, shop/c and 1 more; pod shop/db-0 is selected by NetworkPolicy shop/deny-all, which may forbid this",
		"NOT_SPECIFIED: ",
		"NO_SOCKET: nothing listens there",
	}
	if diff := cmp.Diff(want, hints); diff != "" {
		t.Errorf("hints differ:\n%s", diff)
	}
	drops := make(map[string]uint64)
	for _, row := range r.Rows {
		drops[fmt.Sprint(row.Remote, " ", row.Protocol, " ", row.Port)] += row.Drops
	}
	if diff := cmp.Diff(map[string]uint64{"shop/db-0 TCP 5432": 3, "203.0.113.7 UDP 81": 1, "unknown  0": 1}, drops); diff != "" {
		t.Errorf("drops by flow differ:\n%s", diff)
	}
	if r.Drops[1].Source != nil || r.Drops[0].Destination.Party.Workload != "StatefulSet/db" {
		t.Errorf("sides are %+v", r.Drops)
	}
}

func TestDNS(t *testing.T) {
	f, _ := newTestFold(Options{})
	server := netip.AddrPortFrom(dnsAddr, 53)
	latency := wire.Histogram{Sum: 10, Buckets: []uint64{0, 0, 5}}
	f.Add("n1", &wire.Sample{DNS: []wire.DNSSample{
		{Target: web, Role: wire.RoleClient, Server: server, Protocol: 17, Name: "a.example", Type: "A", Queries: 10, Responses: 9, Timeouts: 1,
			Codes: map[string]uint64{"NOERROR": 5, "NXDOMAIN": 3, "SERVFAIL": 1}, Latency: latency},
		{Target: web, Role: wire.RoleServer, Protocol: 17, Name: "b.example", Type: "A", Queries: 1, Latency: latency},
	}})
	r := f.Report(ByPod)
	row := onlyRow(t, r)
	if row.DNSQueries != 11 || row.DNSErrors != 4 || row.DNSTimeouts != 1 || Count(row.DNSLatency) != 5 {
		t.Errorf("row is %+v", row.Values)
	}
	if r.DNS[0].Server.Party.Name != "kube-dns" || r.DNS[0].Server.Port != 53 {
		t.Errorf("server is %+v", r.DNS[0].Server)
	}
	if rows := f.Report(ByFlow).Rows; len(rows) != 2 || rows[0].DNSQueries+rows[1].DNSQueries != 11 {
		t.Errorf("by flow the rows are %+v", rows)
	}
}

func TestGroups(t *testing.T) {
	f, _ := newTestFold(Options{})
	f.SetTarget("n1", 3, pod("web-2", "Deployment/web", "web", netip.MustParseAddr("10.0.0.3")))
	f.SetTarget("n1", db, pod("db-0", "StatefulSet/db", "", dbAddr))
	f.SetTarget("n2", 1, pod("web-3", "Deployment/web", "web", netip.MustParseAddr("10.0.1.3")))
	f.SetTarget("n2", host, Party{Kind: KindNode, Name: "n2", Node: "n2"})
	for by, want := range map[By][]string{
		ByPod:       {"node n2 1", "pod shop/db-0 1", "pod shop/web-1 1", "pod shop/web-2 1", "pod shop/web-3 1"},
		ByNode:      {"node n1 3", "node n2 2"},
		ByWorkload:  {"node n2 1", "shop/Deployment/web 3", "shop/StatefulSet/db 1"},
		ByNamespace: {"node n2 1", "namespace shop 4"},
		ByService:   {"node n2 1", "service shop/(none) 1", "service shop/web 3"},
		ByFlow:      nil,
	} {
		r := f.Report(by)
		var got []string
		for i := range r.Rows {
			got = append(got, fmt.Sprint(r.Rows[i].Describe(by), " ", r.Rows[i].Targets))
			if key := r.Rows[i].key(by); key == (rowKey{}) {
				t.Errorf("row %d by %s has no key", i, by)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("by %s:\n%s", by, diff)
		}
	}
	if row := f.Report(ByService).Rows[2]; row.Node != "" || row.Workload != "Deployment/web" || row.Name != "" || row.Service != "web" {
		t.Errorf("common party is %+v", row.Party)
	}
}

// Who an address belonged to is remembered while nobody has it.
func TestPartiesStay(t *testing.T) {
	d := testDirectory()
	f, _ := newTestFold(Options{Directory: d})
	f.Add("n1", &wire.Sample{Flows: []wire.FlowSample{{FlowKey: flowKeyOf(web, dbAddr, 1)}, {FlowKey: flowKeyOf(web, webAddr, 1)}}})
	remotes := func() []string {
		var names []string
		for _, flow := range f.Report(ByPod).Flows {
			names = append(names, flow.Remote.String())
		}
		return names
	}
	f.Report(ByPod)
	delete(d, dbAddr)
	if got := remotes(); !reflect.DeepEqual(got, []string{"shop/db-0", "shop/web-1"}) {
		t.Errorf("remotes are %v", got)
	}
	d[dbAddr] = Party{Kind: KindPod, Namespace: "shop", Name: "other"}
	if got := remotes(); !reflect.DeepEqual(got, []string{"shop/other", "shop/web-1"}) {
		t.Errorf("remotes are %v", got)
	}
}

func TestMeasured(t *testing.T) {
	r := &Report{Plugins: []string{PluginDNS, PluginDrops}, Nodes: []Node{
		{Name: "n1", Samples: 1, Unsupported: []wire.PluginError{{Plugin: PluginDrops, Cause: "no BTF"}}},
		{Name: "n2", Samples: 1, Unsupported: []wire.PluginError{{Plugin: PluginDNS, Partial: true}}},
		{Name: "n3", Error: "gone"},
	}}
	for _, test := range []struct {
		plugin, node string
		want         bool
	}{
		{PluginDrops, "n1", false}, {PluginDrops, "n2", true}, {PluginDrops, "", true},
		{PluginDNS, "n2", true}, {PluginFlows, "", false}, {PluginDNS, "n3", false}, {PluginDNS, "n4", false},
	} {
		if got := r.Measured(test.plugin, test.node); got != test.want {
			t.Errorf("%s on %q: %v", test.plugin, test.node, got)
		}
	}
}

func TestFoldConcurrently(t *testing.T) {
	f, _ := newTestFold(Options{})
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for n := range uint64(50) {
				id := uint32(100 + i)
				f.SetTarget("n1", id, pod(fmt.Sprint("p", i), "", "", extAddr))
				f.SetInterfaces("n1", []wire.Interface{{ID: id, Target: id}})
				f.Add("n1", &wire.Sample{Traffic: []wire.TrafficSample{{Interface: id, PacketsIn: n}}, Flows: []wire.FlowSample{{FlowKey: flowKeyOf(id, dbAddr, 1), PacketsIn: n}}})
				f.Report(ByPod)
				f.EndTarget("n1", id)
				if i == 0 {
					f.Forget(0)
				}
			}
		})
	}
	all.Wait()
	if rows := f.Report(ByPod).Rows; len(rows) > 5 || len(rows) == 0 {
		t.Errorf("%d rows", len(rows))
	}
}

// A pod that took the place of another under its name is who both are.
func TestSameName(t *testing.T) {
	for range 20 { // maps have no order
		f, _ := newTestFold(Options{})
		f.Add("n1", sampleOf(2))
		f.EndTarget("n1", web)
		f.SetNode("n2", "", nil, nil)
		f.SetTarget("n2", 5, pod("web-1", "Deployment/web", "web", extAddr))
		f.SetInterfaces("n2", []wire.Interface{{ID: 0, Target: 5}})
		s := sampleOf(3)
		for _, target := range []*uint32{
			&s.Drops[0].Target, &s.Flows[0].Target, &s.Latency[0].Target, &s.Retransmits[0].Target, &s.DNS[0].Target, &s.Stats[0].Target, &s.Stats[1].Target,
		} {
			*target = 5
		}
		f.Add("n2", s)
		r := f.Report(ByPod)
		row := onlyRow(t, r)
		if row.PacketsIn != 500 || row.Targets != 2 || row.GoneTargets != 1 || row.Node != "n2" || row.Addresses[0] != extAddr {
			t.Fatalf("row is %+v", row)
		}
		if len(r.DNS) != 1 || r.DNS[0].Queries != 10 || r.DNS[0].Target.Node != "n2" || len(r.Flows) != 1 || r.Flows[0].PacketsIn != 450 {
			t.Fatalf("DNS is %+v, flows are %+v", r.DNS, r.Flows)
		}
		if len(r.Stats) != 2 || len(r.Drops) != 2 { // drops by node
			t.Fatalf("stats are %+v, drops %+v", r.Stats, r.Drops)
		}
	}
}
