package expect

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
	"github.com/kubectl-retina/kubectl-retina/internal/metrics/print"
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

// shop is what tests change.
type shop struct {
	fold *metrics.Fold
	by   metrics.By
	now  time.Time
}

func everyPlugin() []string {
	return []string{
		metrics.PluginForward, metrics.PluginDrops, metrics.PluginFlows, metrics.PluginRetransmit, metrics.PluginDNS, metrics.PluginStats, metrics.PluginAPIServer,
	}
}

// shopReport is of 10 s with a web pod on n1, and a database on n2 that does
// nothing. change comes before the report is made.
func shopReport(change func(*shop), plugins ...string) *metrics.Report {
	if plugins == nil {
		plugins = everyPlugin()
	}
	s := &shop{by: metrics.ByPod, now: time.Unix(1_700_000_000, 0).UTC()}
	s.fold = metrics.NewFold(metrics.Options{
		Plugins: plugins, Now: func() time.Time { return s.now },
		Directory: directory{
			addr("10.0.0.2"):   {Kind: metrics.KindPod, Namespace: "shop", Name: "db-0", Workload: "StatefulSet/db"},
			addr("10.96.0.10"): {Kind: metrics.KindService, Namespace: "kube-system", Name: "kube-dns"},
		},
	})
	f := s.fold
	f.SetNode("n1", "Linux 6.18", nil, nil)
	f.SetNode("n2", "Linux 6.18", nil, nil)
	f.SetTarget("n1", 1, metrics.Party{
		Kind: metrics.KindPod, Namespace: "shop", Name: "web-1", Workload: "Deployment/web", Service: "web", Addresses: []netip.Addr{addr("10.0.0.1")},
	})
	f.SetTarget("n2", 1, metrics.Party{Kind: metrics.KindPod, Namespace: "data", Name: "db-0", Workload: "StatefulSet/db"})
	f.SetInterfaces("n1", []wire.Interface{{ID: 0, Target: 1}})
	f.SetInterfaces("n2", []wire.Interface{{ID: 0, Target: 1}})
	s.now = s.now.Add(10 * time.Second)
	f.Add("n1", shopSample())
	f.Add("n2", &wire.Sample{})
	if change != nil {
		change(s)
	}
	return f.Report(s.by)
}

func shopSample() *wire.Sample {
	key := wire.FlowKey{Target: 1, Protocol: 6, Local: addr("10.0.0.1"), Remote: addr("10.0.0.2"), Port: 5432, Role: wire.RoleClient}
	other := key
	other.Remote, other.Port = addr("203.0.113.7"), 443
	times := wire.Histogram{Sum: 4000, Buckets: append(make([]uint64, 36), 4)} // 1024 µs to 1279
	return &wire.Sample{
		Traffic: []wire.TrafficSample{{Interface: 0, PacketsIn: 600, PacketsOut: 400, BytesIn: 60_000, BytesOut: 40_000}},
		Drops: []wire.DropSample{
			{Target: 1, Reason: "NETFILTER_DROP", Hook: "INPUT", Direction: wire.DirectionIn, On: "pod", Protocol: 6,
				Source: netip.MustParseAddrPort("10.0.0.2:5432"), Destination: netip.MustParseAddrPort("10.0.0.1:40000"), Packets: 3, Bytes: 180},
			{Target: 1, Reason: "NO_SOCKET", Direction: wire.DirectionIn, Packets: 1, Bytes: 60},
		},
		Flows: []wire.FlowSample{
			{FlowKey: key, PacketsIn: 300, PacketsOut: 200, SegmentsOut: 200, FlagsIn: []uint64{0, 0, 0, 0, 2}, Opened: 8, Refused: 1, Connect: wire.Times{Count: 8, Sum: 8000, Max: 1500}},
			{FlowKey: other, PacketsIn: 100, PacketsOut: 200, SegmentsOut: 200, FlagsOut: []uint64{0, 0, 0, 0, 1}, Opened: 1, Unanswered: 1, Connect: wire.Times{Count: 1, Sum: 30_000, Max: 30_000}},
		},
		Latency:     []wire.LatencySample{{Target: 1, Connect: times}},
		Retransmits: []wire.RetransmitSample{{FlowKey: key, Segments: 4}},
		DNS: []wire.DNSSample{
			{Target: 1, Role: wire.RoleClient, Server: netip.MustParseAddrPort("10.96.0.10:53"), Protocol: 17, Name: "db.shop", Type: "A",
				Queries: 10, Responses: 8, Timeouts: 2, Codes: map[string]uint64{"NOERROR": 6, "NXDOMAIN": 2}, Latency: times},
			{Target: 1, Role: wire.RoleServer, Protocol: 17, Name: "x", Type: "A", Queries: 5, Responses: 5, Codes: map[string]uint64{"SERVFAIL": 5}},
		},
		APIServers: []wire.APIServerSample{{Address: netip.MustParseAddrPort("10.96.0.1:443"), Attempts: 5, Errors: map[string]uint64{"refused": 1, "tls": 2}, Latency: times}},
	}
}

