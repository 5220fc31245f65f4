//go:build linux && !unit

package dropreason

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/kubectl-retina/kubectl-retina/internal/plugin/scope"
	"github.com/kubectl-retina/kubectl-retina/internal/vethtest"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

const protocolUDP = 17

// rule drops UDP to one port at one hook of the pod's netns.
type rule struct {
	hook     string
	out      bool
	function string // of the kernel
	commands []string
}

// rules are the ways to write one, with PORT for the port.
var rules = map[string]rule{
	"iptables-nft INPUT": {"INPUT", false, "nft_do_chain",
		[]string{"iptables-nft -A INPUT -p udp --dport PORT -j DROP", "ip6tables-nft -A INPUT -p udp --dport PORT -j DROP"}},
	"iptables-nft OUTPUT": {"OUTPUT", true, "nft_do_chain",
		[]string{"iptables-nft -A OUTPUT -p udp --dport PORT -j DROP", "ip6tables-nft -A OUTPUT -p udp --dport PORT -j DROP"}},
	"iptables-legacy INPUT": {"INPUT", false, "nf_hook_slow",
		[]string{"iptables-legacy -A INPUT -p udp --dport PORT -j DROP", "ip6tables-legacy -A INPUT -p udp --dport PORT -j DROP"}},
	"iptables-legacy OUTPUT": {"OUTPUT", true, "nf_hook_slow",
		[]string{"iptables-legacy -A OUTPUT -p udp --dport PORT -j DROP", "ip6tables-legacy -A OUTPUT -p udp --dport PORT -j DROP"}},
	"nft prerouting": {"PREROUTING", false, "nft_do_chain", []string{"nft add table inet t",
		"nft add chain inet t c { type filter hook prerouting priority 0; }", "nft add rule inet t c udp dport PORT drop"}},
	"nft input policy": {"INPUT", false, "nft_do_chain", []string{"nft add table inet t",
		"nft add chain inet t c { type filter hook input priority 0; policy drop; }", "nft add rule inet t c udp dport != PORT accept", "nft add rule inet t c meta l4proto != udp accept"}},
	"nft postrouting": {"POSTROUTING", true, "nft_do_chain", []string{"nft add table inet t",
		"nft add chain inet t c { type filter hook postrouting priority 0; }", "nft add rule inet t c udp dport PORT drop"}},
	"nft ingress": {"INGRESS", false, "nft_do_chain", []string{"nft add table netdev t",
		"nft add chain netdev t c { type filter hook ingress device eth0 priority 0; }", "nft add rule netdev t c udp dport PORT drop"}},
	"nft egress": {"EGRESS", true, "nft_do_chain", []string{"nft add table netdev t",
		"nft add chain netdev t c { type filter hook egress device eth0 priority 0; }", "nft add rule netdev t c udp dport PORT drop"}},
}

func TestNetfilterDropsOfAPod(t *testing.T) {
	for name, rule := range rules {
		t.Run(name, func(t *testing.T) {
			if rule.hook == "EGRESS" {
				vethtest.NeedKernel(t, "5.16", "netfilter's egress hook")
			}
			pod := vethtest.NewPod(t)
			for _, command := range rule.commands {
				in(t, pod.Netns, strings.ReplaceAll(command, "PORT", "6001"))
			}
			b := measure(t, scope.Options{}, options{raw: rule.out}, podTarget(pod))
			from, to, direction := pod.Peer, pod.Netns, wire.DirectionIn
			v4 := [2]netip.Addr{peerV4, podV4}
			v6 := [2]netip.Addr{peerV6, podV6}
			if rule.out {
				from, to, direction = to, from, wire.DirectionOut
				v4[0], v4[1], v6[0], v6[1] = v4[1], v4[0], v6[1], v6[0]
			}
			vethtest.Swallow(t, to, ":6002")
			want := wire.DropSample{
				Target: podID, Reason: netfilterDropped, Hook: rule.hook, Function: b.dropsIn(rule.function),
				Direction: direction, On: onPod, Protocol: protocolUDP,
			}
			for _, round := range []struct {
				addrs   [2]netip.Addr
				size, n uint64
			}{{v4, sizeV4, 5}, {v6, sizeV6, 7}} {
				want.Source = netip.AddrPortFrom(round.addrs[0], 6000)
				want.Destination = netip.AddrPortFrom(round.addrs[1], 6001)
				send(t, from, want.Source, want.Destination, int(round.n))
				send(t, from, want.Source, netip.AddrPortFrom(round.addrs[1], 6002), 3)
				b.fold(t)
				if got := b.drops[want]; got.Packets != round.n || got.Bytes != round.n*round.size {
					t.Errorf("want %d packets of %d bytes as\n  %+v", round.n, round.size, want)
					b.log(t)
				}
			}
			if let := b.match(t, 6002); len(let) > 0 {
				t.Errorf("packets that passed are drops: %+v", let)
			}
			total := uint64(0)
			for _, count := range b.match(t, 6001) {
				total += count.Packets
			}
			if total != 5+7 {
				t.Errorf("%d drops in all, want 12", total)
				b.log(t)
			}
		})
	}
}

