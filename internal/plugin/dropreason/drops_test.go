//go:build linux && !unit

package dropreason

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/plugin/scope"
	"github.com/kubectl-retina/kubectl-retina/internal/vethtest"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

func TestClosedPort(t *testing.T) {
	for _, raw := range []bool{false, true} {
		pod := vethtest.NewPod(t)
		b := measure(t, scope.Options{EventsPerSecond: 100}, options{raw: raw}, podTarget(pod))
		want := wire.DropSample{
			Target: podID, Reason: b.told("NO_SOCKET"), Function: b.function("__udp4_lib_rcv", "udp_rcv"), Direction: wire.DirectionIn, On: onPod, Protocol: protocolUDP,
			Source: netip.AddrPortFrom(peerV4, 6000), Destination: netip.AddrPortFrom(podV4, 6001),
		}
		send(t, pod.Peer, want.Source, want.Destination, 4)
		b.expect(t, want, 4, sizeV4)
		send(t, pod.Peer, want.Source, want.Destination, 3)
		b.expect(t, want, 7, sizeV4)

		events, err := b.scope.TakeEvents()
		vethtest.Must(t, err)
		matching := 0
		for _, e := range events.Events {
			if e.Destination != want.Destination {
				continue
			}
			matching++
			if e.Kind != wire.EventDrop || e.Target != podID || e.Reason != want.Reason || e.Detail != want.Function || e.Source != want.Source ||
				e.Direction != want.Direction || e.Protocol != protocolUDP || time.Since(time.Unix(0, e.TimeNS)).Abs() > time.Minute {
				t.Errorf("event %+v", e)
			}
		}
		if matching != 7 {
			t.Errorf("%d events, want 7", matching)
		}
	}
}

// TestUnwantedEvents drops more than there may be events, while those of another kind
// are wanted: none is sent, and none is one too many.
func TestUnwantedEvents(t *testing.T) {
	pod := vethtest.NewPod(t)
	b := measure(t, scope.Options{EventsPerSecond: 1, EventKinds: []string{wire.EventReset}}, options{}, podTarget(pod))
	want := wire.DropSample{
		Target: podID, Reason: b.told("NO_SOCKET"), Function: b.function("__udp4_lib_rcv", "udp_rcv"), Direction: wire.DirectionIn, On: onPod, Protocol: protocolUDP,
		Source: netip.AddrPortFrom(peerV4, 6000), Destination: netip.AddrPortFrom(podV4, 6001),
	}
	send(t, pod.Peer, want.Source, want.Destination, 20)
	b.expect(t, want, 20, sizeV4)
	events, err := b.scope.TakeEvents()
	vethtest.Must(t, err)
	if len(events.Events) != 0 || events.Suppressed != 0 {
		t.Errorf("%d events, %d too many, want none", len(events.Events), events.Suppressed)
	}
}

// TestClosedPortOfTheNode asks for the direction where no address of a pod tells.
func TestClosedPortOfTheNode(t *testing.T) {
	pod := vethtest.NewPod(t)
	b := measure(t, scope.Options{HostNetns: pathOf(pod.Peer)}, options{}, nodeTarget())
	want := wire.DropSample{
		Target: nodeID, Reason: b.told("NO_SOCKET"), Function: b.function("__udp6_lib_rcv", "udpv6_rcv"), Direction: wire.DirectionIn, On: onNode, Protocol: protocolUDP,
		Source: netip.AddrPortFrom(podV6, 6000), Destination: netip.AddrPortFrom(peerV6, 6001),
	}
	send(t, pod.Netns, want.Source, want.Destination, 4)
	b.expect(t, want, 4, sizeV6)
}

