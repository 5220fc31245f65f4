package headers

import (
	"bytes"
	"net"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

const secret = "PAYLOAD: the password is swordfish"

var payload = gopacket.Payload(secret)

// serialize returns the bytes of a packet with these layers.
func serialize(t testing.TB, all ...gopacket.SerializableLayer) []byte {
	t.Helper()
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true}, all...); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func ethernet(next layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, EthernetType: next}
}

func ip4(next layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 64, Protocol: next, SrcIP: net.IP{10, 0, 0, 1}, DstIP: net.IP{10, 0, 0, 2}}
}

func ip6(next layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: next, SrcIP: net.ParseIP("fd00::1"), DstIP: net.ParseIP("fd00::2")}
}

func tcp(options ...layers.TCPOption) *layers.TCP {
	return &layers.TCP{SrcPort: 1, DstPort: 2, PSH: true, ACK: true, Options: options}
}

// raw is bytes of a header that gopacket does not write.
func raw(b ...byte) gopacket.Payload { return b }

// A packetTest is a packet and how much of it is headers.
type packetTest struct {
	name     string
	linkType uint16
	packet   []byte
	want     int
}

func packetTests(t testing.TB) []packetTest {
	const eth, ip = wire.LinkTypeEthernet, wire.LinkTypeRaw
	timestamps := layers.TCPOption{OptionType: layers.TCPOptionKindTimestamps, OptionLength: 10, OptionData: make([]byte, 8)}
	optioned, fragment := ip4(layers.IPProtocolTCP), ip4(layers.IPProtocolUDP)
	optioned.Options = []layers.IPv4Option{{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}}} // router alert
	fragment.FragOffset = 100
	firstFragment := ip4(layers.IPProtocolUDP)
	firstFragment.Flags = layers.IPv4MoreFragments
	arp := &layers.ARP{AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: 1,
		SourceHwAddress: make([]byte, 6), SourceProtAddress: make([]byte, 4), DstHwAddress: make([]byte, 6), DstProtAddress: make([]byte, 4)}
	vlan := func(next layers.EthernetType) *layers.Dot1Q { return &layers.Dot1Q{VLANIdentifier: 7, Type: next} }
	extension := func(next layers.IPProtocol, length int) gopacket.Payload {
		b := make([]byte, length)
		b[0], b[1] = byte(next), byte(length/8-1)
		return b
	}
	short := serialize(t, ethernet(layers.EthernetTypeIPv4), ip4(layers.IPProtocolTCP), tcp())
	offloaded := serialize(t, ip4(layers.IPProtocolTCP), tcp(), payload)
	offloaded[2], offloaded[3] = 0, 0
	return []packetTest{
		{"TCP", eth, serialize(t, ethernet(layers.EthernetTypeIPv4), ip4(layers.IPProtocolTCP), tcp(), payload), 54},
		{"TCP with options", eth, serialize(t, ethernet(layers.EthernetTypeIPv4), ip4(layers.IPProtocolTCP), tcp(timestamps), payload), 66},
		{"TCP behind IPv4 options", eth, serialize(t, ethernet(layers.EthernetTypeIPv4), optioned, tcp(), payload), 58},
		{"TCP, raw IP", ip, serialize(t, ip4(layers.IPProtocolTCP), tcp(), payload), 40},
		{"TCP, padded by the link", eth, append(short, secret...), 54},
		{"TCP, offloaded: IP has no length", ip, offloaded, 40},
		{"UDP", eth, serialize(t, ethernet(layers.EthernetTypeIPv4), ip4(layers.IPProtocolUDP), &layers.UDP{}, payload), 42},
		{"UDP, IPv6", eth, serialize(t, ethernet(layers.EthernetTypeIPv6), ip6(layers.IPProtocolUDP), &layers.UDP{}, payload), 62},
		{"UDP, raw IPv6", ip, serialize(t, ip6(layers.IPProtocolUDP), &layers.UDP{}, payload), 48},
		{"SCTP", ip, serialize(t, ip4(layers.IPProtocolSCTP), &layers.SCTP{}, payload), 32},
		{"ICMP", ip, serialize(t, ip4(layers.IPProtocolICMPv4), &layers.ICMPv4{TypeCode: 0x0800}, payload), 28},
		{"ICMPv6", ip, serialize(t, ip6(layers.IPProtocolICMPv6), &layers.ICMPv6{}, raw(0, 0, 0, 0), payload), 48},
		{"first fragment", ip, serialize(t, firstFragment, &layers.UDP{}, payload), 28},
		{"later fragment", ip, serialize(t, fragment, payload), 20},
		{"unknown protocol", ip, serialize(t, ip4(layers.IPProtocolGRE), payload), 20},
		{"IP in IP", ip, serialize(t, ip4(layers.IPProtocolIPv4), ip4(layers.IPProtocolTCP), tcp(), payload), 60},
		{"IPv6 in IP", ip, serialize(t, ip4(layers.IPProtocolIPv6), ip6(layers.IPProtocolUDP), &layers.UDP{}, payload), 68},
		{"VLAN", eth, serialize(t, ethernet(layers.EthernetTypeDot1Q), vlan(layers.EthernetTypeIPv4), ip4(layers.IPProtocolTCP), tcp(), payload), 58},
		{"stacked VLANs", eth, serialize(t, ethernet(layers.EthernetTypeQinQ), vlan(layers.EthernetTypeDot1Q), vlan(layers.EthernetTypeIPv6),
			ip6(layers.IPProtocolTCP), tcp(), payload), 82},
		{"MPLS", eth, serialize(t, ethernet(layers.EthernetTypeMPLSUnicast), &layers.MPLS{Label: 16}, &layers.MPLS{Label: 17, StackBottom: true},
			ip4(layers.IPProtocolUDP), &layers.UDP{}, payload), 50},
		{"MPLS with something else", eth, serialize(t, ethernet(layers.EthernetTypeMPLSUnicast), &layers.MPLS{StackBottom: true}, payload), 18},
		{"ARP", eth, serialize(t, ethernet(layers.EthernetTypeARP), arp, payload), 42},
		{"unknown EtherType", eth, serialize(t, ethernet(0x88cc), payload), 14},
		{"IPv6 extension headers", ip, serialize(t, ip6(layers.IPProtocolIPv6HopByHop), extension(layers.IPProtocolIPv6Routing, 8),
			extension(layers.IPProtocolIPv6Destination, 24), extension(layers.IPProtocolTCP, 16), tcp(), payload), 40 + 48 + 20},
		{"IPv6 first fragment", ip, serialize(t, ip6(layers.IPProtocolIPv6Fragment), raw(17, 0, 0, 1, 0, 0, 0, 9), &layers.UDP{}, payload), 56},
		{"IPv6 later fragment", ip, serialize(t, ip6(layers.IPProtocolIPv6Fragment), raw(17, 0, 1, 1, 0, 0, 0, 9), payload), 48},
		{"AH", ip, serialize(t, ip4(layers.IPProtocolAH), raw(6, 4, 0, 0, 0, 0, 0, 1), raw(make([]byte, 16)...), tcp(), payload), 64},
		{"AH, IPv6", ip, serialize(t, ip6(layers.IPProtocolAH), raw(17, 1, 0, 0, 0, 0, 0, 1), raw(make([]byte, 4)...), &layers.UDP{}, payload), 60},
		{"ESP", ip, serialize(t, ip4(layers.IPProtocolESP), payload), 20},
		{"no IP", ip, []byte(secret), 0},
		{"unknown link type", 147, serialize(t, ip4(layers.IPProtocolTCP), tcp()), 0},
		{"nothing", eth, nil, 0},
	}
}

