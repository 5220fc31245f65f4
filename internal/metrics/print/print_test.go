package print

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

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

// report is of a small shop on two nodes, one of which has failed.
func report(by metrics.By) *metrics.Report {
	now := time.Unix(1_700_000_000, 0).UTC()
	f := metrics.NewFold(metrics.Options{
		Now: func() time.Time { now = now.Add(time.Second / 4); return now },
		Plugins: []string{
			metrics.PluginForward, metrics.PluginDrops, metrics.PluginFlows, metrics.PluginRetransmit, metrics.PluginDNS, metrics.PluginAPIServer,
		},
		Directory: directory{
			addr("10.96.0.10"): {Kind: metrics.KindService, Namespace: "kube-system", Name: "kube-dns"},
			addr("10.0.0.2"):   {Kind: metrics.KindPod, Namespace: "shop", Name: "db-0"},
		},
	})
	f.SetNode("n1", "Linux 6.18.5", []wire.PluginError{{Plugin: metrics.PluginDNS, Cause: "DNS over TCP needs Linux 6.6", Partial: true}}, nil)
	f.SetNode("n2", "Linux 5.4.0", []wire.PluginError{{Plugin: metrics.PluginDrops, Cause: "no drop reasons before Linux 5.17", Hint: "upgrade the node"}},
		errors.New("collector's pod was evicted"))
	pod := func(name, workload, service, at, policy string) metrics.Party {
		p := metrics.Party{Kind: metrics.KindPod, Namespace: "shop", Name: name, Workload: workload, Service: service, Addresses: []netip.Addr{addr(at)}}
		if policy != "" {
			p.Policies = []string{policy}
		}
		return p
	}
	f.SetTarget("n1", 1, pod("web-7d4b9c6f5d-x2x9k", "Deployment/web", "web", "10.0.0.1", ""))
	f.SetTarget("n1", 2, metrics.Party{Kind: metrics.KindNode, Name: "n1", Node: "n1", Addresses: []netip.Addr{addr("192.168.0.1")}})
	f.SetTarget("n2", 1, pod("db-0", "StatefulSet/db", "", "10.0.0.2", "deny-all"))
	f.SetInterfaces("n1", []wire.Interface{{ID: 0, Target: 1, Name: "eth0"}, {ID: 1, Target: 2, Name: "ens5", Uplink: true}})
	f.SetInterfaces("n2", []wire.Interface{{ID: 0, Target: 1, Name: "eth0"}})
	f.SetSkipped([]metrics.Skipped{{Target: "pod shop/old", Reason: "has ended"}})
	key := wire.FlowKey{Target: 1, Protocol: 6, Local: addr("10.0.0.1"), Remote: addr("10.0.0.2"), Port: 5432, Role: wire.RoleClient}
	latency := wire.Histogram{Sum: 9600, Buckets: append(make([]uint64, 30), 2, 0, 0, 0, 4)}
	f.Add("n1", &wire.Sample{
		Traffic: []wire.TrafficSample{{Interface: 0, PacketsIn: 12345, PacketsOut: 9999, BytesIn: 18_000_000, BytesOut: 1000}, {Interface: 1, PacketsIn: 1, BytesOut: 1 << 40}},
		Drops: []wire.DropSample{
			drop(40000, 5432, 3), drop(40001, 5432, 4),
			{Target: 2, Reason: "NOT_SPECIFIED", Packets: 1, On: "node"},
		},
		Flows: []wire.FlowSample{{
			FlowKey: key, PacketsIn: 70, PacketsOut: 50, SegmentsOut: 50, BytesIn: 7000, BytesOut: 2500, FlagsIn: []uint64{0, 0, 5, 0, 2}, Opened: 5, Refused: 1, Unanswered: 1,
			Connect: wire.Times{Count: 6, Sum: 9600, Max: 2900}, RTT: wire.Times{Count: 60, Sum: 60 * 850, Max: 4100},
		}},
		Latency:     []wire.LatencySample{{Target: 1, Connect: latency, RTT: latency}},
		Retransmits: []wire.RetransmitSample{{FlowKey: key, Segments: 2}},
		DNS: []wire.DNSSample{
			{Target: 1, Role: wire.RoleClient, Server: netip.MustParseAddrPort("10.96.0.10:53"), Protocol: 17, Name: "db.shop.svc.cluster.local", Type: "A",
				Queries: 10, Responses: 9, Timeouts: 1, Codes: map[string]uint64{"NOERROR": 5, "NXDOMAIN": 4}, Latency: latency},
		},
		APIServers: []wire.APIServerSample{{Address: netip.MustParseAddrPort("10.96.0.1:443"), Attempts: 3, Errors: map[string]uint64{"refused": 1, "timeout": 1}, Latency: latency}},
		Lost:       []wire.LostSample{{Plugin: metrics.PluginFlows, What: "flows: table full", Count: 12}},
	})
	return f.Report(by)
}

