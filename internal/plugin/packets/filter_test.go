//go:build linux && !unit

package packets_test

import (
	"bytes"
	"cmp"
	"encoding/binary"
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

	"github.com/kubectl-retina/kubectl-retina/internal/hostns"
	"github.com/kubectl-retina/kubectl-retina/internal/pcapfilter"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/packets"
	"github.com/kubectl-retina/kubectl-retina/internal/vethtest"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// compileFilter is what the command does.
func compileFilter(t *testing.T, expression string) *wire.FilterSpec {
	t.Helper()
	filter, err := pcapfilter.Parse(expression)
	vethtest.Must(t, err)
	spec := &wire.FilterSpec{Objects: len(filter.Objects())}
	for link, to := range map[pcapfilter.LinkType]*[]wire.FilterInstruction{pcapfilter.Ethernet: &spec.Ethernet, pcapfilter.Raw: &spec.Raw} {
		program, err := filter.Compile(link, pcapfilter.Options{LiveObjects: true})
		if err != nil && link == pcapfilter.Raw {
			spec.NoRaw = err.Error()
			continue
		}
		vethtest.Must(t, err)
		for _, in := range program {
			*to = append(*to, wire.FilterInstruction(in))
		}
	}
	return spec
}

// payloads are what datagrams carried.
func payloads(all []packet) []string {
	var texts []string
	for _, p := range all {
		decoded := gopacket.NewPacket(p.data, layers.LayerTypeEthernet, gopacket.NoCopy)
		if u, ok := decoded.Layer(layers.LayerTypeUDP).(*layers.UDP); ok {
			texts = append(texts, string(u.Payload))
		}
	}
	slices.Sort(texts)
	return texts
}

// datagram is a frame to 192.0.2.2:4002, with VLAN tags if any.
func datagram(t *testing.T, text string, vlans ...uint16) []byte {
	t.Helper()
	eth := &layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, EthernetType: layers.EthernetTypeIPv4}
	ip := &layers.IPv4{Version: 4, TTL: 9, Protocol: layers.IPProtocolUDP, SrcIP: net.IP{192, 0, 2, 1}, DstIP: net.IP{192, 0, 2, 2}}
	udp := &layers.UDP{SrcPort: 4001, DstPort: 4002}
	vethtest.Must(t, udp.SetNetworkLayerForChecksum(ip))
	all := []gopacket.SerializableLayer{eth}
	for i, id := range vlans {
		if i == 0 {
			eth.EthernetType = layers.EthernetTypeDot1Q
		} else {
			all[i].(*layers.Dot1Q).Type = layers.EthernetTypeDot1Q
		}
		all = append(all, &layers.Dot1Q{VLANIdentifier: id, Type: layers.EthernetTypeIPv4})
	}
	all = append(all, ip, udp, gopacket.Payload(text))
	buffer := gopacket.NewSerializeBuffer()
	vethtest.Must(t, gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, all...))
	return buffer.Bytes()
}

// TestFilter sends packets of all kinds, tagged ones included, of which the
// outgoing have their tags in their bytes and the incoming beside them. What is
// captured must be what the filter accepts of all packets of a capture without one.
func TestFilter(t *testing.T) {
	filters := []string{
		"udp port 4002", "udp port 4004", "not udp", "ip6", "src host 192.0.2.1", "vlan", "vlan 7", "vlan 7 and udp port 4002", "vlan and vlan 9",
		"not vlan", "udp or (vlan and udp)", "ether[12:2] = 0x8100", "ether[14:2] & 0xfff = 7", "ether[11:4] & 0xffffff = 0x810000", "len > 60",
		"greater 1400", "udp[8:4] = 0x62696767", "udp[1300] = 0x2e", "ether[ether[12] - 100:1] = 0", "ip[2:2] > 500 or (vlan and ip[2:2] > 500)",
	}
	for _, hook := range hooks {
		t.Run(hook, func(t *testing.T) {
			vethtest.NeedHook(t, hook)
			pod := vethtest.NewPod(t)
			all := open(t, specFor(hook, pod))
			vethtest.Must(t, all.Go())
			plugins := make([]*packets.Plugin, len(filters))
			programs := make([]pcapfilter.Program, len(filters))
			for i, expression := range filters {
				spec := specFor(hook, pod)
				spec.RingBytes, spec.Filter = 1<<20, compileFilter(t, expression)
				programs[i], plugins[i] = classic(spec.Filter.Ethernet), open(t, spec)
				vethtest.Must(t, plugins[i].Go())
			}
			sendAllKinds(t, pod)
			time.Sleep(50 * time.Millisecond) // nothing else is on its way
			everything, _ := finish(t, all)
			for i, expression := range filters {
				got, stats := finish(t, plugins[i])
				counted := len(got)
				want, got := matching(ours(everything), programs[i]), ours(got)
				same := slices.EqualFunc(got, want, func(a, b packet) bool { return bytes.Equal(a.data, b.data) && a.out == b.out })
				if !same || stats[0].Seen != uint64(counted) || stats[0].Lost != 0 {
					t.Errorf("%s: %d of %d packets are captured, want %d; counts %+v", expression, len(got), len(everything), len(want), stats[0])
				}
				if len(want) == 0 || len(want) == len(everything) {
					t.Errorf("%s: the test has %d packets, of which %d match", expression, len(everything), len(want))
				}
			}
		})
	}
}