// router turns the pod's peer into a node with a second link, where nobody
// answers, and routes there and back.
func router(t *testing.T, pod *vethtest.Pod) {
	t.Helper()
	for _, command := range []string{
		"sysctl -qw net.ipv4.ip_forward=1", "sysctl -qw net.ipv6.conf.all.forwarding=1",
		"sysctl -qw net.ipv4.conf.all.rp_filter=0", "sysctl -qw net.ipv4.conf.eth0.rp_filter=0",
		"ip link add out0 type veth peer name out1", "ip link set out0 up", "ip link set out1 up",
		"ip addr add 198.51.100.1/24 dev out0", "ip addr add 2001:db8:1::1/64 dev out0 nodad",
		"ip neigh add 198.51.100.9 lladdr 02:00:00:00:00:09 dev out0", "ip neigh add 2001:db8:1::9 lladdr 02:00:00:00:00:09 dev out0",
	} {
		in(t, pod.Peer, command)
	}
	in(t, pod.Netns, "ip route add default via 192.0.2.2")
	in(t, pod.Netns, "ip -6 route add default via 2001:db8::2")
}

func TestForwardDropsOnTheNodeAreThePods(t *testing.T) {
	for _, tables := range []string{"nft", "legacy"} {
		t.Run(tables, func(t *testing.T) {
			pod := vethtest.NewPod(t)
			router(t, pod)
			in(t, pod.Peer, "iptables-"+tables+" -A FORWARD -p udp --dport 6001 -j DROP")
			in(t, pod.Peer, "ip6tables-"+tables+" -A FORWARD -p udp --dport 6001 -j DROP")
			function := map[string]string{"nft": "nft_do_chain", "legacy": "nf_hook_slow"}[tables]
			b := measure(t, scope.Options{HostNetns: pathOf(pod.Peer)}, options{}, podTarget(pod))
			want := wire.DropSample{
				Target: podID, Reason: netfilterDropped, Hook: "FORWARD", Function: b.dropsIn(function),
				Direction: wire.DirectionOut, On: onNode, Protocol: protocolUDP,
				Source: netip.AddrPortFrom(podV4, 6000), Destination: netip.MustParseAddrPort("198.51.100.9:6001"),
			}
			send(t, pod.Netns, want.Source, want.Destination, 9)
			b.expect(t, want, 9, sizeV4)
			want.Source, want.Destination = netip.AddrPortFrom(podV6, 6000), netip.MustParseAddrPort("[2001:db8:1::9]:6001")
			send(t, pod.Netns, want.Source, want.Destination, 4)
			b.fold(t)
			if got := b.drops[want]; got.Packets != 4 || got.Bytes != 4*sizeV6 {
				t.Errorf("want 4 packets as %+v", want)
				b.log(t)
			}
		})
	}
}

// TestDropsOnTheWayToAPod has both the pod and the node among the targets.
func TestDropsOnTheWayToAPod(t *testing.T) {
	pod := vethtest.NewPod(t)
	in(t, pod.Peer, "iptables-nft -A OUTPUT -p udp --dport 6001 -j REJECT")
	b := measure(t, scope.Options{HostNetns: pathOf(pod.Peer)}, options{}, podTarget(pod), nodeTarget())
	want := wire.DropSample{
		Target: podID, Reason: netfilterDropped, Hook: "OUTPUT", Function: b.dropsIn("nft_do_chain"),
		Direction: wire.DirectionIn, On: onNode, Protocol: protocolUDP,
		Source: netip.AddrPortFrom(peerV4, 6000), Destination: netip.AddrPortFrom(podV4, 6001),
	}
	send(t, pod.Peer, want.Source, want.Destination, 1)
	for d := range b.match(t, 6001) {
		want.Function = d.Function // nft_reject's way to drop differs between kernels
	}
	b.expectAgain(t, want, 1, sizeV4)
}

