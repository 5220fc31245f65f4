//go:build linux && !unit

package packetparser

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/kubectl-retina/kubectl-retina/internal/hostns"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/scope"
	"github.com/kubectl-retina/kubectl-retina/internal/vethtest"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

func hardware(t *testing.T, ns *hostns.Netns) net.HardwareAddr {
	t.Helper()
	var eth0 *net.Interface
	vethtest.Must(t, ns.Do(func() (err error) {
		eth0, err = net.InterfaceByName("eth0")
		return err
	}))
	return eth0.HardwareAddr
}

// ethernet puts a header in front of a packet for the pod, with VLAN tags.
func ethernet(t *testing.T, pod *vethtest.Pod, packet []byte, tags ...uint16) []byte {
	t.Helper()
	frame := append([]byte(hardware(t, pod.Netns)), hardware(t, pod.Peer)...)
	for i, tag := range tags {
		kind := uint16(unix.ETH_P_8021Q)
		if i == 0 && len(tags) > 1 {
			kind = unix.ETH_P_8021AD
		}
		frame = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(frame, kind), tag)
	}
	kind := uint16(unix.ETH_P_IP)
	if packet[0]>>4 == 6 {
		kind = unix.ETH_P_IPV6
	}
	return append(binary.BigEndian.AppendUint16(frame, kind), packet...)
}

// ipv4 makes a packet from 192.0.2.2 to 192.0.2.1. Options are a multiple of 4
// bytes.
func ipv4(protocol uint8, fragment uint16, options, payload []byte) []byte {
	h := make([]byte, 20)
	h[0] = 0x40 | uint8(5+len(options)/4)
	binary.BigEndian.PutUint16(h[2:], uint16(20+len(options)+len(payload)))
	binary.BigEndian.PutUint16(h[6:], fragment)
	h[8], h[9] = 64, protocol
	copy(h[12:], []byte{192, 0, 2, 2, 192, 0, 2, 1})
	return slices.Concat(h, options, payload)
}

// ipv6 makes a packet from 2001:db8::2 to 2001:db8::1.
func ipv6(next uint8, payload []byte) []byte {
	h := make([]byte, 8, 40)
	h[0] = 0x60
	binary.BigEndian.PutUint16(h[4:], uint16(len(payload)))
	h[6], h[7] = next, 64
	for _, addr := range []string{"2001:db8::2", "2001:db8::1"} {
		h = append(h, netip.MustParseAddr(addr).AsSlice()...)
	}
	return append(h, payload...)
}

// ports begins a header of UDP or SCTP, with 4 more bytes.
func ports(source, destination uint16) []byte {
	return append(binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, source), destination), 0, 8, 0, 0)
}

// segment is a TCP header from port 40000 to 8080.
func segment(flags uint16) []byte {
	h := append(ports(40000, 8080)[:4], make([]byte, 16)...)
	binary.BigEndian.PutUint16(h[12:], 5<<12|flags)
	return h
}

func udpFrame(t *testing.T, pod *vethtest.Pod, port uint16) []byte {
	return ethernet(t, pod, ipv4(protocolUDP, 0, nil, ports(40000, port)))
}