func matching(all []packet, program pcapfilter.Program) []packet {
	var some []packet
	for _, one := range all {
		if program.Match(one.data, len(one.data)) {
			some = append(some, one)
		}
	}
	return some
}

// ours are the packets of sendAllKinds, sorted: the kernel has some of its own.
func ours(all []packet) []packet {
	all = slices.DeleteFunc(slices.Clone(all), func(p packet) bool { return !bytes.Contains(p.data, []byte("bigg")) })
	slices.SortStableFunc(all, func(a, b packet) int {
		return cmp.Or(bytes.Compare(a.data, b.data), strings.Compare(fmt.Sprint(a.out), fmt.Sprint(b.out)))
	})
	return all
}

func classic(instructions []wire.FilterInstruction) pcapfilter.Program {
	program := make(pcapfilter.Program, len(instructions))
	for i, in := range instructions {
		program[i].Op, program[i].Jt, program[i].Jf, program[i].K = in.Op, in.Jt, in.Jf, in.K
	}
	return program
}

func sendAllKinds(t *testing.T, pod *vethtest.Pod) {
	out := vethtest.UDP(t, pod.Netns, "192.0.2.1:4001", "192.0.2.2:4002")
	in := vethtest.UDP(t, pod.Peer, "[2001:db8::2]:4003", "[2001:db8::1]:4004")
	for i := range 4 {
		for _, size := range []int{9, 600, 1400} {
			text := "bigg" + strings.Repeat(".", size-4-i) + strings.Repeat("x", i)
			_, err := out.Write([]byte(text))
			vethtest.Must(t, err)
			_, err = in.Write([]byte(text))
			vethtest.Must(t, err)
			for _, vlans := range [][]uint16{{7}, {8}, {7, 9}, {8, 0}} {
				vethtest.SendRaw(t, pod.Netns, datagram(t, text, vlans...))
				vethtest.SendRaw(t, pod.Peer, datagram(t, text, vlans...))
			}
		}
	}
}

// TestFilterNonLinear filters by bytes that TCP has in other places than its
// headers.
func TestFilterNonLinear(t *testing.T) {
	for _, hook := range hooks {
		t.Run(hook, func(t *testing.T) {
			vethtest.NeedHook(t, hook)
			pod := vethtest.NewPod(t)
			spec := specFor(hook, pod)
			spec.Filter = compileFilter(t, "tcp[((tcp[12] & 0xf0) >> 2) + 20000:4] = 0x6d61726b and greater 30000")
			p := open(t, spec)
			vethtest.Must(t, p.Go())
			conn := sink(t, pod.Netns, pod.Peer, "192.0.2.2:4010")
			text := make([]byte, 40000)
			for i := 0; i+4 <= len(text); i += 4 {
				copy(text[i:], "mark")
			}
			for range 50 {
				_, err := conn.Write(text)
				vethtest.Must(t, err)
			}
			got, _ := finish(t, p)
			if len(got) == 0 {
				t.Error("no packet of 30,000 bytes matches")
			}
			for _, one := range got {
				header := 14 + 20 + int(one.data[14+20+12]>>4)*4
				if len(one.data) < 30000 || binary.BigEndian.Uint32(one.data[header+20000:]) != 0x6d61726b {
					t.Errorf("a packet of %d bytes does not match", len(one.data))
				}
			}
		})
	}
}

// sink connects two namespaces; the other one reads whatever comes. Then the link
// is up and the neighbours know each other: nothing waits before it is sent.
func sink(t *testing.T, from, to *hostns.Netns, at string) net.Conn {
	t.Helper()
	var listener net.Listener
	vethtest.Must(t, to.Do(func() (err error) {
		listener, err = net.Listen("tcp", at)
		return err
	}))
	t.Cleanup(func() { listener.Close() })
	go func() {
		if conn, err := listener.Accept(); err == nil {
			_, _ = io.Copy(io.Discard, conn)
			conn.Close()
		}
	}()
	var conn net.Conn
	vethtest.Must(t, from.Do(func() (err error) {
		conn, err = net.Dial("tcp", at)
		return err
	}))
	t.Cleanup(func() { conn.Close() })
	return conn
}

