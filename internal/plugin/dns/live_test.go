//go:build linux && !unit

package dns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/kubectl-retina/kubectl-retina/internal/plugin/scope"
	"github.com/kubectl-retina/kubectl-retina/internal/vethtest"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

func TestCountsExactly(t *testing.T) {
	for _, hook := range hooks {
		t.Run(hook, func(t *testing.T) {
			w := newWorld(t, scope.Options{Hook: hook}, ringBytes)
			four, six := w.client("udp", "192.0.2.2:53"), w.client("udp", "[2001:db8::2]:53")
			tcp, tcp6 := w.client("tcp", "192.0.2.2:53"), w.client("tcp", "[2001:db8::2]:53")
			w.ask(four, 1, "before.go", dnsmessage.TypeA)
			w.start()
			for i := range uint16(100) {
				w.ask(four, i, "web.example", dnsmessage.TypeA)
				w.ask(six, i, "web.example", dnsmessage.TypeAAAA)
			}
			for i := range uint16(10) {
				w.ask(four, i, "NX.example", dnsmessage.TypeA)
				w.ask(tcp, i, "tcp.example", dnsmessage.TypeTXT)
				w.ask(tcp6, i, "nx.tcp.example", dnsmessage.TypeMX)
			}
			w.ask(four, 7, strings.TrimSuffix(longName(), "."), dnsmessage.Type(65))
			w.sample()
			w.expect("1 client 17 192.0.2.2:53 web.example A", 100, 100, 0, map[string]uint64{"NOERROR": 100})
			w.expect("1 client 17 [2001:db8::2]:53 web.example AAAA", 100, 100, 0, map[string]uint64{"NOERROR": 100})
			w.expect("1 client 17 192.0.2.2:53 nx.example A", 10, 10, 0, map[string]uint64{"NXDOMAIN": 10})
			w.expect("1 client 6 192.0.2.2:53 tcp.example TXT", 10, 10, 0, map[string]uint64{"NOERROR": 10})
			w.expect("1 client 6 [2001:db8::2]:53 nx.tcp.example MX", 10, 10, 0, map[string]uint64{"NXDOMAIN": 10})
			w.expect("1 client 17 192.0.2.2:53 "+strings.TrimSuffix(longName(), ".")+" HTTPS", 1, 1, 0, map[string]uint64{"NOERROR": 1})
			if len(w.known) != 6 || len(w.lost) != 0 {
				t.Errorf("known are %v, lost %v; want 6 names and nothing lost", w.known, w.lost)
			}
			for key, e := range w.known {
				var times uint64
				for _, n := range e.Latency.Buckets {
					times += n
				}
				if times != e.Responses {
					t.Errorf("%s: %d latencies of %d responses", key, times, e.Responses)
				}
			}
			if n := w.sample(); n != 0 {
				t.Errorf("nothing has happened, and %d entries have changed", n)
			}
		})
	}
}

// A pod that is asked is a server; what it needs is its latency.
func TestServer(t *testing.T) {
	for _, hook := range hooks {
		t.Run(hook, func(t *testing.T) {
			w := newWorld(t, scope.Options{Hook: hook}, ringBytes)
			serve(t, w.pod.Netns, "192.0.2.1:53")
			w.start()
			var conn net.Conn
			must(t, w.pod.Peer.Do(func() (err error) {
				conn, err = net.Dial("udp", "192.0.2.1:53")
				return err
			}))
			defer conn.Close()
			begin := time.Now()
			w.ask(conn, 1, "slow.example", dnsmessage.TypeA)
			w.checkLatency("1 server 17 192.0.2.1:53 slow.example A", time.Since(begin))
		})
	}
}

// checkLatency expects one exchange, of the server's delay at least and what the
// asker has waited at most.
func (w *world) checkLatency(key string, waited time.Duration) {
	w.Helper()
	w.sample()
	w.expect(key, 1, 1, 0, map[string]uint64{"NOERROR": 1})
	if us := time.Duration(w.known[key].Latency.Sum) * time.Microsecond; us < delay || us > waited {
		w.Errorf("latency is %v, want from %v to %v", us, delay, waited)
	}
}

