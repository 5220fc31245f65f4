package top

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// A world is a source with numbers that grow as a test's clock goes on: a shop
// with a gateway, two pods of one workload with names that differ at their ends,
// and a database on another node.
type world struct {
	mu     sync.Mutex
	now    time.Time
	asked  int
	change func(*metrics.Report) // what is different in a test
}

func newWorld() *world { return &world{now: began().Add(10 * time.Second)} }

func began() time.Time { return time.Date(2026, 3, 1, 14, 5, 0, 0, time.UTC) }

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) wait(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func pod(namespace, name, node, address string) metrics.Party {
	return metrics.Party{
		Kind: metrics.KindPod, Namespace: namespace, Name: name, Node: node,
		Workload: "Deployment/" + strings.Split(name, "-")[0], Addresses: []netip.Addr{netip.MustParseAddr(address)},
	}
}

func (w *world) Report(by metrics.By) *metrics.Report {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked++
	t := uint64(w.now.Sub(began()).Seconds())
	web1, web2 := pod("shop", "web-7d9c5b8f6-aaaaa", "node-1", "10.0.0.1"), pod("shop", "web-7d9c5b8f6-bbbbb", "node-1", "10.0.0.2")
	db, gateway := pod("shop", "db-0", "node-2", "10.0.1.1"), pod("ingress", "gateway-x2v4t", "node-2", "10.0.1.2")
	db.Service, db.Policies = "db", []string{"only-web"}
	r := &metrics.Report{
		APIVersion: metrics.APIVersion, Kind: metrics.Kind, Began: began(), Ended: w.now, By: by,
		Plugins: []string{"dns", "dropreason", "packetforward", "packetparser", "tcpretrans"},
		Nodes:   []metrics.Node{{Name: "node-1", Kernel: "6.18", Samples: t}, {Name: "node-2", Kernel: "6.18", Samples: t}},
	}
	v := func(in, out, drops, retransmits, failed, dnsErrors uint64, rtt ...uint64) metrics.Values {
		values := metrics.Values{
			BytesIn: in * t, BytesOut: out * t, PacketsIn: in * t / 500, PacketsOut: out * t / 500, Drops: drops * t, DropBytes: 60 * drops * t,
			Retransmits: retransmits * t, SegmentsOut: out * t / 500, Refused: failed, DNSErrors: dnsErrors,
		}
		for _, us := range rtt {
			values.RTT.Buckets = make([]uint64, wire.Bucket(us)+1)
			values.RTT.Buckets[wire.Bucket(us)] = t
			values.RTT.Sum = t * us
		}
		return values
	}
	switch by {
	case metrics.ByNode:
		r.Rows = []metrics.Row{
			{Party: metrics.Party{Kind: metrics.KindNode, Name: "node-1", Zone: "a"}, Targets: 2, Values: v(1_250_000, 60_000, 0, 2, 0, 3)},
			{Party: metrics.Party{Kind: metrics.KindNode, Name: "node-2", Zone: "b"}, Targets: 2, Values: v(500_000, 900_000, 12, 0, 7, 0)},
		}
	default:
		r.Rows = []metrics.Row{
			{Party: gateway, Targets: 1, Values: v(500_000, 500_000, 0, 0, 0, 0, 900)},
			{Party: db, Targets: 1, Values: v(0, 400_000, 12, 0, 7, 0, 3_000)},
			{Party: web1, Targets: 1, Values: v(1_250_000, 50_000, 0, 2, 0, 3, 250)},
			{Party: web2, Targets: 1, Values: v(0, 10_000, 0, 0, 0, 0)},
		}
	}
	w.entries(r, t, web1, web2, db, gateway)
	if w.change != nil {
		w.change(r)
	}
	return r
}

func (w *world) entries(r *metrics.Report, t uint64, web1, web2, db, gateway metrics.Party) {
	service := metrics.Party{Kind: metrics.KindService, Namespace: "shop", Name: "db", Addresses: []netip.Addr{netip.MustParseAddr("10.96.0.7")}}
	outside := metrics.Party{Kind: metrics.KindExternal, Addresses: []netip.Addr{netip.MustParseAddr("2001:db8::7")}}
	coreDNS := pod("kube-system", "coredns-5d78c9869d-zzzzz", "node-2", "10.0.1.53")
	r.Flows = []metrics.Flow{
		{Local: web1, Remote: service, Protocol: "TCP", Port: 5432, Role: wire.RoleClient, FlowValues: metrics.FlowValues{
			BytesIn: 1_000_000 * t, BytesOut: 20_000 * t, PacketsIn: 900 * t, PacketsOut: 400 * t, Retransmits: 2 * t, Opened: t,
			FlagsIn: []uint64{0, 0, t, 5 * t}, RTT: wire.Times{Count: t, Sum: 260 * t, Max: 900, Last: 250},
		}},
		{Local: web1, Remote: gateway, Protocol: "TCP", Port: 8080, Role: wire.RoleServer, FlowValues: metrics.FlowValues{BytesIn: 250_000 * t, BytesOut: 30_000 * t}},
		{Local: gateway, Remote: outside, Protocol: "UDP", Port: 443, FlowValues: metrics.FlowValues{BytesIn: 500_000 * t}},
		{Local: db, Remote: web1, Protocol: "TCP", Port: 5432, Role: wire.RoleServer, FlowValues: metrics.FlowValues{Refused: 7}},
	}
	r.Drops = []metrics.Drop{
		{
			Target: db, Node: "node-2", Reason: "NETFILTER_DROP", Hook: "FORWARD", Function: "nf_hook_slow", Direction: wire.DirectionIn, On: "node", Protocol: "TCP",
			Source: &metrics.Side{Party: web2, Port: 40001}, Destination: &metrics.Side{Party: db, Port: 5432},
			Packets: 12 * t, Bytes: 720 * t, Hint: "NetworkPolicy only-web selects the pod",
		},
		{Target: web1, Node: "node-1", Reason: "NO_SOCKET", Protocol: "TCP", Source: &metrics.Side{Party: outside, Port: 555}, Destination: &metrics.Side{Party: web1, Port: 81}, Packets: 5, Bytes: 300},
	}
	latency := wire.Histogram{Buckets: make([]uint64, wire.Bucket(2000)+1), Sum: 2000 * t}
	latency.Buckets[wire.Bucket(2000)] = t
	r.DNS = []metrics.DNS{
		{
			Target: web1, Role: wire.RoleClient, Server: metrics.Side{Party: coreDNS, Port: 53}, Protocol: "UDP", Name: "db.shop.svc.cluster.local", Type: "A",
			Queries: 4 * t, Responses: 4 * t, Codes: map[string]uint64{"NOERROR": 4*t - 3, "NXDOMAIN": 3}, Latency: latency,
		},
		{Target: web1, Role: wire.RoleClient, Server: metrics.Side{Party: coreDNS, Port: 53}, Protocol: "UDP", Type: "A", Queries: 9, Timeouts: 2},
	}
}

// A user sits before a screen, with a world behind it.
type user struct {
	t     *testing.T
	world *world
	feed  *feed
	*screen
}

func newUser(t *testing.T, columns, lines int, set ...func(*Options)) *user {
	t.Helper()
	w := newWorld()
	o := Options{Source: w, Now: w.clock, Title: "kind-shop: namespace shop", Width: columns, Height: lines}
	for _, f := range set {
		f(&o)
	}
	if err := o.Validate(); err != nil {
		t.Fatal(err)
	}
	u := &user{t: t, world: w, feed: newFeed(w), screen: newScreen(o.withDefaults())}
	u.poll()
	return u
}

// poll does what the program does at each tick.
func (u *user) poll() { u.arrive(u.by(), u.feed.next(u.by())) }

func (u *user) pass(seconds int) *user {
	for range seconds {
		u.world.wait(time.Second)
		u.poll()
	}
	return u
}

// keys presses keys by name; a word in quotes is typed.
func (u *user) keys(names string) *user {
	for name := range strings.FieldsSeq(names) {
		switch word := strings.Trim(name, `'`); {
		case word != name:
			for _, r := range word {
				u.press(key{name: string(r), typed: string(r)})
			}
		case name == "space":
			u.press(key{name: " ", typed: " "})
		default:
			k := key{name: name}
			if len(name) == 1 {
				k.typed = name
			}
			u.press(k)
		}
	}
	return u
}

func (u *user) lines() []string { return strings.Split(u.render(), "\n") }

// has fails unless the screen contains all words.
func (u *user) has(words ...string) *user {
	u.t.Helper()
	for _, word := range words {
		if !strings.Contains(u.render(), word) {
			u.t.Errorf("no %q on the screen:\n%s", word, u.render())
		}
	}
	return u
}

func (u *user) hasNot(words ...string) *user {
	u.t.Helper()
	for _, word := range words {
		if strings.Contains(u.render(), word) {
			u.t.Errorf("%q is on the screen:\n%s", word, u.render())
		}
	}
	return u
}

// firstCells are the beginnings of the rows, without mark, up to a number of words.
func (u *user) firstCells(words int) string {
	var texts []string
	for i := range u.rows {
		fields := strings.Fields(strings.TrimLeft(u.line(i), "> "))
		texts = append(texts, strings.Join(fields[:min(words, len(fields))], " "))
	}
	return strings.Join(texts, ", ")
}

// golden compares text with a file of testdata. With the environment variable
// UPDATE_GOLDEN set, the file is written.
func golden(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("%s differs:\n%s", name, text)
	}
}

func size(columns, lines int) string { return fmt.Sprintf("%dx%d", columns, lines) }