// TestFilterObjects changes whose an address is while packets are filtered.
func TestFilterObjects(t *testing.T) {
	for _, hook := range hooks {
		t.Run(hook, func(t *testing.T) {
			vethtest.NeedHook(t, hook)
			pod := vethtest.NewPod(t)
			spec := specFor(hook, pod)
			spec.Filter = compileFilter(t, "(udp and (src pod a or dst svc shop/b)) or (vlan and pod a)")
			a := wire.FilterAddress{Addr: netip.MustParseAddr("192.0.2.1"), Objects: 1}
			spec.Filter.Addresses = []wire.FilterAddress{a}
			sink(t, pod.Netns, pod.Peer, "192.0.2.2:4010")
			sink(t, pod.Peer, pod.Netns, "[2001:db8::1]:4010")
			p := open(t, spec)
			vethtest.Must(t, p.Go())
			four := vethtest.UDP(t, pod.Netns, "192.0.2.1:4001", "192.0.2.2:4002")
			six := vethtest.UDP(t, pod.Peer, "[2001:db8::2]:4003", "[2001:db8::1]:4004")
			round := func(n int) {
				for _, conn := range []*net.UDPConn{four, six} {
					_, err := fmt.Fprintf(conn, "%d to %s", n, conn.RemoteAddr())
					vethtest.Must(t, err)
				}
				vethtest.SendRaw(t, pod.Netns, datagram(t, fmt.Sprint(n, " tagged"), 7))
				vethtest.SendRaw(t, pod.Peer, datagram(t, fmt.Sprint(n, " tagged beside"), 7))
			}
			change := func(changes ...wire.FilterAddress) { vethtest.Must(t, p.SetAddresses(changes)) }
			round(1)
			change(wire.FilterAddress{Addr: a.Addr}, wire.FilterAddress{Addr: netip.MustParseAddr("2001:db8::1"), Objects: 2})
			round(2)
			change(wire.FilterAddress{Addr: netip.MustParseAddr("2001:db8::1")}, wire.FilterAddress{Addr: netip.MustParseAddr("192.0.2.2"), Objects: 3})
			round(3)
			got, _ := finish(t, p)
			want := []string{"1 tagged", "1 tagged beside", "1 to 192.0.2.2:4002", "2 to [2001:db8::1]:4004", "3 tagged", "3 tagged beside", "3 to 192.0.2.2:4002"}
			if texts := payloads(got); !slices.Equal(texts, want) {
				t.Errorf("captured %q\nwant     %q", texts, want)
			}
		})
	}
}

func TestFilterRefused(t *testing.T) {
	pod := vethtest.NewPod(t)
	hosts := make([]string, 1300)
	for i := range hosts {
		hosts[i] = fmt.Sprintf("ether[%d:4] = %d", i, i)
	}
	long := compileFilter(t, strings.Join(hosts, " or "))
	for name, tt := range map[string]struct {
		filter *wire.FilterSpec
		want   string
	}{
		"too long":      {long, "the filter is too long for the kernel: "},
		"wrong program": {&wire.FilterSpec{Ethernet: []wire.FilterInstruction{{Op: 0x28, K: 12}}}, "filter for Ethernet: the last instruction does not return"},
		"only raw":      {&wire.FilterSpec{Raw: []wire.FilterInstruction{{Op: 6, K: 1}}}, "interface eth0: the filter lets no packet of this kind of interface through"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := specFor("", pod)
			spec.Filter = tt.filter
			p, err := packets.Open(spec)
			if err == nil {
				p.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func TestInterfacesByName(t *testing.T) {
	pod := vethtest.NewPod(t)
	pod.AddInterface(t)
	other := vethtest.NewPod(t)
	spec := specFor("", pod, other)
	spec.Interfaces = []string{"lo", "eth1"}
	p, err := packets.Open(spec)
	vethtest.Must(t, err)
	defer p.Close()
	var names []string
	for _, i := range p.Ready().Interfaces {
		names = append(names, fmt.Sprint(i.Target, " ", i.Name))
	}
	slices.Sort(names)
	if want := []string{"0 eth1", "0 lo", "1 lo"}; !slices.Equal(names, want) {
		t.Errorf("interfaces %q, want %q", names, want)
	}
	spec.Interfaces = []string{"eth7", "eth8"}
	_, err = packets.Open(spec)
	if want := "pod test/" + pod.UID + " has no interface named eth7 or eth8: it has "; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error %v, want %q", err, want)
	}
}