func TestLatency(t *testing.T) {
	for _, hook := range hooks {
		t.Run(hook, func(t *testing.T) {
			w := newWorld(t, scope.Options{Hook: hook}, ringBytes)
			w.start()
			for network, protocol := range map[string]int{"udp": 17, "tcp": 6} {
				conn := w.client(network, "192.0.2.2:53")
				begin := time.Now()
				w.ask(conn, 1, "slow.example", dnsmessage.TypeA)
				w.checkLatency(fmt.Sprintf("1 client %d 192.0.2.2:53 slow.example A", protocol), time.Since(begin))
			}
		})
	}
}

func TestTimeoutsAndEvents(t *testing.T) {
	w := newWorld(t, scope.Options{EventsPerSecond: 100}, ringBytes)
	w.start()
	begin := time.Now()
	udp, tcp := w.client("udp", "192.0.2.2:53"), w.client("tcp", "192.0.2.2:53")
	w.ask(udp, 1, "lost.example", dnsmessage.TypeA)
	w.ask(udp, 1, "lost.example", dnsmessage.TypeA) // as a resolver repeats it
	w.ask(tcp, 2, "lost.example", dnsmessage.TypeA)
	w.ask(udp, 3, "nx.example", dnsmessage.TypeAAAA)
	w.sample()
	w.expect("1 client 17 192.0.2.2:53 lost.example A", 2, 0, 0, nil)
	udpKey, tcpKey := "1 client 17 192.0.2.2:53 lost.example A", "1 client 6 192.0.2.2:53 lost.example A"
	for w.known[udpKey].Timeouts < 2 || w.known[tcpKey].Timeouts < 1 {
		if time.Since(begin) > 20*time.Second {
			t.Fatalf("after 20 s: %+v", w.known)
		}
		time.Sleep(50 * time.Millisecond)
		w.sample()
	}
	if took := time.Since(begin); took < 5*time.Second {
		t.Errorf("timeouts after %v", took)
	}
	w.expect(udpKey, 2, 0, 2, nil)
	w.expect(tcpKey, 1, 0, 1, nil)
	events, err := w.scope.TakeEvents()
	must(t, err)
	got := map[string]int{}
	for _, e := range events.Events {
		got[e.Reason+" "+e.Detail]++
		if e.Kind != wire.EventDNS || e.Target != 1 || e.Destination != netip.MustParseAddrPort("192.0.2.2:53") || time.Since(time.Unix(0, e.TimeNS)) > time.Minute {
			t.Errorf("event %+v", e)
		}
	}
	if want := map[string]int{"timeout A lost.example": 3, "NXDOMAIN AAAA nx.example": 1}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("events %v, want %v", got, want)
	}
}

// Queries in packets of unusual form, written by hand.
func TestPacketForms(t *testing.T) {
	udp := &layers.UDP{SrcPort: 4001, DstPort: 53}
	ip4 := layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: net.IP{192, 0, 2, 1}, DstIP: net.IP{192, 0, 2, 2}}
	ip6 := layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolUDP, SrcIP: net.ParseIP("2001:db8::1"), DstIP: net.ParseIP("2001:db8::2")}
	options, first, later, extended := ip4, ip4, ip4, ip6
	options.Options = []layers.IPv4Option{{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}}} // router alert
	first.Flags, later.FragOffset = layers.IPv4MoreFragments, 3
	extended.NextHeader = layers.IPProtocolIPv6Destination
	chain := gopacket.Payload{44, 0, 1, 4, 0, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0, 9} // options, then an atomic fragment
	tests := []struct {
		name string
		want uint64
		ip   []gopacket.SerializableLayer
	}{
		{"options", 1, []gopacket.SerializableLayer{&options}},
		{"first fragment", 1, []gopacket.SerializableLayer{&first}},
		{"later fragment", 0, []gopacket.SerializableLayer{&later}},
		{"extension headers", 1, []gopacket.SerializableLayer{&extended, chain}},
		{"cut", 0, []gopacket.SerializableLayer{&ip4}},
	}
	for _, hook := range hooks {
		t.Run(hook, func(t *testing.T) {
			w := newWorld(t, scope.Options{Hook: hook}, ringBytes)
			w.start()
			for _, test := range tests {
				name := strings.ReplaceAll(test.name, " ", "-")
				query := build(t, 1, false, name+".", dnsmessage.TypeA, 0)
				if test.name == "cut" {
					query = query[:20]
				}
				vethtest.SendRaw(t, w.pod.Netns, frame(t, append(test.ip, udp, gopacket.Payload(query))...))
				w.sample()
				server := "192.0.2.2:53"
				if test.name == "extension headers" {
					server = "[2001:db8::2]:53"
				}
				if got := w.known["1 client 17 "+server+" "+name+" A"].Queries; got != test.want {
					t.Errorf("%s: %d queries, want %d", test.name, got, test.want)
				}
			}
			if w.ignored["malformed_messages"] != 1 || len(w.lost) > 0 {
				t.Errorf("ignored %v, lost %v; want one malformed message", w.ignored, w.lost)
			}
		})
	}
}

