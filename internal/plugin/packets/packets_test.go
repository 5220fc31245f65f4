//go:build linux && !unit

package packets_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/vishvananda/netlink"

	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/packets"
	"github.com/kubectl-retina/kubectl-retina/internal/vethtest"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

var hooks = []string{"tcx", "socket"}

func specFor(hook string, pods ...*vethtest.Pod) *wire.PacketsSpec {
	spec := &wire.PacketsSpec{SnapLen: wire.MaxSnapLen, RingBytes: 8 << 20, Hook: hook}
	for i, p := range pods {
		spec.Targets = append(spec.Targets, wire.Target{ID: uint32(i), Name: "pod test/" + p.UID, PodUID: p.UID})
	}
	return spec
}

// packet is one packet block of the stream.
type packet struct {
	iface   uint32
	at      time.Time
	out     bool
	wireLen uint32
	data    []byte
}

// udpPort decodes p and returns its UDP payload if it is to port.
func (p packet) udpPort(port uint16) ([]byte, bool) {
	decoded := gopacket.NewPacket(p.data, layers.LayerTypeEthernet, gopacket.NoCopy)
	if u, ok := decoded.Layer(layers.LayerTypeUDP).(*layers.UDP); ok && uint16(u.DstPort) == port {
		return u.Payload, true
	}
	return nil, false
}

// finish stops the plugin and returns everything that it has captured.
func finish(t testing.TB, p *packets.Plugin) ([]packet, []wire.InterfaceStats) {
	t.Helper()
	vethtest.Must(t, p.Stop())
	var all []packet
	stats, err := p.Drain(nil, func(payload []byte) error {
		_, blocks, err := wire.ParsePackets(payload)
		if err != nil {
			return err
		}
		all = append(all, parse(t, blocks)...)
		return nil
	})
	vethtest.Must(t, err)
	return all, stats
}

func open(t testing.TB, spec *wire.PacketsSpec) *packets.Plugin {
	t.Helper()
	p, err := packets.Open(spec)
	vethtest.Must(t, err)
	t.Cleanup(func() { p.Close() })
	if failed := p.Ready().Failed; len(failed) > 0 {
		t.Fatalf("not attached: %+v", failed)
	}
	return p
}

func TestCapturesBothDirectionsWhole(t *testing.T) {
	for _, hook := range hooks {
		t.Run(hook, func(t *testing.T) {
			vethtest.NeedHook(t, hook)
			pod := vethtest.NewPod(t)
			out := vethtest.UDP(t, pod.Netns, "192.0.2.1:4001", "192.0.2.2:4002")
			in := vethtest.UDP(t, pod.Peer, "[2001:db8::2]:4003", "[2001:db8::1]:4004")
			p := open(t, specFor(hook, pod))
			if got := p.Ready().Interfaces[0]; got.Name != "eth0" || got.Hook != hook || got.LinkType != wire.LinkTypeEthernet || got.MTU != 1500 || got.MAC == "" {
				t.Errorf("interface is described as %+v", got)
			}
			_, err := out.Write([]byte("before go"))
			vethtest.Must(t, err)
			vethtest.Must(t, p.Go())
			before := time.Now()
			var sent [][]byte
			for size := range 1473 { // up to the MTU, each size class boundary included
				payload := bytes.Repeat([]byte{byte(size)}, size)
				_, err := out.Write(payload)
				vethtest.Must(t, err)
				sent = append(sent, payload)
			}
			_, err = in.Write([]byte("hello six"))
			vethtest.Must(t, err)
			after := time.Now()
			got, stats := finish(t, p)

			var received [][]byte
			for _, g := range got {
				if payload, ok := g.udpPort(4002); ok {
					received = append(received, slices.Clone(payload))
					if !g.out || g.at.Before(before.Add(-time.Millisecond)) || g.at.After(after.Add(time.Millisecond)) || int(g.wireLen) != len(g.data) {
						t.Fatalf("packet is out=%v at %v (sent %v to %v), %d of %d bytes", g.out, g.at, before, after, len(g.data), g.wireLen)
					}
				}
				if payload, ok := g.udpPort(4004); ok && (g.out || string(payload) != "hello six") {
					t.Errorf("incoming packet is out=%v %q", g.out, payload)
				}
			}
			if !slices.EqualFunc(received, sent, bytes.Equal) {
				t.Errorf("%d payloads captured, %d sent, or not the same", len(received), len(sent))
			}
			if s := stats[0]; s.Seen != uint64(len(got)) || s.Captured != s.Seen || s.Lost != 0 {
				t.Errorf("stats %+v for %d packets", s, len(got))
			}
		})
	}
}