// TestTheNodesOwnDrops has no pod among the targets.
func TestTheNodesOwnDrops(t *testing.T) {
	pod := vethtest.NewPod(t)
	router(t, pod)
	in(t, pod.Peer, "iptables-nft -A FORWARD -p udp --dport 6001 -j DROP")
	in(t, pod.Peer, "iptables-nft -A INPUT -p udp --dport 6002 -j DROP")
	in(t, pod.Peer, "ip6tables-nft -A INPUT -p udp --dport 6005 -j DROP")
	in(t, pod.Peer, "iptables-nft -A OUTPUT -p udp --dport 6003 -j DROP")
	b := measure(t, scope.Options{HostNetns: pathOf(pod.Peer)}, options{}, nodeTarget())
	fromPod, fromNode := netip.AddrPortFrom(podV4, 6000), netip.AddrPortFrom(peerV4, 6000)
	beyond := netip.MustParseAddr("198.51.100.9")
	drop := wire.DropSample{Target: nodeID, Reason: netfilterDropped, Function: b.dropsIn("nft_do_chain"), On: onNode, Protocol: protocolUDP}

	forward, input, output := drop, drop, drop
	forward.Hook, forward.Direction, forward.Source, forward.Destination = "FORWARD", wire.DirectionForward, fromPod, netip.AddrPortFrom(beyond, 6001)
	send(t, pod.Netns, forward.Source, forward.Destination, 3)
	b.expect(t, forward, 3, sizeV4)
	input.Hook, input.Direction, input.Source, input.Destination = "INPUT", wire.DirectionIn, fromPod, netip.AddrPortFrom(peerV4, 6002)
	send(t, pod.Netns, input.Source, input.Destination, 4)
	b.expect(t, input, 4, sizeV4)
	input.Source, input.Destination = netip.AddrPortFrom(podV6, 6000), netip.AddrPortFrom(peerV6, 6005)
	send(t, pod.Netns, input.Source, input.Destination, 6)
	b.expect(t, input, 6, sizeV6)
	output.Hook, output.Direction, output.Source, output.Destination = "OUTPUT", wire.DirectionOut, fromNode, netip.AddrPortFrom(podV4, 6003)
	send(t, pod.Peer, output.Source, output.Destination, 5)
	b.expect(t, output, 5, sizeV4)

	noRoute := wire.DropSample{Target: nodeID, Reason: b.told("IP_INNOROUTES"), Function: "ip_error", Direction: wire.DirectionForward, On: onNode, Protocol: protocolUDP,
		Source: fromPod, Destination: netip.MustParseAddrPort("203.0.113.9:6004")}
	send(t, pod.Netns, noRoute.Source, noRoute.Destination, 2)
	b.expect(t, noRoute, 2, sizeV4)
}

// TestBridgedDrops has br_netfilter show a bridge's packets to FORWARD.
func TestBridgedDrops(t *testing.T) {
	pod := vethtest.NewPod(t)
	for _, command := range []string{
		"ip link add br0 type bridge", "ip addr flush dev eth0", "ip link set eth0 master br0", "ip link set br0 up",
		"ip link add out0 type veth peer name out1", "ip link set out0 master br0", "ip link set out0 up", "ip link set out1 up",
		"sysctl -qw net.bridge.bridge-nf-call-iptables=1",
		"iptables-nft -A FORWARD -p udp --dport 6001 -j DROP",
	} {
		in(t, pod.Peer, command)
	}
	in(t, pod.Netns, "ip neigh replace 192.0.2.9 lladdr 02:00:00:00:00:09 dev eth0")
	b := measure(t, scope.Options{HostNetns: pathOf(pod.Peer)}, options{}, podTarget(pod))
	want := wire.DropSample{
		Target: podID, Reason: netfilterDropped, Hook: "FORWARD", Function: b.dropsIn("nft_do_chain"),
		Direction: wire.DirectionOut, On: onNode, Protocol: protocolUDP,
		Source: netip.AddrPortFrom(podV4, 6000), Destination: netip.MustParseAddrPort("192.0.2.9:6001"),
	}
	send(t, pod.Netns, want.Source, want.Destination, 6)
	b.expect(t, want, 6, sizeV4)
}