func drop(from, to uint16, packets uint64) wire.DropSample {
	return wire.DropSample{
		Target: 1, Reason: "NETFILTER_DROP", Hook: "FORWARD", Function: "nf_hook_slow", Direction: wire.DirectionOut, On: "node", Protocol: 6,
		Source: netip.AddrPortFrom(addr("10.0.0.1"), from), Destination: netip.AddrPortFrom(addr("10.0.0.2"), to), Packets: packets, Bytes: 60 * packets,
	}
}

func TestGolden(t *testing.T) {
	table := func(by metrics.By, wide bool, width int) func(*bytes.Buffer) error {
		return func(b *bytes.Buffer) error { return Table(b, report(by), wide, width) }
	}
	for name, write := range map[string]func(*bytes.Buffer) error{
		"pod.txt":       table(metrics.ByPod, false, 0),
		"pod-wide.txt":  table(metrics.ByPod, true, 0),
		"pod-80.txt":    table(metrics.ByPod, false, 80),
		"node.txt":      table(metrics.ByNode, false, 0),
		"workload.txt":  table(metrics.ByWorkload, false, 0),
		"namespace.txt": table(metrics.ByNamespace, false, 0),
		"service.txt":   table(metrics.ByService, false, 0),
		"flow.txt":      table(metrics.ByFlow, false, 0),
		"flow-wide.txt": table(metrics.ByFlow, true, 0),
		"pod.csv":       func(b *bytes.Buffer) error { return CSV(b, report(metrics.ByPod)) },
		"flow.csv":      func(b *bytes.Buffer) error { return CSV(b, report(metrics.ByFlow)) },
		"pod.json":      func(b *bytes.Buffer) error { return JSON(b, report(metrics.ByPod)) },
		"flow.yaml":     func(b *bytes.Buffer) error { return YAML(b, report(metrics.ByFlow)) },
		"empty.txt": func(b *bytes.Buffer) error {
			return Table(b, metrics.NewFold(metrics.Options{}).Report(metrics.ByPod), false, 0)
		},
		"changes.txt": changes,
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := write(&b); err != nil {
				t.Fatal(err)
			}
			golden(t, name, b.Bytes())
		})
	}
}