func TestSnapLenKeepsTheOriginalLength(t *testing.T) {
	pod := vethtest.NewPod(t)
	out := vethtest.UDP(t, pod.Netns, "192.0.2.1:4001", "192.0.2.2:4002")
	spec := specFor("", pod)
	spec.SnapLen = 60
	p := open(t, spec)
	vethtest.Must(t, p.Go())
	_, err := out.Write(make([]byte, 1000))
	vethtest.Must(t, err)
	got, _ := finish(t, p)
	for _, g := range got {
		if g.wireLen == 14+20+8+1000 {
			if len(g.data) != 60 {
				t.Errorf("%d bytes captured, want 60", len(g.data))
			}
			return
		}
	}
	t.Errorf("no packet of the original length in %d packets", len(got))
}

func TestLostPacketsAreCounted(t *testing.T) {
	pod := vethtest.NewPod(t)
	out := vethtest.UDP(t, pod.Netns, "192.0.2.1:4001", "192.0.2.2:4002")
	spec := specFor("", pod)
	spec.RingBytes = wire.MinRingBytes
	p := open(t, spec)
	vethtest.Must(t, p.Go())
	const sent = 3000 // x 1400 bytes does not fit into 1 MiB
	for range sent {
		_, err := out.Write(make([]byte, 1400))
		vethtest.Must(t, err)
	}
	got, stats := finish(t, p)
	s := stats[0]
	if s.Lost == 0 || s.Seen != s.Captured+s.Lost || s.Captured != uint64(len(got)) || s.Seen < sent {
		t.Errorf("sent %d, arrived %d, stats %+v", sent, len(got), s)
	}
}

// TestDrainTakesAsLongAsWritingDoes has a stream that is slower than Drain is
// patient with an empty ring.
func TestDrainTakesAsLongAsWritingDoes(t *testing.T) {
	pod := vethtest.NewPod(t)
	out := vethtest.UDP(t, pod.Netns, "192.0.2.1:4001", "192.0.2.2:4002")
	p := open(t, specFor("", pod))
	vethtest.Must(t, p.Go())
	const sent = 2000
	for range sent {
		_, err := out.Write(make([]byte, 1400))
		vethtest.Must(t, err)
	}
	vethtest.Must(t, p.Stop())
	arrived, began := 0, time.Now()
	stats, err := p.Drain(nil, func(payload []byte) error {
		time.Sleep(300 * time.Millisecond) // the case: a slow stream
		_, blocks, err := wire.ParsePackets(payload)
		arrived += len(parse(t, blocks))
		return err
	})
	vethtest.Must(t, err)
	if s := stats[0]; s.Lost != 0 || s.Captured != uint64(arrived) || arrived < sent {
		t.Errorf("sent %d, arrived %d, stats %+v", sent, arrived, s)
	}
	if took := time.Since(began); took < 2*time.Second {
		t.Errorf("draining took %s: the stream was not slow", took)
	}
}

func TestEachPodHasItsOwnPacketsOnly(t *testing.T) {
	a, b := vethtest.NewPod(t), vethtest.NewPod(t)
	a.AddInterface(t)
	p := open(t, specFor("", a, b))
	names := map[uint32]string{}
	for _, i := range p.Ready().Interfaces {
		names[i.ID] = fmt.Sprint(i.Target, i.Name)
	}
	if len(names) != 3 { // a: eth0 and eth1, whose other end is down; b: eth0
		t.Fatalf("interfaces %v", names)
	}
	vethtest.Must(t, p.Go())
	for i, pod := range []*vethtest.Pod{a, b} {
		_, err := vethtest.UDP(t, pod.Netns, "192.0.2.1:4001", "192.0.2.2:4002").Write([]byte{byte(i)})
		vethtest.Must(t, err)
	}
	got, _ := finish(t, p)
	seen := map[string]string{}
	for _, g := range got {
		if payload, ok := g.udpPort(4002); ok {
			seen[names[g.iface]] += fmt.Sprint(payload)
		}
	}
	if len(seen) != 2 || seen["0eth0"] != "[0]" || seen["1eth0"] != "[1]" {
		t.Errorf("payloads by interface: %v", seen)
	}
}

func TestVLANTagIsPutBack(t *testing.T) {
	pod := vethtest.NewPod(t)
	spec := specFor("", pod)
	spec.SnapLen = 50
	p := open(t, spec)
	vethtest.Must(t, p.Go())
	frame := []byte("\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x01\x81\x00\x60\x2a\x88\xb5tagged, and long enough for Ethernet's minimum of sixty bytes")
	vethtest.SendRaw(t, pod.Peer, frame)
	got, _ := finish(t, p)
	tagged := 0
	for _, g := range got {
		if !bytes.Contains(g.data, []byte("tagged")) {
			continue
		}
		tagged++
		if !bytes.Equal(g.data, frame[:50]) || int(g.wireLen) != len(frame) {
			t.Errorf("sent %x\ngot  %x, %d bytes on the wire", frame, g.data, g.wireLen)
		}
	}
	if tagged != 1 {
		t.Errorf("%d tagged packets, want 1", tagged)
	}
}