func TestFrames(t *testing.T) {
	const hop, fragment, destination, authentication = 0, 44, 60, 51
	udp := ports(40000, 4004)
	extension := func(next uint8) []byte { return []byte{next, 0, 1, 4, 0, 0, 0, 0} }
	v4 := func(protocol uint8, port uint16, role string) wire.FlowKey {
		return key(1, protocol, "192.0.2.1", "192.0.2.2", port, role)
	}
	v6 := func(protocol uint8, port uint16, role string) wire.FlowKey {
		return key(1, protocol, "2001:db8::1", "2001:db8::2", port, role)
	}
	tests := []struct {
		name   string
		packet []byte
		tags   []uint16
		pad    int
		want   wire.FlowKey
	}{
		{"UDP", ipv4(17, 0, nil, udp), nil, 0, v4(17, 4004, wire.RoleServer)},
		{"padded", ipv4(17, 0, nil, udp), nil, 18, v4(17, 4004, wire.RoleServer)},
		{"options", ipv4(17, 0, make([]byte, 8), udp), nil, 0, v4(17, 4004, wire.RoleServer)},
		{"VLAN", ipv4(17, 0, nil, udp), []uint16{42}, 0, v4(17, 4004, wire.RoleServer)},
		{"two VLANs", ipv6(17, udp), []uint16{42, 43}, 0, v6(17, 4004, wire.RoleServer)},
		{"first fragment", ipv4(17, 0x2000, nil, udp), nil, 0, v4(17, 0, "")},
		{"last fragment", ipv4(17, 0x0010, nil, udp), nil, 0, v4(17, 0, "")},
		{"do not fragment", ipv4(17, 0x4000, nil, udp), nil, 0, v4(17, 4004, wire.RoleServer)},
		{"SCTP", ipv4(132, 0, nil, udp), nil, 0, v4(132, 4004, wire.RoleServer)},
		{"the same port twice", ipv4(17, 0, nil, ports(123, 123)), nil, 0, v4(17, 123, "")},
		{"ICMP", ipv4(protocolICMP, 0, nil, make([]byte, 8)), nil, 0, v4(protocolICMP, 0, "")},
		{"GRE", ipv4(47, 0, nil, make([]byte, 8)), nil, 0, v4(47, 0, "")},
		{"cut off", ipv4(17, 0, nil, udp[:3]), nil, 0, v4(17, 0, "")},
		{"TCP cut off", ipv4(6, 0, nil, segment(TCPACK)[:12]), nil, 0, v4(6, 0, "")},
		{"IPv6", ipv6(17, udp), nil, 0, v6(17, 4004, wire.RoleServer)},
		{"IPv6 extensions", ipv6(hop, slices.Concat(extension(destination), extension(17), udp)), nil, 0, v6(17, 4004, wire.RoleServer)},
		{"IPv6 authentication", ipv6(authentication, slices.Concat([]byte{17, 4}, make([]byte, 22), udp)), nil, 0, v6(17, 4004, wire.RoleServer)},
		{"IPv6 fragment", ipv6(fragment, slices.Concat([]byte{17, 0, 0, 1, 0, 0, 0, 1}, udp)), nil, 0, v6(17, 0, "")},
		{"IPv6 last fragment", ipv6(fragment, slices.Concat([]byte{17, 0, 0, 8, 0, 0, 0, 1}, udp)), nil, 0, v6(17, 0, "")},
		{"IPv6 atomic fragment", ipv6(fragment, slices.Concat([]byte{17, 0, 0, 0, 0, 0, 0, 1}, udp)), nil, 0, v6(17, 4004, wire.RoleServer)},
	}
	for _, force := range hooks {
		t.Run(force, func(t *testing.T) {
			pod := vethtest.NewPod(t)
			w := newWorld(t, scope.Options{Hook: force}, pod)
			for _, test := range tests {
				t.Run(test.name, func(t *testing.T) {
					w.sample()
					before := w.flows[test.want]
					vethtest.SendRaw(t, pod.Peer, append(ethernet(t, pod, test.packet, test.tags...), make([]byte, test.pad)...))
					w.sample()
					got := w.flows[test.want]
					if got.PacketsIn-before.PacketsIn != 1 || got.BytesIn-before.BytesIn != uint64(len(test.packet)) {
						t.Errorf("before %+v\nafter %+v", before, got)
					}
				})
			}
		})
	}
}

// TCPACK is the flag of a segment within a connection.
const TCPACK = 0x10

func TestFlags(t *testing.T) {
	pod := vethtest.NewPod(t)
	w := newWorld(t, scope.Options{}, pod)
	want := make([]uint64, wire.NumFlags)
	for _, test := range []struct {
		flags uint16
		count []int
	}{
		{0x010, []int{wire.FlagACK}},
		{0x018, []int{wire.FlagACK, wire.FlagPSH}},
		{0x011, []int{wire.FlagACK, wire.FlagFIN}},
		{0x002, []int{wire.FlagSYN}},
		{0x0c2, []int{wire.FlagSYN, wire.FlagECE, wire.FlagCWR}},
		{0x012, []int{wire.FlagSYNACK}},
		{0x052, []int{wire.FlagSYNACK}},
		{0x014, []int{wire.FlagRST, wire.FlagACK}},
		{0x130, []int{wire.FlagNS, wire.FlagURG, wire.FlagACK}},
	} {
		vethtest.SendRaw(t, pod.Peer, ethernet(t, pod, ipv4(6, 0, nil, segment(test.flags))))
		for _, flag := range test.count {
			want[flag]++
		}
	}
	w.sample()
	got := make([]uint64, wire.NumFlags)
	for _, f := range w.flows {
		if f.Protocol == protocolTCP {
			for i, n := range f.FlagsIn {
				got[i] += n
			}
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("flags %v, want %v", got, want)
	}
}

// An interface without a link header: what is written to it comes in.
func TestRawInterface(t *testing.T) {
	pod := vethtest.NewPod(t)
	tun := &netlink.Tuntap{
		LinkAttrs: netlink.LinkAttrs{Name: "tun0"}, Mode: netlink.TUNTAP_MODE_TUN,
		Flags: netlink.TUNTAP_NO_PI | netlink.TUNTAP_ONE_QUEUE, Queues: 1, NonPersist: true,
	}
	vethtest.Must(t, pod.Netns.Do(func() error {
		if err := netlink.LinkAdd(tun); err != nil {
			return err
		}
		return netlink.LinkSetUp(tun)
	}))
	defer tun.Fds[0].Close()
	for _, force := range hooks {
		t.Run(force, func(t *testing.T) {
			w := newWorld(t, scope.Options{Hook: force}, pod)
			for _, packet := range [][]byte{ipv4(17, 0, nil, ports(40000, 4004)), ipv6(17, ports(40000, 4004))} {
				_, err := unix.Write(int(tun.Fds[0].Fd()), packet)
				vethtest.Must(t, err)
			}
			w.sample()
			got := []uint64{
				w.flows[key(1, 17, "192.0.2.1", "192.0.2.2", 4004, wire.RoleServer)].BytesIn,
				w.flows[key(1, 17, "2001:db8::1", "2001:db8::2", 4004, wire.RoleServer)].BytesIn,
			}
			if !slices.Equal(got, []uint64{28, 48}) {
				t.Errorf("bytes %v of %+v", got, w.flows)
			}
		})
	}
}
