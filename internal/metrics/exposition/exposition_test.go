package exposition

import (
	"bytes"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"

	retina "github.com/kubectl-retina/kubectl-retina"
	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

var update = flag.Bool("update", false, "write the files of testdata that tests compare with")

type directory map[netip.Addr]metrics.Party

func (d directory) Party(addr netip.Addr) metrics.Party {
	if p, ok := d[addr]; ok {
		return p
	}
	return metrics.Party{Kind: metrics.KindExternal}
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func podParty(name, at string) metrics.Party {
	return metrics.Party{
		Kind: metrics.KindPod, Namespace: "shop", Name: name, Workload: "Deployment/web", Service: "web", Zone: "z1", Addresses: []netip.Addr{addr(at)},
	}
}

// newFold has a pod and its node, as IDs 1 and 2 of n1, and a node that failed.
func newFold() *metrics.Fold {
	f := metrics.NewFold(metrics.Options{
		Plugins: []string{
			metrics.PluginForward, metrics.PluginDrops, metrics.PluginFlows, metrics.PluginRetransmit, metrics.PluginDNS, metrics.PluginStats, metrics.PluginAPIServer,
		},
		Directory: directory{
			addr("10.0.0.2"):   {Kind: metrics.KindPod, Namespace: "shop", Name: "db-0", Workload: "StatefulSet/db", Node: "n2"},
			addr("10.96.0.10"): {Kind: metrics.KindService, Namespace: "kube-system", Name: "kube-dns"},
		},
	})
	f.SetNode("n1", "Linux 6.18", []wire.PluginError{{Plugin: metrics.PluginDNS, Cause: "x", Partial: true}}, nil)
	f.SetNode("n2", "", []wire.PluginError{{Plugin: metrics.PluginDrops, Cause: "x"}}, fmt.Errorf("evicted"))
	f.SetTarget("n1", 1, podParty("web-1", "10.0.0.1"))
	f.SetTarget("n1", 2, metrics.Party{Kind: metrics.KindNode, Name: "n1", Node: "n1", Addresses: []netip.Addr{addr("192.168.0.1")}})
	f.SetInterfaces("n1", []wire.Interface{{ID: 0, Target: 1}, {ID: 1, Target: 2, Uplink: true}})
	lost := metrics.Party{Kind: metrics.KindPod, Namespace: "shop", Name: "web-7", Node: "n2"}
	f.SetSkipped([]metrics.Skipped{
		{Target: "pod shop/web-7", Reason: "no netns", Party: &lost}, {Target: "node n2", Reason: "x", Party: &metrics.Party{Kind: metrics.KindNode, Name: "n2"}},
		{Target: "pod kube-system/proxy", Reason: "uses the node's network"},
	})
	return f
}

func sample() *wire.Sample {
	key := wire.FlowKey{Target: 1, Protocol: 6, Local: addr("10.0.0.1"), Remote: addr("10.0.0.2"), Port: 5432, Role: wire.RoleClient}
	times := wire.Histogram{Sum: 4010, Buckets: append(append(make([]uint64, 4), 1, 1), append(make([]uint64, 30), 4)...)} // 4, 5 and 1024 µs
	stats := func(target uint32) []wire.StatSample {
		return []wire.StatSample{
			{Target: target, Group: "tcp", Name: "OutSegs", Value: 400}, {Target: target, Group: "tcp", Name: "CurrEstab", Gauge: true, Value: 1},
			{Target: target, Group: "ip", Name: "InDiscards", Value: 2}, {Target: target, Group: "udp", Name: "RcvbufErrors", Value: 3},
			{Target: target, Group: "socket", Name: "TCP_ESTABLISHED", Gauge: true, Value: 4}, {Target: target, Group: "socket", Name: "TCP_inuse", Gauge: true, Value: 9},
			{Target: target, Group: "socket", Name: "UDP_inuse", Gauge: true, Value: 5}, {Target: target, Group: "socket", Name: "UDP6_inuse", Gauge: true, Value: 6},
			{Target: target, Interface: "eth0", Group: "interface", Name: "rx_dropped", Value: 7},
			{Target: target, Group: "dns", Name: "malformed_messages", Value: 8},
		}
	}
	return &wire.Sample{
		Traffic: []wire.TrafficSample{{Interface: 0, PacketsIn: 600, PacketsOut: 400, BytesIn: 60_000, BytesOut: 40_000}, {Interface: 1, PacketsIn: 700, PacketsOut: 500}},
		Drops: []wire.DropSample{
			{Target: 1, Reason: "NETFILTER_DROP", Hook: "INPUT", Direction: wire.DirectionIn, Protocol: 6,
				Source: netip.MustParseAddrPort("10.0.0.2:5432"), Destination: netip.MustParseAddrPort("10.0.0.1:40000"), Packets: 3, Bytes: 180},
			{Target: 2, Reason: "NO_SOCKET", Packets: 1, Bytes: 60},
		},
		Flows: []wire.FlowSample{
			{FlowKey: key, PacketsIn: 300, PacketsOut: 200, SegmentsOut: 200, BytesIn: 1, BytesOut: 2, FlagsIn: []uint64{0, 0, 0, 9}, FlagsOut: []uint64{0, 5}, Opened: 8, Refused: 1},
		},
		Latency:     []wire.LatencySample{{Target: 1, Connect: times, RTT: times}},
		Retransmits: []wire.RetransmitSample{{FlowKey: key, Segments: 4}},
		DNS: []wire.DNSSample{
			{Target: 1, Role: wire.RoleClient, Server: netip.MustParseAddrPort("10.96.0.10:53"), Protocol: 17, Name: "db.shop", Type: "A",
				Queries: 10, Responses: 8, Timeouts: 2, Codes: map[string]uint64{"NOERROR": 6, "NXDOMAIN": 2}, Latency: times},
			{Target: 1, Role: wire.RoleServer, Name: "x", Type: "A", Queries: 500, Responses: 500},
		},
		Stats: append(append(stats(1), stats(2)...),
			wire.StatSample{Target: 2, Group: "conntrack", Name: "count", Gauge: true, Value: 11}, wire.StatSample{Target: 2, Group: "conntrack", Name: "max", Gauge: true, Value: 1000},
			wire.StatSample{Target: 2, Group: "conntrack", Name: "insert_failed", Value: 12}),
		APIServers: []wire.APIServerSample{{Address: netip.MustParseAddrPort("10.96.0.1:443"), Attempts: 5, Errors: map[string]uint64{"refused": 1, "timeout": 2}, Latency: times, Handshake: times}},
		Lost:       []wire.LostSample{{Plugin: metrics.PluginFlows, What: "flows: table full", Count: 12}},
	}
}

func text(t *testing.T, o Options) string {
	t.Helper()
	f := newFold()
	f.Add("n1", sample())
	var b bytes.Buffer
	if err := Write(&b, f.Report(metrics.ByPod), o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestGolden(t *testing.T) {
	for name, o := range map[string]Options{"local.txt": {}, "remote.txt": {Context: Remote}} {
		got := text(t, o)
		file := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s differs:\n%s", name, diff)
		}
	}
	if _, err := New(nil, Options{Context: "cluster"}); err == nil {
		t.Error("unknown context is accepted")
	}
}

// Prometheus' own rules for names.
func TestLint(t *testing.T) {
	for _, context := range []string{Local, Remote} {
		problems, err := promlint.New(strings.NewReader(text(t, Options{Context: context}))).Lint()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range problems {
			// Later than promtool's rules: a name of Retina's says milliseconds in its help only.
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

// Each metric of the catalogue is served, with the catalogue's type and labels.
func TestCatalogueIsServed(t *testing.T) {
	catalogue, err := retina.Catalog()
	if err != nil {
		t.Fatal(err)
	}
	families := make(map[string]*dto.MetricFamily)
	f := newFold()
	f.Add("n1", sample())
	for _, family := range gather(t, collector(t, f, Options{})) {
		families[family.GetName()] = family
	}
	known := make(map[string]bool)
	for _, m := range catalogue.Metrics() {
		known["networkobservability_"+strings.TrimPrefix(m.Name, "networkobservability_")] = true
		family := families[m.Name]
		if family == nil {
			t.Errorf("%s is not served", m.Name)
			continue
		}
		if got := strings.ToLower(family.GetType().String()); got != m.Type || family.GetHelp() != m.Help {
			t.Errorf("%s is a %s: %s", m.Name, got, family.GetHelp())
		}
		want := slices.Sorted(slices.Values(append(slices.Clone(catalogue.Context(m.Context).Labels), m.Labels...)))
		if got := labelNames(family); !slices.Equal(got, want) {
			t.Errorf("%s has labels %v, want %v", m.Name, got, want)
		}
		if m.Retina == "" || m.Retina == m.Name {
			continue
		}
		if alias := families[m.Retina]; alias == nil || alias.GetType() != dto.MetricType_UNTYPED || len(alias.Metric) != len(family.Metric) {
			t.Errorf("%s is not served untyped, with the series of %s", m.Retina, m.Name)
		}
	}
	for name := range fillers() {
		if !known[name] {
			t.Errorf("%s is not in the catalogue", name)
		}
	}
}

func labelNames(family *dto.MetricFamily) []string {
	var names []string
	for _, l := range family.Metric[0].Label {
		names = append(names, l.GetName())
	}
	slices.Sort(names)
	return names
}

func collector(t *testing.T, f *metrics.Fold, o Options) *Collector {
	t.Helper()
	c, err := New(f, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func gather(t *testing.T, c prometheus.Collector) []*dto.MetricFamily {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// values returns the values of a metric by its label values.
func values(families []*dto.MetricFamily, name string, labels ...string) map[string]float64 {
	all := make(map[string]float64)
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.Metric {
			var key []string
			for _, label := range labels {
				for _, l := range m.Label {
					if l.GetName() == label {
						key = append(key, l.GetValue())
					}
				}
			}
			all[strings.Join(key, " ")] += m.GetCounter().GetValue() + m.GetGauge().GetValue() + m.GetUntyped().GetValue()
		}
	}
	return all
}

func TestCollectConcurrently(t *testing.T) {
	f := newFold()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(collector(t, f, Options{Context: Remote, MaxSeries: 50}))
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 10 {
				f.Add("n1", sample())
				if _, err := registry.Gather(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("stuck")
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, os.ErrClosed }

func TestWriteError(t *testing.T) {
	if err := Write(broken{}, newFold().Report(metrics.ByPod), Options{}); err == nil {
		t.Error("no error")
	}
}