func changes(b *bytes.Buffer) error {
	return Changes(b, []metrics.Change{
		{What: "pod shop/web-1", Metric: "drops", Unit: metrics.UnitCount, Before: 0, After: 7},
		{What: "pod shop/web-1", Metric: "connect_p99", Unit: metrics.UnitTime, Before: 900, After: 1800},
		{What: "pod shop/web-1", Metric: "bytes_in/s", Unit: metrics.UnitBytes, Before: 1 << 20, After: 1 << 19, PerSecond: true},
		{What: "pod shop/web-2", Metric: "packets_in", Unit: metrics.UnitCount, Before: 5, Gone: true},
		{What: "pod shop/web-3", Metric: "packets_in", Unit: metrics.UnitCount, After: 5, New: true},
		{What: "pod shop/web-4", Metric: "packets_in", Unit: metrics.UnitCount, After: 1, New: true},
	}, 5, 0)
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

// JSON and YAML hold the same report, and it can be read again.
func TestFilesAreReports(t *testing.T) {
	r := report(metrics.ByFlow)
	var j, y bytes.Buffer
	if err := errors.Join(JSON(&j, r), YAML(&y, r)); err != nil {
		t.Fatal(err)
	}
	converted, err := yaml.YAMLToJSON(y.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	var fromJSON, fromYAML any
	if err := errors.Join(json.Unmarshal(j.Bytes(), &fromJSON), json.Unmarshal(converted, &fromYAML)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(fromJSON, fromYAML); diff != "" {
		t.Errorf("YAML differs from JSON:\n%s", diff)
	}
	read, err := metrics.Read(&j)
	if err != nil || len(metrics.Compare(r, read)) != 0 || len(read.Rows) != len(r.Rows) {
		t.Errorf("read %+v: %v", read, err)
	}
}

// Every record has every column, and numbers are exact.
func TestCSV(t *testing.T) {
	for _, by := range []metrics.By{metrics.ByPod, metrics.ByNode, metrics.ByWorkload, metrics.ByNamespace, metrics.ByService, metrics.ByFlow} {
		r := report(by)
		var b bytes.Buffer
		if err := CSV(&b, r); err != nil {
			t.Fatal(err)
		}
		if lines := strings.Count(b.String(), "\r\n"); lines != len(r.Rows)+1 {
			t.Errorf("by %s: %d lines that end as RFC 4180 wants, for %d rows", by, lines, len(r.Rows))
		}
		records, err := csv.NewReader(&b).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		if len(records[0]) != len(metrics.Columns(by)) {
			t.Errorf("by %s: %d columns", by, len(records[0]))
		}
	}
}

func TestNumber(t *testing.T) {
	for _, test := range []struct {
		value float64
		unit  metrics.Unit
		want  string
	}{
		{0, metrics.UnitCount, "0"}, {9999, metrics.UnitCount, "9999"}, {12345, metrics.UnitCount, "12.3k"}, {0.123456, metrics.UnitCount, "0.12"},
		{1e18, metrics.UnitCount, "1E"}, {2.5, metrics.UnitCount, "2.5"}, {1_234_567, metrics.UnitCount, "1.2M"}, {-12345, metrics.UnitCount, "-12.3k"},
		{0, metrics.UnitBytes, "0B"}, {1023, metrics.UnitBytes, "1023B"}, {1536, metrics.UnitBytes, "1.5KiB"}, {1e30, metrics.UnitBytes, "16EiB"},
		{0, metrics.UnitTime, "0µs"}, {850, metrics.UnitTime, "850µs"}, {1234, metrics.UnitTime, "1.23ms"}, {999_499, metrics.UnitTime, "999ms"},
		{5e6, metrics.UnitTime, "5s"}, {90e6, metrics.UnitTime, "1m30s"}, {1e30, metrics.UnitTime, ">290y"},
		{0.01, metrics.UnitRatio, "1%"}, {0.12345, metrics.UnitRatio, "12.3%"}, {1, metrics.UnitRatio, "100%"}, {0, metrics.UnitRatio, "0%"},
		{1e-7, metrics.UnitRatio, "1e-05%"},
	} {
		if got := Number(test.value, test.unit); got != test.want {
			t.Errorf("%v %s: %q, want %q", test.value, test.unit, got, test.want)
		}
	}
}

func TestGridFits(t *testing.T) {
	g := NewGrid("NAME", "COUNT", "LONG")
	g.Add("short", "5", strings.Repeat("ä", 80))
	g.Add("a\x1b[2Jb\nc", "", "x")
	g.Add("only one")
	for _, width := range []int{0, 40, 80, 1} {
		var b bytes.Buffer
		if err := g.Print(&b, width); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
		if len(lines) != 4 || strings.ContainsRune(b.String(), '\x1b') {
			t.Fatalf("printed %q", b.String())
		}
		for _, line := range lines {
			if n := utf8.RuneCountInString(line); width >= 40 && n > width {
				t.Errorf("line of %d characters, want %d at most: %q", n, width, line)
			}
		}
		if width == 40 && !strings.HasSuffix(lines[1], "ä…") {
			t.Errorf("cut to %q", lines[1])
		}
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestWriteErrors(t *testing.T) {
	r := report(metrics.ByPod)
	for name, err := range map[string]error{
		"table": Table(broken{}, r, false, 0), "CSV": CSV(broken{}, r), "JSON": JSON(broken{}, r), "YAML": YAML(broken{}, r), "changes": Changes(broken{}, nil, 0, 0),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