func TestReversePathFilter(t *testing.T) {
	pod := vethtest.NewPod(t)
	in(t, pod.Netns, "sysctl -qw net.ipv4.conf.all.rp_filter=1")
	in(t, pod.Peer, "ip addr add 198.51.100.77/32 dev lo")
	in(t, pod.Peer, "ip neigh replace 192.0.2.1 dev eth0 lladdr "+linkOf(t, pod).String()) // else asked for from that address
	b := measure(t, scope.Options{}, options{}, podTarget(pod))
	want := wire.DropSample{
		Target: podID, Reason: b.told("IP_RPFILTER"), Direction: wire.DirectionIn, On: onPod, Protocol: protocolUDP,
		Source: netip.MustParseAddrPort("198.51.100.77:6000"), Destination: netip.AddrPortFrom(podV4, 6001),
	}
	send(t, pod.Peer, want.Source, want.Destination, 3)
	for d := range b.match(t, 6001) {
		want.Function = d.Function // which differs between kernels
	}
	if want.Function == "" {
		t.Error("no function")
	}
	b.expectAgain(t, want, 3, sizeV4)
}

// TestFullSocket has drops whose skb has been in the hands of a socket.
func TestFullSocket(t *testing.T) {
	pod := vethtest.NewPod(t)
	vethtest.Swallow(t, pod.Netns, "192.0.2.1:6001")
	b := measure(t, scope.Options{}, options{}, podTarget(pod))
	const sent = 4000
	send(t, pod.Peer, netip.AddrPortFrom(peerV4, 6000), netip.AddrPortFrom(podV4, 6001), sent)
	var dropped uint64
	for d, count := range b.match(t, 6001) {
		dropped += count.Packets
		if d.Reason != b.told("SOCKET_RCVBUFF") || d.Direction != wire.DirectionIn || d.On != onPod {
			t.Errorf("%d drops as %+v", count.Packets, d)
		}
	}
	if errors := udpCounter(t, pod, "RcvbufErrors"); dropped == 0 || dropped != errors {
		t.Errorf("%d drops, and the kernel's RcvbufErrors are %d", dropped, errors)
	}
}

func TestOthersAreNotSeen(t *testing.T) {
	pod, other := vethtest.NewPod(t), vethtest.NewPod(t)
	b := measure(t, scope.Options{}, options{}, podTarget(pod))
	send(t, other.Peer, netip.AddrPortFrom(peerV4, 6000), netip.AddrPortFrom(podV4, 6001), 5) // the same addresses
	send(t, pod.Netns, netip.AddrPortFrom(podV4, 6000), netip.AddrPortFrom(peerV4, 6001), 5)  // dropped by the peer
	if found := b.match(t, 6001); len(found) > 0 {
		t.Errorf("drops of others: %+v", found)
	}
}

func TestNothingCountsBeforeGo(t *testing.T) {
	pod := vethtest.NewPod(t)
	b := measure(t, scope.Options{}, options{}, podTarget(pod))
	vethtest.Must(t, b.scope.Run(false))
	send(t, pod.Peer, netip.AddrPortFrom(peerV4, 6000), netip.AddrPortFrom(podV4, 6001), 5)
	if found := b.match(t, 6001); len(found) > 0 {
		t.Errorf("drops while stopped: %+v", found)
	}
}

func TestDropsThatAreNotIP(t *testing.T) {
	pod := vethtest.NewPod(t)
	b := measure(t, scope.Options{}, options{}, podTarget(pod))
	frame := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x88, 0xb5}, make([]byte, 50)...) // for experiments (IEEE 802)
	vethtest.SendRaw(t, pod.Peer, frame)
	vethtest.SendRaw(t, pod.Peer, frame)
	time.Sleep(20 * time.Millisecond)
	b.fold(t)
	for d, count := range b.drops {
		if d.Reason == b.told("UNHANDLED_PROTO") && !d.Source.IsValid() {
			if count != (tally{Packets: 2, Bytes: 100}) || d.Protocol != 0 || d.Direction != wire.DirectionIn || d.Target != podID {
				t.Errorf("%+v as %+v", count, d)
			}
			return
		}
	}
	t.Error("no UNHANDLED_PROTO")
	b.log(t)
}