func TestVanishedInterfaceIsNoticed(t *testing.T) {
	pod := vethtest.NewPod(t)
	out := vethtest.UDP(t, pod.Netns, "192.0.2.1:4001", "192.0.2.2:4002")
	p := open(t, specFor("", pod))
	vethtest.Must(t, p.Go())
	_, err := out.Write([]byte("last words"))
	vethtest.Must(t, err)
	if gone, all, err := p.Gone(); err != nil || len(gone) != 0 || all {
		t.Fatalf("gone %v all %v err %v while it is there", gone, all, err)
	}
	vethtest.Must(t, pod.Netns.Do(func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.LinkDel(link)
	}))
	gone, all, err := p.Gone()
	if err != nil || len(gone) != 1 || !all {
		t.Errorf("gone %v all %v err %v after it was deleted", gone, all, err)
	}
	got, stats := finish(t, p)
	if !slices.ContainsFunc(got, func(g packet) bool { return bytes.Contains(g.data, []byte("last words")) }) || stats[0].Captured == 0 {
		t.Errorf("%d packets, stats %+v: what was captured before is missing", len(got), stats)
	}
	vethtest.Must(t, p.Close())
}

func TestTargetsThatCannotBeCaptured(t *testing.T) {
	pod := vethtest.NewPod(t)
	uid := vethtest.NewUID(t)
	spec := specFor("", pod, &vethtest.Pod{UID: uid})
	p, err := packets.Open(spec)
	vethtest.Must(t, err)
	defer p.Close()
	if f := p.Ready().Failed; len(f) != 1 || f[0].Target != 1 || !strings.Contains(f[0].Cause, "no process of the pod") || f[0].Hint == "" {
		t.Errorf("failed: %+v", f)
	}
	spec.Targets = spec.Targets[1:]
	if _, err := packets.Open(spec); err == nil || !strings.Contains(err.Error(), uid) {
		t.Errorf("only target missing: %v", err)
	}
}

func TestHostNetworkPodIsNamedAsSuch(t *testing.T) {
	vethtest.NeedRoot(t)
	uid := vethtest.NewUID(t)
	fd := vethtest.CgroupFD(t, "pod"+uid)
	vethtest.ProcessHere(t, fd)
	p, err := packets.Open(specFor("", &vethtest.Pod{UID: uid}))
	vethtest.Must(t, err)
	defer p.Close()
	if f := p.Ready().Failed; len(f) != 1 || !f[0].HostNetwork {
		t.Errorf("failed: %+v", f)
	}
}

func TestExcludedFlowIsCountedApart(t *testing.T) {
	pod := vethtest.NewPod(t)
	spec := &wire.PacketsSpec{SnapLen: 1500, RingBytes: 8 << 20, Targets: []wire.Target{{Name: "node test", Node: true}}}
	var p *packets.Plugin
	// A node target is the netns that the collector runs in.
	vethtest.Must(t, pod.Netns.Do(func() (err error) {
		p, err = packets.Open(spec)
		return err
	}))
	defer p.Close()
	if got := p.Ready().Interfaces; len(got) != 1 || got[0].Name != "eth0" {
		t.Fatalf("the node's interfaces are %+v", got)
	}
	own, other := vethtest.TCP(t, pod, "192.0.2.1:0", "192.0.2.2:7001"), vethtest.TCP(t, pod, "[2001:db8::1]:0", "[2001:db8::2]:7002")
	vethtest.Must(t, p.ExcludeFlows([]packets.Flow{{Local: vethtest.Local(own), Remote: vethtest.Remote(own)}}))
	vethtest.Must(t, p.Go())
	for _, conn := range []net.Conn{own, other} {
		_, err := fmt.Fprintf(conn, "to port %d", vethtest.Remote(conn).Port())
		vethtest.Must(t, err)
		reply := make([]byte, 4)
		_, err = io.ReadFull(conn, reply)
		vethtest.Must(t, err)
	}
	got, stats := finish(t, p)
	found := map[string]bool{}
	for _, g := range got {
		for _, words := range []string{"to port 7001", "to port 7002"} {
			found[words] = found[words] || bytes.Contains(g.data, []byte(words))
		}
	}
	if found["to port 7001"] || !found["to port 7002"] || stats[0].Excluded < 2 || stats[0].Seen != uint64(len(got)) {
		t.Errorf("found %v, stats %+v, %d packets", found, stats, len(got))
	}
}