func frame(t *testing.T, parts ...gopacket.SerializableLayer) []byte {
	t.Helper()
	eth := &layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, EthernetType: layers.EthernetTypeIPv4}
	if _, six := parts[0].(*layers.IPv6); six {
		eth.EthernetType = layers.EthernetTypeIPv6
	}
	b := gopacket.NewSerializeBuffer()
	must(t, gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true}, append([]gopacket.SerializableLayer{eth}, parts...)...))
	return b.Bytes()
}

// What finds the ring or the table full is counted.
func TestOverflow(t *testing.T) {
	for _, hook := range hooks {
		t.Run(hook, func(t *testing.T) {
			w := newWorld(t, scope.Options{Hook: hook, TableEntries: 64}, 4096)
			w.start()
			conn := w.client("udp", "192.0.2.2:53")
			busy, free := make(chan bool), make(chan bool)
			go func() { _ = w.plugin.reader.sync(func(*decoder) { busy <- true; <-free }) }() // held up
			<-busy
			const sent = 100 // the server, which may come late, has room for them
			for i := range uint16(sent) {
				w.ask(conn, i, "lost.example", dnsmessage.TypeA)
			}
			close(free)
			w.sample()
			full, counted := w.lost["messages: ring full"], w.known["1 client 17 192.0.2.2:53 lost.example A"].Queries
			if full == 0 || counted == 0 || full+counted != sent {
				t.Errorf("%d messages found the ring full, %d were counted; want %d together", full, counted, sent)
			}
			for i := range uint16(100) {
				w.ask(conn, i, fmt.Sprintf("n%d.example", i), dnsmessage.TypeA)
				w.sample()
			}
			folded := w.known["1 client 17 192.0.2.2:53  A"]
			if folded.Queries != 100-63 || w.lost["names: table full"] < 100-63 {
				t.Errorf("%+v for names without room, lost %v; want 37 of 100 queries", folded, w.lost)
			}
		})
	}
}

func TestPodThatEnds(t *testing.T) {
	w := newWorld(t, scope.Options{}, ringBytes)
	other := vethtest.NewPod(t)
	w.add(2, other)
	w.start()
	conn := w.client("udp", "192.0.2.2:53")
	w.ask(conn, 1, "web.example", dnsmessage.TypeA)
	w.plugin.Detach([]uint32{1})
	must(t, w.scope.Remove([]uint32{1}))
	w.sample()
	w.expect("1 client 17 192.0.2.2:53 web.example A", 1, 1, 0, map[string]uint64{"NOERROR": 1})
	w.ask(conn, 2, "web.example", dnsmessage.TypeA)
	if n := w.sample(); n != 0 {
		t.Errorf("after the pod has gone %d entries have changed", n)
	}
	out := vethtest.UDP(t, other.Netns, "192.0.2.1:4001", "192.0.2.2:53")
	_, err := out.Write(build(t, 1, false, "lost.example.", dnsmessage.TypeA, 0))
	must(t, err)
	if n := w.sample(); n != 1 {
		t.Errorf("%d entries have changed, want that of the other pod", n)
	}
	w.expect("2 client 17 192.0.2.2:53 lost.example A", 1, 0, 0, nil)
}

// A reader that has ended says so each time, and nobody waits for it.
func TestClosedReader(t *testing.T) {
	w := newWorld(t, scope.Options{}, ringBytes)
	w.start()
	must(t, w.plugin.reader.Close())
	for range 3 {
		if err := w.plugin.Sample(&wire.Sample{}); !errors.Is(err, os.ErrClosed) {
			t.Errorf("a sample of a closed ring: %v", err)
		}
	}
}