// TestIPv6Extensions finds ports behind extension headers.
func TestIPv6Extensions(t *testing.T) {
	pod := vethtest.NewPod(t)
	b := measure(t, scope.Options{}, options{}, podTarget(pod))
	eth0 := linkOf(t, pod)
	udp := []byte{0x17, 0x70, 0x17, 0x71, 0, 8, 0, 0} // ports 6000 to 6001; the checksum is wrong, which is the drop
	options := []byte{60, 0, 1, 4, 0, 0, 0, 0}        // of hop by hop: padding; destination options follow
	destination := []byte{protocolUDP, 0, 1, 4, 0, 0, 0, 0}
	ip := append([]byte{0x60, 0, 0, 0, 0, 24, 0, 64}, append(peerV6.AsSlice(), podV6.AsSlice()...)...)
	frame := append(append(append(append([]byte{}, eth0...), 2, 0, 0, 0, 0, 9, 0x86, 0xdd), ip...), append(append(options, destination...), udp...)...)
	vethtest.SendRaw(t, pod.Peer, frame)
	time.Sleep(20 * time.Millisecond)
	found := b.match(t, 6001)
	for d, count := range found {
		if d.Source != netip.AddrPortFrom(peerV6, 6000) || d.Protocol != protocolUDP || count.Packets != 1 || count.Bytes != 64 {
			t.Errorf("%+v as %+v", count, d)
		}
	}
	if len(found) != 1 {
		t.Error("no drop to port 6001")
		b.log(t)
	}
}

// linkOf is the pod's MAC address.
func linkOf(t *testing.T, pod *vethtest.Pod) (mac net.HardwareAddr) {
	t.Helper()
	vethtest.Must(t, pod.Netns.Do(func() error {
		eth0, err := net.InterfaceByName("eth0")
		if err == nil {
			mac = eth0.HardwareAddr
		}
		return err
	}))
	return mac
}

// TestWithoutReasons runs the program as on a kernel before 5.17 and before 6.11.
func TestWithoutReasons(t *testing.T) {
	for arguments, reason := range map[uint32]string{2: notSpecified, 3: "NO_SOCKET"} {
		pod := vethtest.NewPod(t)
		b := measure(t, scope.Options{}, options{arguments: arguments}, podTarget(pod))
		want := wire.DropSample{
			Target: podID, Reason: b.told(reason), Function: b.function("__udp4_lib_rcv", "udp_rcv"), Direction: wire.DirectionIn, On: onPod, Protocol: protocolUDP,
			Source: netip.AddrPortFrom(peerV4, 6000), Destination: netip.AddrPortFrom(podV4, 6001),
		}
		send(t, pod.Peer, want.Source, want.Destination, 4)
		b.fold(t)
		b.expectAgain(t, want, 4, sizeV4)
		in(t, pod.Netns, "iptables-legacy -A OUTPUT -p udp --dport 6002 -j DROP")
		want.Reason, want.Hook, want.Function, want.Direction = netfilterDropped, "OUTPUT", "nf_hook_slow", wire.DirectionOut
		want.Source, want.Destination = netip.AddrPortFrom(podV4, 6000), netip.AddrPortFrom(peerV4, 6002)
		send(t, pod.Netns, want.Source, want.Destination, 5)
		b.expect(t, want, 5, sizeV4)
		if len(b.Missing()) == 0 {
			t.Error("nothing is missing")
		}
	}
}

func TestTCPDrops(t *testing.T) {
	pod := vethtest.NewPod(t)
	conn := vethtest.TCP(t, pod, "192.0.2.1:6000", "192.0.2.2:6001")
	in(t, pod.Netns, "iptables-nft -A OUTPUT -p tcp --dport 6001 -j DROP")
	b := measure(t, scope.Options{}, options{}, podTarget(pod))
	_, err := conn.Write([]byte("0123456789"))
	vethtest.Must(t, err)
	want := wire.DropSample{
		Target: podID, Reason: netfilterDropped, Hook: "OUTPUT", Function: b.dropsIn("nft_do_chain"), Direction: wire.DirectionOut, On: onPod, Protocol: 6,
		Source: vethtest.Local(conn), Destination: vethtest.Remote(conn),
	}
	b.fold(t)
	if got := b.drops[want]; got.Packets == 0 || got.Bytes != got.Packets*(20+32+10) { // with timestamps
		t.Errorf("%+v as %+v", got, want)
		b.log(t)
	}
}