func mustParse(t *testing.T, text string) *Expectation {
	t.Helper()
	e, err := Parse(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return e
}

// Each expectation is written so that its number is exact.
func TestValues(t *testing.T) {
	r := shopReport(nil)
	for _, text := range []string{
		"drops == 4", `drops{reason="NETFILTER_DROP"} == 3`, `drops{reason="SOMETHING"} == 0`, `drops{hook=""} == 1`, `drops{hook!=""} == 3`,
		`drops{reason=~"NET.*"} == 3`, `drops{reason=~"NET"} == 0`, `drops{reason!~"NET.*"} == 1`, `drops{remote="db-0"} == 3`,
		`drops{remote="shop/db-0"} == 3`, `drops{remote="10.0.0.2"} == 3`, `drops{remote="StatefulSet/db"} == 3`, `drops{port="5432"} == 3`, `drops{port="40000"} == 3`,
		`drops{direction="ingress"} == 4`, `drops{on="pod"} == 3`, `drops{protocol="TCP"} == 3`, "drop_bytes == 240",
		`drops{namespace="shop"} == 4`, `drops{namespace="data"} == 0`, `drops{pod="web-1",node="n1"} == 4`, `drops{workload="web"} == 4`, `drops{workload="Deployment/web"} == 4`,
		`drops{workload!="web"} == 0`, `drops{service="web"} == 4`, `drops{pod=~"web-.*"} == 4`, "drops/s == 0.4",
		"packets == 1k", "packets_in == 600", "packets_out == 400", `packets{direction="egress"} == 400`, `packets{direction!="egress"} == 600`,
		`packets{remote="db-0"} == 500`, `packets{port="443"} == 300`, `packets{remote="external"} == 300`, `packets{role="client"} == 800`, `packets{protocol!="TCP"} == 0`,
		`packets{remote="db-0",direction="ingress"} == 300`, "packets/s == 100", "bytes == 100kB", "bytes_in == 60000", "bytes_out/s == 4k",
		"retransmits == 4", `retransmits{remote="db-0"} == 4`, "segments_out == 400", "retransmit_ratio == 1%", `retransmit_ratio{remote="db-0"} == 2%`,
		"resets == 3", `resets{direction="ingress"} == 2`, "resets_in == 2", "connects == 9", `connects{port="443"} == 1`,
		"connect_failures == 2", `connect_failures{remote="db-0"} == 1`, "unanswered == 1", "refused == 1",
		"connect.p50 == 1152us", "connect.max == 30ms", `connect.max{remote="db-0"} == 1500us`, `connect.mean{remote="db-0"} == 1ms`,
		"dns.queries == 10", `dns.queries{role="server"} == 5`, `dns.queries{role=~".*"} == 15`, "dns.responses == 8", `dns.responses{code="NXDOMAIN"} == 2`,
		"dns.errors == 2", `dns.errors{code="NOERROR"} == 0`, `dns.errors{code="SERVFAIL",role="server"} == 5`, "dns.timeouts == 2", "dns.error_ratio == 25%",
		`dns.error_ratio{code="NXDOMAIN"} == 25%`, `dns.queries{name="db.shop",type="A"} == 10`, `dns.queries{remote="kube-system/kube-dns"} == 10`, "dns.p50 == 1152us", "dns.mean == 1ms",
		`apiserver.attempts{node="n1"} == 5`, `apiserver.errors{node="n1"} == 3`, `apiserver.errors{reason="tls",node="n1"} == 2`, `apiserver.p50{node="n1"} == 1152us`,
		`apiserver.errors{remote="10.96.0.1",node="n1"} == 3`,
		"lost == 0", "drops != 5", "drops < 5", "drops <= 4", "drops > 3", "drops >= 4",
	} {
		v := Evaluate(mustParse(t, text), r)
		if !v.Measured || !v.Held {
			t.Errorf("%s: %s, value %v: %s", text, v.outcome(), v.Value, v.Text)
		}
	}
	for _, text := range []string{"drops == 0", "drops != 4", "drops < 4", "drops <= 3", "drops > 4", "drops >= 5", "connect.p50 < 1ms", "retransmit_ratio < 1%", "packets/s > 1k"} {
		if v := Evaluate(mustParse(t, text), r); !v.Measured || v.Held {
			t.Errorf("%s: %s, value %v: %s", text, v.outcome(), v.Value, v.Text)
		}
	}
}

// What was not measured neither holds nor fails, unless what was counted proves it.
func TestNotMeasured(t *testing.T) {
	unsupported := func(s *shop) {
		s.fold.SetNode("n2", "Linux 5.4", []wire.PluginError{{Plugin: metrics.PluginDrops, Cause: "no drop reasons"}}, nil)
	}
	cut := func(s *shop) { s.fold.SetNode("n2", "", nil, errors.New("pod was evicted")) }
	lost := func(s *shop) {
		s.fold.Add("n1", &wire.Sample{Lost: []wire.LostSample{{Plugin: metrics.PluginDrops, What: "table full", Count: 9}, {Plugin: metrics.PluginFlows, What: "table full", Count: 1}}})
	}
	silent := func(s *shop) {
		s.fold.SetNode("n3", "", nil, nil)
		s.fold.SetTarget("n3", 1, metrics.Party{Kind: metrics.KindPod, Namespace: "shop", Name: "web-9"})
	}
	skipped := func(s *shop) {
		s.fold.SetSkipped([]metrics.Skipped{
			{Target: "pod shop/web-7", Reason: "no such netns", Party: &metrics.Party{Kind: metrics.KindPod, Namespace: "shop", Name: "web-7", Node: "n1"}},
			{Target: "pod kube-system/proxy", Reason: "uses the node's network"},
		})
	}
	by := func(by metrics.By) func(*shop) { return func(s *shop) { s.by = by } }
	lasts := func(d time.Duration) func(*shop) {
		return func(s *shop) { s.now = s.now.Add(d - 10*time.Second); s.fold.Add("n2", &wire.Sample{}) }
	}
	without := func(plugin string) []string {
		var rest []string
		for _, p := range everyPlugin() {
			if p != plugin {
				rest = append(rest, p)
			}
		}
		return rest
	}
	for _, test := range []struct {
		name    string
		change  func(*shop)
		plugins []string
		text    string
		want    string // outcome
		why     string
	}{
		{"no plugin", nil, without(metrics.PluginDrops), "drops == 0", notMeasured, "no plugin dropreason was asked for"},
		{"one of two plugins", nil, without(metrics.PluginForward), "packets == 800", held, "800"},
		{"neither of two", nil, []string{metrics.PluginDrops}, "packets == 800", notMeasured, "no plugin packetforward or packetparser was asked for"},
		{"ratio without its other half", nil, []string{metrics.PluginRetransmit}, "retransmit_ratio < 1%", notMeasured, "no plugin linuxutil or packetparser was asked for"},
		{"flow label needs flows", nil, without(metrics.PluginFlows), `packets{port="443"} > 0`, notMeasured, "no plugin packetparser was asked for"},

		{"unsupported, elsewhere", unsupported, nil, `drops{namespace="shop"} == 4`, held, "4"},
		{"unsupported, there", unsupported, nil, `drops{namespace="data"} == 0`, notMeasured, "node n2 does not support dropreason: no drop reasons"},
		{"unsupported, one of two", unsupported, nil, "drops == 4", notMeasured, "4 at least: node n2 does not support dropreason: no drop reasons"},
		{"lower bound proves failure", unsupported, nil, "drops == 0", failed, "4: 3 pod shop/web-1 NETFILTER_DROP in INPUT, 1 pod shop/web-1 NO_SOCKET"},
		{"lower bound proves less", unsupported, nil, "drops < 4", failed, "4: 3"},
		{"lower bound proves nothing", unsupported, nil, "drops < 5", notMeasured, "4 at least"},
		{"lower bound proves more", unsupported, nil, "drops > 3", held, "4"},
		{"lower bound may be more", unsupported, nil, "drops > 4", notMeasured, "4 at least"},
		{"lower bound proves unequal", unsupported, nil, "drops != 3", held, "4"},
		{"lower bound may be unequal", unsupported, nil, "drops != 4", notMeasured, "4 at least"},
		{"lower bound may become unequal", unsupported, nil, "drops != 5", notMeasured, "4 at least"},
		{"lower bound of a rate", unsupported, nil, "drops/s > 0.1", held, "0.4/s"},
		{"another plugin", unsupported, nil, "packets == 1000", held, "1000"},
		{"supported in part", func(s *shop) {
			s.fold.SetNode("n1", "", []wire.PluginError{{Plugin: metrics.PluginDrops, Cause: "no hooks", Partial: true}}, nil)
		}, nil, "drops == 4", held, "4 (dropreason measures in part on node n1: no hooks)"},

		{"node failed", cut, nil, "drops < 9", notMeasured, "4 at least: node n2: pod was evicted"},
		{"node failed, elsewhere", cut, nil, `drops{node="n1"} < 9`, held, "4"},
		{"node failed, ratio", cut, nil, "retransmit_ratio < 2%", notMeasured, "1% of what was counted: node n2"},
		{"node failed, quantile", cut, nil, "connect.p50 > 1us", notMeasured, "1.15ms of what was counted"},
		{"node is silent", silent, nil, "drops < 9", notMeasured, "4 at least: node n3 has sent nothing"},
		{"node is silent, and nothing else", silent, nil, `drops{node="n3"} == 0`, notMeasured, "node n3 has sent nothing"},

		{"lost", lost, nil, "drops < 9", notMeasured, "4 at least: dropreason lost 9 on node n1 (table full)"},
		{"lost, not there", lost, nil, `drops{namespace="data"} == 0`, held, "0"},
		{"lost, not used", lost, nil, "packets == 1000", held, "1000"},
		{"lost is known", lost, nil, "lost == 10", held, "10"},
		{"lost by plugin", lost, nil, `lost{plugin="packetparser"} == 0`, failed, "1: 1 packetparser on node n1: table full"},

		{"target skipped", skipped, nil, "drops < 9", notMeasured, "4 at least: pod shop/web-7 was not measured: no such netns"},
		{"target skipped, selected", skipped, nil, `drops{namespace="shop"} < 9`, notMeasured, "4 at least: pod shop/web-7 was not measured: no such netns"},
		{"target skipped, by its node", skipped, nil, `drops{node="n1"} < 9`, notMeasured, "4 at least: pod shop/web-7 was not measured"},
		{"target skipped, another pod", skipped, nil, `drops{pod="web-1"} < 9`, held, "4"},
		{"target skipped, elsewhere", skipped, nil, `drops{namespace="data"} == 0`, held, "0"},
		{"target skipped, proven", skipped, nil, "drops < 4", failed, "4: 3"},
		{"target skipped, of nodes", skipped, nil, `apiserver.attempts{node="n1"} == 5`, held, "5"},
		{"target skipped, only one", skipped, nil, `drops{pod="web-7"} == 0`, notMeasured, "pod shop/web-7 was not measured: no such netns"},
		{"target skipped, on purpose", skipped, nil, `drops{namespace="kube-system"} == 0`, notMeasured, "pod kube-system/proxy was not measured: uses the node's network"},
		{"target skipped, on purpose, by name", skipped, nil, `drops{pod="proxy"} == 0`, notMeasured, "pod kube-system/proxy was not measured: uses the node's network"},
		{"target skipped, on purpose, another", skipped, nil, `drops{pod="prox"} == 0`, notMeasured, "no target has such labels"},
		{"target skipped, on purpose, and others", skipped, nil, `drops{pod!="web-1",node!="n1"} == 0`, held, "0"},

		{"no such target", nil, nil, `drops{namespace="sohp"} == 0`, notMeasured, "no target has such labels"},
		{"no such node", nil, nil, `drops{node="n7"} == 0`, notMeasured, "no target has such labels"},
		{"no time", nil, nil, "rtt.p99 < 1s", notMeasured, "no time was measured"},
		{"no time of this one", nil, nil, `connect.p99{namespace="data"} < 1s`, notMeasured, "no time was measured"},
		{"ratio of nothing, less", nil, nil, `retransmit_ratio{namespace="data"} < 1%`, notMeasured, "no TCP segments were sent"},
		{"ratio of nothing, more", nil, nil, `retransmit_ratio{namespace="data"} > 1%`, notMeasured, "no TCP segments were sent"},
		{"ratio of no answers", nil, nil, `dns.error_ratio{namespace="data"} == 0`, notMeasured, "there were no answers"},
		{"nothing asked", nil, nil, `dns.p99{name="x"} < 1s`, notMeasured, `nothing was asked; what targets answered has role="server"`},
		{"rate of no time", func(s *shop) { s.now = s.now.Add(-10 * time.Second); s.fold.Add("n2", &wire.Sample{}) }, nil, "drops/s == 0", notMeasured, "the report covers no time"},

		{"too short for a timeout", lasts(5 * time.Second), nil, `dns.timeouts{namespace="data"} == 0`, notMeasured, "0 at least: what has no answer counts after 5s, and the report covers 5.0s: measure for 10s or longer"},
		{"too short for a rate of timeouts", lasts(5 * time.Second), nil, `dns.timeouts/s{namespace="data"} < 1`, notMeasured, "0/s at least: what has no answer counts after 5s"},
		{"short, and proven", lasts(5 * time.Second), nil, "dns.timeouts == 0", failed, "2: 2 pod shop/web-1 db.shop A"},
		{"long enough for a timeout", lasts(6 * time.Second), nil, `dns.timeouts{namespace="data"} == 0`, held, "0"},
		{"too short for a SYN", lasts(3 * time.Second), nil, `unanswered{namespace="data"} == 0`, notMeasured, "0 at least: what has no answer counts after 3s"},
		{"too short for a failure", lasts(3 * time.Second), nil, `connect_failures{namespace="data"} == 0`, notMeasured, "0 at least: what has no answer counts after 3s"},
		{"refused at once", lasts(3 * time.Second), nil, `refused{namespace="data"} == 0`, held, "0"},
		{"long enough for a SYN", lasts(4 * time.Second), nil, `connect_failures{namespace="data"} == 0`, held, "0"},

		{"API server, nobody tried", nil, nil, `apiserver.errors{node="n2"} == 0`, notMeasured, "node n2: no attempt to reach the API server is over"},
		{"API server, one of two nodes", nil, nil, "apiserver.errors < 9", notMeasured, "3 at least: node n2: no attempt to reach the API server is over"},
		{"API server, proven", nil, nil, "apiserver.errors == 0", failed, "3: 3"},
		{"API server, no such address", nil, nil, `apiserver.errors{remote="1.2.3.4"} == 0`, notMeasured, "node n1: no attempt to reach such an address of the API server is over"},
		{"API server, no such address, attempts", nil, nil, `apiserver.attempts{remote="1.2.3.4"} == 0`, notMeasured, "node n1: no attempt"},
		{"API server, not this error", nil, nil, `apiserver.errors{node="n1",reason="timeout"} == 0`, held, "0"},
		{"too short for an API server's error", lasts(3 * time.Second), nil, `apiserver.errors{node="n1",reason="timeout"} == 0`, notMeasured, "0 at least: what has no answer counts after 3s"},
		{"short, of an API server's times", lasts(2 * time.Second), nil, `apiserver.p99{node="n1"} < 1s`, held, "1.28ms"},

		{"lost by a plugin that did not run", nil, without(metrics.PluginDNS), `lost{plugin="dns"} == 0`, notMeasured, "no plugin dns was asked for"},
		{"lost by a plugin that is none", nil, nil, `lost{plugin="dsn"} == 0`, notMeasured, "no plugin dsn was asked for"},
		{"lost by plugins that are none", nil, nil, `lost{plugin=~"dsn.*"} == 0`, notMeasured, "no plugin of such a name was asked for"},
		{"lost by a plugin that does not work there", unsupported, nil, `lost{plugin="dropreason"} == 0`, notMeasured, "0 at least: node n2 does not support dropreason"},
		{"lost by others", unsupported, nil, `lost{plugin!="dropreason"} == 0`, held, "0"},
		{"lost by the collector", nil, nil, `lost{plugin="collector"} == 0`, held, "0"},
		{"lost by a plugin, nothing", nil, nil, `lost{plugin="dns",node="n1"} == 0`, held, "0"},

		{"rows do not tell", by(metrics.ByNamespace), nil, `packets{pod="web-1"} > 0`, notMeasured, "the report is by namespace and does not tell a pod"},
		{"rows tell", by(metrics.ByNamespace), nil, `packets{namespace="shop"} == 1000`, held, "1000"},
		{"drops tell", by(metrics.ByNamespace), nil, `drops{pod="web-1"} == 4`, held, "4"},
		{"by flow", by(metrics.ByFlow), nil, `drops{pod="web-1"} == 4`, held, "4"},
	} {
		v := Evaluate(mustParse(t, test.text), shopReport(test.change, test.plugins...))
		if v.outcome() != test.want || !strings.HasPrefix(v.Text, test.why) {
			t.Errorf("%s: %s: %s: %s\nwant %s: %s", test.name, test.text, v.outcome(), v.Text, test.want, test.why)
		}
		if v.Held && !v.Measured {
			t.Errorf("%s: held without being measured", test.name)
		}
	}
	empty := metrics.NewFold(metrics.Options{Plugins: everyPlugin()}).Report(metrics.ByPod)
	if v := Evaluate(mustParse(t, "drops == 0"), empty); v.Measured || v.Text != "there is no target" {
		t.Errorf("of no targets: %+v", v)
	}
}

// A pod's packets cross its node's interfaces: they are counted there only.
func TestNodeAndPodsCountOnce(t *testing.T) {
	r := shopReport(func(s *shop) {
		s.fold.SetTarget("n1", 2, metrics.Party{Kind: metrics.KindNode, Name: "n1", Node: "n1"})
		s.fold.SetInterfaces("n1", []wire.Interface{{ID: 5, Target: 2, Uplink: true}})
		s.fold.Add("n1", &wire.Sample{Traffic: []wire.TrafficSample{{Interface: 5, PacketsIn: 1500}}, Drops: []wire.DropSample{{Target: 2, Reason: "X", Packets: 1}}})
	})
	for _, text := range []string{"packets == 1500", `packets{pod=~".*"} == 1000`, `packets{node="n1"} == 1500`, "drops == 5", `drops{pod!="x"} == 4`, "retransmits == 4"} {
		if v := Evaluate(mustParse(t, text), r); !v.Held {
			t.Errorf("%s: value %v: %s", text, v.Value, v.Text)
		}
	}
}

func TestWorst(t *testing.T) {
	r := shopReport(nil)
	for text, want := range map[string][]Part{
		"drops == 0":        {{"pod shop/web-1 NETFILTER_DROP in INPUT", 3}, {"pod shop/web-1 NO_SOCKET", 1}},
		"packets > 5k":      {{"pod data/db-0", 0}, {"pod shop/web-1", 1000}},
		"packets/s < 1":     {{"pod shop/web-1", 100}},
		"connect.p50 < 1us": {{"pod shop/web-1", 1152}},
	} {
		v := Evaluate(mustParse(t, text), r)
		if diff := cmp.Diff(want, v.Worst); diff != "" || v.Held {
			t.Errorf("%s: %s", text, diff)
		}
	}
}

func TestVerdictFiles(t *testing.T) {
	r := shopReport(func(s *shop) {
		s.fold.Add("n1", &wire.Sample{Lost: []wire.LostSample{{Plugin: metrics.PluginDNS, What: "names: table full", Count: 2}}})
	})
	var all []*Expectation
	for _, text := range []string{"drops == 0", `packets{namespace="shop"} > 10`, "dns.p99 < 50ms", `drops{reason="<&'>"} == 0`} {
		all = append(all, mustParse(t, text))
	}
	verdicts := EvaluateAll(all, r)
	failures, unmeasured := Count(verdicts)
	if failures != 1 || unmeasured != 1 {
		t.Errorf("%d failed, %d were not measured", failures, unmeasured)
	}
	for name, write := range map[string]func(*bytes.Buffer) error{
		"verdicts.txt":  func(b *bytes.Buffer) error { return Table(b, verdicts, 0) },
		"verdicts.json": func(b *bytes.Buffer) error { return print.JSON(b, verdicts) },
		"verdicts.xml":  func(b *bytes.Buffer) error { return JUnit(b, "kubectl retina metrics", r.Ended, verdicts) },
	} {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		golden(t, name, b.Bytes())
		switch filepath.Ext(name) {
		case ".xml":
			var suite testSuite
			if err := xml.Unmarshal(b.Bytes(), &suite); err != nil || suite.Tests != 4 || suite.Failures != 1 || suite.Errors != 1 || len(suite.Cases) != 4 {
				t.Errorf("suite is %+v: %v", suite, err)
			}
		case ".json":
			if !json.Valid(b.Bytes()) {
				t.Error("no JSON")
			}
		}
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs:\n%s", name, diff)
	}
}