// newNode is a world whose pod's netns is the node's own, with an uplink.
func newNode(t *testing.T, hook string) *world {
	t.Helper()
	outer := newWorld(t, scope.Options{Hook: hook}, ringBytes) // skips where there is no such hook
	w := &world{T: t, pod: outer.pod, known: map[string]wire.DNSSample{}, lost: map[string]uint64{}, ignored: map[string]uint64{}}
	var err error
	w.scope, err = scope.New(scope.Options{Hook: hook, TableEntries: 1024, HostNetns: fmt.Sprintf("/proc/self/fd/%d", w.pod.Netns.FD())})
	must(t, err)
	t.Cleanup(func() { w.scope.Close() })
	w.plugin, err = Open(w.scope)
	must(t, err)
	t.Cleanup(func() { must(t, w.plugin.Close()) })
	added, failed, err := w.scope.Add([]wire.Target{{ID: 9, Name: "node test", Node: true}})
	must(t, err)
	if len(added) != 1 || !added[0].Uplink || len(failed) > 0 {
		t.Fatalf("added %+v, failed %+v; want one uplink", added, failed)
	}
	inner := added[0]
	inner.ID, inner.Uplink = 1, false // as the bridge above it would be
	must(t, w.plugin.Attach(append(added, inner)))
	return w
}

// A node's uplinks carry its own messages and those of its pods. What is counted at a
// pod does not count here too, whether it asks or is asked; pods that are no targets
// count as the node.
func TestNode(t *testing.T) {
	for _, hook := range hooks {
		t.Run(hook, func(t *testing.T) {
			w := newNode(t, hook)
			other := vethtest.NewPod(t)
			_, failed, err := w.scope.Add([]wire.Target{{ID: 3, Name: "pod test/measured", PodUID: other.UID, Addrs: []netip.Addr{
				netip.MustParseAddr("10.1.0.7"), netip.MustParseAddr("2001:db8:1::7"),
			}}})
			must(t, err)
			if len(failed) > 0 {
				t.Fatalf("not added: %+v", failed)
			}
			w.start()
			for _, from := range []string{"10.1.0.7", "10.1.0.8", "2001:db8:1::7", "2001:db8:1::8"} {
				query := build(t, 1, false, strings.NewReplacer(".", "-", ":", "-").Replace(from)+".", dnsmessage.TypeA, 0)
				vethtest.SendRaw(t, w.pod.Netns, frame(t, udpBetween(from, 4001, to(from), 53, query)...))
				vethtest.SendRaw(t, w.pod.Peer, frame(t, udpBetween(to(from), 4001, from, 53, query)...))
			}
			w.ask(w.client("udp", "192.0.2.2:53"), 1, "web.example", dnsmessage.TypeA)
			w.sample()
			w.expect("9 client 17 192.0.2.2:53 web.example A", 1, 1, 0, map[string]uint64{"NOERROR": 1})
			w.expect("9 client 17 192.0.2.2:53 10-1-0-8 A", 1, 0, 0, nil)
			w.expect("9 server 17 10.1.0.8:53 10-1-0-8 A", 1, 0, 0, nil)
			w.expect("9 client 17 [2001:db8::2]:53 2001-db8-1--8 A", 1, 0, 0, nil)
			w.expect("9 server 17 [2001:db8:1::8]:53 2001-db8-1--8 A", 1, 0, 0, nil)
			if len(w.known) != 5 {
				t.Errorf("known: %v; want no more than these", w.known)
			}
		})
	}
}

// to is the peer's address of the same family.
func to(from string) string {
	if strings.Contains(from, ":") {
		return "2001:db8::2"
	}
	return "192.0.2.2"
}

func udpBetween(from string, sport uint16, to string, dport uint16, payload []byte) []gopacket.SerializableLayer {
	source, destination := net.ParseIP(from), net.ParseIP(to)
	udp := &layers.UDP{SrcPort: layers.UDPPort(sport), DstPort: layers.UDPPort(dport)}
	if strings.Contains(from, ":") {
		return []gopacket.SerializableLayer{&layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolUDP, SrcIP: source, DstIP: destination}, udp, gopacket.Payload(payload)}
	}
	return []gopacket.SerializableLayer{&layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: source, DstIP: destination}, udp, gopacket.Payload(payload)}
}