func TestLength(t *testing.T) {
	for _, tt := range packetTests(t) {
		t.Run(tt.name, func(t *testing.T) {
			if got := Length(tt.linkType, tt.packet); got != tt.want {
				t.Errorf("%d of %d bytes are headers, want %d", got, len(tt.packet), tt.want)
			}
			// Cut anywhere, the same headers are headers, as far as they are there.
			for n := range tt.packet {
				got := Length(tt.linkType, tt.packet[:n:n])
				if got > min(n, tt.want) {
					t.Fatalf("cut to %d bytes, %d are headers", n, got)
				}
				if n >= tt.want && got != tt.want {
					t.Fatalf("cut to %d bytes, %d are headers, want %d", n, got, tt.want)
				}
			}
		})
	}
}

func TestLengthOfContradictions(t *testing.T) {
	good := serialize(t, ip4(layers.IPProtocolTCP), tcp(), payload)
	for _, tt := range []struct {
		name     string
		at       int
		old, new byte
		want     int
	}{
		{"TCP header shorter than it can be", 32, 5 << 4, 4 << 4, 20},
		{"IP header shorter than it can be", 0, 0x45, 0x44, 0},
		{"IP packet shorter than its header", 3, byte(len(good)), 19, 0},
		{"IP packet shorter than TCP's header", 3, byte(len(good)), 30, 30},
	} {
		packet := bytes.Clone(good)
		if packet[tt.at] != tt.old {
			t.Fatalf("%s: byte is %#x", tt.name, packet[tt.at])
		}
		packet[tt.at] = tt.new
		if got := Length(wire.LinkTypeRaw, packet); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestTrimBlocks(t *testing.T) {
	var blocks, again []byte
	tests := packetTests(t)
	for i, tt := range tests {
		id := uint32(0)
		if tt.linkType == wire.LinkTypeRaw {
			id = 1
		}
		flags := uint32(i % 3) // without the option too
		blocks = pcapng.AppendEPB(blocks, id, int64(i), uint32(len(tt.packet)), uint32(len(tt.packet))+100, flags, tt.packet)
		if i == 3 {
			p, _, _ := pcapng.NextPacket(blocks[len(blocks)-pcapng.EPBLen(uint32(len(tt.packet)), flags):])
			blocks = append(blocks[:len(blocks)-len(p)], p.AppendCommented(nil, "a comment")...)
		}
	}
	linkTypes := []uint16{wire.LinkTypeEthernet, wire.LinkTypeRaw}
	trimmed, err := TrimBlocks(blocks, linkTypes)
	if err != nil {
		t.Fatal(err)
	}
	if &trimmed[0] != &blocks[0] || strings.Contains(string(trimmed), "swordfish") || !bytes.Contains(trimmed, []byte("a comment")) {
		t.Errorf("%d bytes of %d: %q", len(trimmed), len(blocks), trimmed)
	}
	again = bytes.Clone(trimmed)
	for i, tt := range tests {
		var p pcapng.Packet
		if p, trimmed, err = pcapng.NextPacket(trimmed); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		want := tt.want
		if tt.linkType == 147 {
			want = 14 // here it is taken for Ethernet
		}
		if int(p.CapLen()) != want || int(p.WireLen()) != len(tt.packet)+100 || p.TimeNS() != int64(i) || p.Flags() != uint32(i%3) {
			t.Errorf("%s: %d bytes of %d at %d with flags %d", tt.name, p.CapLen(), p.WireLen(), p.TimeNS(), p.Flags())
		}
		if !bytes.Equal(p.Data(), tt.packet[:want]) {
			t.Errorf("%s: data is %x", tt.name, p.Data())
		}
	}
	if len(trimmed) != 0 {
		t.Errorf("%d bytes are left", len(trimmed))
	}
	twice, err := TrimBlocks(bytes.Clone(again), linkTypes)
	if err != nil || !bytes.Equal(again, twice) {
		t.Errorf("trimmed twice, %d bytes became %d: %v", len(again), len(twice), err)
	}
}

func TestTrimBlocksRefuses(t *testing.T) {
	good := pcapng.AppendEPB(nil, 0, 1, 4, 4, 0, []byte("data"))
	n := len(good)
	for name, blocks := range map[string][]byte{
		"damage":    append(bytes.Clone(good), "what is this, where blocks should be?"...),
		"interface": pcapng.AppendEPB(bytes.Clone(good), 1, 1, 4, 4, 0, []byte("data")),
	} {
		if trimmed, err := TrimBlocks(blocks, []uint16{wire.LinkTypeRaw}); err == nil || len(trimmed) != n {
			t.Errorf("%s: %d bytes, %v", name, len(trimmed), err)
		}
	}
}

func TestTrimBlocksDoesNotAllocate(t *testing.T) {
	var blocks []byte
	for _, tt := range packetTests(t) {
		blocks = pcapng.AppendEPB(blocks, 0, 1, uint32(len(tt.packet)), uint32(len(tt.packet)), pcapng.FlagInbound, tt.packet)
	}
	run, linkTypes := make([]byte, len(blocks)), []uint16{wire.LinkTypeEthernet}
	n := testing.AllocsPerRun(10, func() {
		copy(run, blocks)
		if _, err := TrimBlocks(run, linkTypes); err != nil {
			t.Error(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzLength(f *testing.F) {
	for _, tt := range packetTests(f) {
		f.Add(tt.linkType, tt.packet)
	}
	f.Fuzz(func(t *testing.T, linkType uint16, packet []byte) {
		n := Length(linkType, packet)
		if n < 0 || n > len(packet) {
			t.Fatalf("%d of %d bytes", n, len(packet))
		}
		if again := Length(linkType, packet[:n]); again != n {
			t.Errorf("of the %d bytes of headers, %d are headers", n, again)
		}
	})
}

func FuzzTrimBlocks(f *testing.F) {
	for _, tt := range packetTests(f) {
		f.Add(pcapng.AppendEPB(nil, uint32(tt.linkType%2), 1, uint32(len(tt.packet)), uint32(len(tt.packet)), pcapng.FlagInbound, tt.packet))
	}
	f.Fuzz(func(t *testing.T, blocks []byte) {
		length := len(blocks)
		trimmed, _ := TrimBlocks(blocks, []uint16{wire.LinkTypeEthernet, wire.LinkTypeRaw})
		if len(trimmed) > length {
			t.Fatalf("%d bytes became %d", length, len(trimmed))
		}
		for rest := trimmed; len(rest) > 0; {
			var err error
			if _, rest, err = pcapng.NextPacket(rest); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func BenchmarkTrimBlocks(b *testing.B) {
	packet := serialize(b, ethernet(layers.EthernetTypeIPv4), ip4(layers.IPProtocolTCP), tcp(), gopacket.Payload(make([]byte, 1400)))
	var blocks []byte
	const n = 200
	for range n {
		blocks = pcapng.AppendEPB(blocks, 0, 1, uint32(len(packet)), uint32(len(packet)), pcapng.FlagInbound, packet)
	}
	run, linkTypes := make([]byte, len(blocks)), []uint16{wire.LinkTypeEthernet}
	b.SetBytes(int64(len(blocks)))
	for b.Loop() {
		copy(run, blocks)
		if _, err := TrimBlocks(run, linkTypes); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds()/1e6, "Mpackets/s")
}