// TestTwoCapturesOfANodeLeaveEachOtherOut has one plugin exclude a flow and a
// second one, that began earlier, adopt it.
func TestTwoCapturesOfANodeLeaveEachOtherOut(t *testing.T) {
	pod := vethtest.NewPod(t)
	spec := &wire.PacketsSpec{SnapLen: 1500, RingBytes: 1 << 20, Targets: []wire.Target{{Name: "node test", Node: true}}}
	var first, second *packets.Plugin
	vethtest.Must(t, pod.Netns.Do(func() (err error) {
		if first, err = packets.Open(spec); err == nil {
			second, err = packets.Open(spec)
		}
		return err
	}))
	defer first.Close()
	defer second.Close()
	vethtest.Must(t, first.ExcludeOthers()) // there is nothing yet
	stream := vethtest.TCP(t, pod, "192.0.2.1:0", "192.0.2.2:7003")
	vethtest.Must(t, second.ExcludeFlows([]packets.Flow{{Local: vethtest.Local(stream), Remote: vethtest.Remote(stream)}}))
	vethtest.Must(t, first.ExcludeOthers())
	vethtest.Must(t, first.Go())
	_, err := stream.Write([]byte("the other's stream"))
	vethtest.Must(t, err)
	got, stats := finish(t, first)
	if slices.ContainsFunc(got, func(g packet) bool { return bytes.Contains(g.data, []byte("the other's stream")) }) || stats[0].Excluded == 0 {
		t.Errorf("%d packets, stats %+v", len(got), stats)
	}
}

func TestCarriers(t *testing.T) {
	flow := func(port uint16) packets.Flow {
		return packets.Flow{Local: netip.MustParseAddrPort("192.0.2.1:10250"), Remote: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.9"), port)}
	}
	before := map[packets.Flow]packets.Moved{flow(1): {Sent: 500}, flow(2): {Sent: 10}, flow(3): {}, flow(4): {Received: 7}}
	after := map[packets.Flow]packets.Moved{
		flow(1): {Sent: 500 + 101_000},   // ours, with TLS around it
		flow(2): {Sent: 10 + 99_999},     // less than was sent
		flow(3): {Sent: 900_000},         // something bigger
		flow(4): {Received: 7 + 100_400}, // relays it
		flow(5): {Sent: 100_000},         // new, and exact
	}
	got := packets.Carriers(before, after, 100_000)
	if len(got) != 3 || !slices.Contains(got, flow(1)) || !slices.Contains(got, flow(4)) || !slices.Contains(got, flow(5)) {
		t.Errorf("carriers %v", got)
	}
}

// TestLeavesOthersFiltersAlone captures beside somebody else's filters, which go
// on doing what they did.
func TestLeavesOthersFiltersAlone(t *testing.T) {
	for _, hook := range hooks {
		t.Run(hook, func(t *testing.T) {
			vethtest.NeedHook(t, hook)
			pod := vethtest.NewPod(t)
			pod.TC(t, "qdisc add dev eth0 clsact")
			pod.TC(t, "filter add dev eth0 egress protocol ip prio 1 u32 match ip dport 4002 0xffff flowid 1:1")
			before := attached(t, pod)
			p := open(t, specFor(hook, pod))
			vethtest.Must(t, p.Go())
			for _, port := range []string{"4002", "4005"} {
				_, err := vethtest.UDP(t, pod.Netns, "192.0.2.1:0", "192.0.2.2:"+port).Write([]byte("to port " + port))
				vethtest.Must(t, err)
			}
			got, _ := finish(t, p)
			for _, port := range []string{"4002", "4005"} {
				if !slices.ContainsFunc(got, func(g packet) bool { return bytes.Contains(g.data, []byte("to port "+port)) }) {
					t.Errorf("the packet to port %s is missing", port)
				}
			}
			vethtest.Must(t, p.Close())
			if after := attached(t, pod); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
		})
	}
}

func parse(t testing.TB, blocks []byte) []packet {
	t.Helper()
	var all []packet
	for len(blocks) > 0 {
		p, rest, err := pcapng.NextPacket(blocks)
		vethtest.Must(t, err)
		all = append(all, packet{
			iface: p.Interface(), at: time.Unix(0, p.TimeNS()), out: p.Flags()&3 == pcapng.FlagOutbound,
			wireLen: p.WireLen(), data: slices.Clone(p.Data()),
		})
		blocks = rest
	}
	return all
}
