package packetprint

import (
	"encoding/hex"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// began is when the packets of tests were seen.
func began() time.Time { return time.Date(2026, 11, 22, 15, 4, 5, 123456789, time.UTC) }

// names are those of the tests' addresses.
func names(addr netip.Addr) string {
	return map[string]string{
		"10.0.0.1": "shop/client", "10.96.0.7": "svc shop/web", "10.0.0.2": "shop/web-1", "fd00::1": "shop/client",
	}[addr.String()]
}

// frame makes a packet whose lengths and checksums are right.
func frame(t testing.TB, all ...gopacket.SerializableLayer) []byte {
	t.Helper()
	var network gopacket.NetworkLayer
	for _, layer := range all {
		switch layer := layer.(type) {
		case *layers.IPv4:
			network = layer
		case *layers.IPv6:
			network = layer
		case *layers.TCP:
			_ = layer.SetNetworkLayerForChecksum(network)
		case *layers.UDP:
			_ = layer.SetNetworkLayerForChecksum(network)
		case *layers.ICMPv6:
			_ = layer.SetNetworkLayerForChecksum(network)
		}
	}
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, all...); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func ether(typ layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, EthernetType: typ}
}

func ip4(from, to string, protocol layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 64, Id: 7, Protocol: protocol, SrcIP: net.ParseIP(from).To4(), DstIP: net.ParseIP(to).To4()}
}

func ip6(from, to string, protocol layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: protocol, SrcIP: net.ParseIP(from), DstIP: net.ParseIP(to)}
}

const (
	client = "10.0.0.1"
	server = "10.96.0.7"
	web    = "10.0.0.2"
)

// tcp4 is a segment from the client to the server's port 80, or back.
func tcp4(t testing.TB, back bool, segment layers.TCP, payload string) []byte {
	from, to := client, server
	segment.SrcPort, segment.DstPort, segment.Window = 41552, 80, 64240
	if back {
		from, to, segment.SrcPort, segment.DstPort = to, from, 80, 41552
	}
	return frame(t, ether(layers.EthernetTypeIPv4), ip4(from, to, layers.IPProtocolTCP), &segment, gopacket.Payload(payload))
}

func udp4(t testing.TB, from, to layers.UDPPort, payload []byte) []byte {
	return frame(t, ether(layers.EthernetTypeIPv4), ip4(client, web, layers.IPProtocolUDP), &layers.UDP{SrcPort: from, DstPort: to}, gopacket.Payload(payload))
}

func unhex(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(strings.ReplaceAll(text, " ", ""), "\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A sample is a packet and the line that it has to become, without time and
// interface. exact says that tcpdump has the same line but for the names.
type sample struct {
	name     string
	data     []byte
	want     string
	exact    bool
	linkType uint16 // 0: Ethernet
	wireLen  int    // 0: that of data
}

// handshake is a whole connection with a request.
func handshake(t testing.TB) []sample {
	mss := []layers.TCPOption{
		{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{5, 180}}, {OptionType: layers.TCPOptionKindSACKPermitted, OptionLength: 2},
		{OptionType: layers.TCPOptionKindTimestamps, OptionLength: 10, OptionData: []byte{0, 0, 0, 9, 0, 0, 0, 0}},
		{OptionType: layers.TCPOptionKindNop}, {OptionType: layers.TCPOptionKindWindowScale, OptionLength: 3, OptionData: []byte{7}},
	}
	request := "GET /a?b=1 HTTP/1.1\r\nHost: web.shop\r\n\r\n"
	return []sample{
		{name: "SYN", exact: true, data: tcp4(t, false, layers.TCP{SYN: true, Seq: 123, Options: mss}, ""),
			want: "IP shop/client.41552 > svc shop/web.80: Flags [S], seq 123, win 64240, options [mss 1460,sackOK,TS val 9 ecr 0,nop,wscale 7], length 0"},
		{name: "SYN ACK", exact: true, data: tcp4(t, true, layers.TCP{SYN: true, ACK: true, Seq: 4294967290, Ack: 124}, ""),
			want: "IP svc shop/web.80 > shop/client.41552: Flags [S.], seq 4294967290, ack 124, win 64240, length 0"},
		{name: "ACK", exact: true, data: tcp4(t, false, layers.TCP{ACK: true, Seq: 124, Ack: 4294967291}, ""),
			want: "IP shop/client.41552 > svc shop/web.80: Flags [.], ack 1, win 64240, length 0"},
		{name: "request", exact: true, data: tcp4(t, false, layers.TCP{ACK: true, PSH: true, Seq: 124, Ack: 4294967291}, request),
			want: "IP shop/client.41552 > svc shop/web.80: Flags [P.], seq 1:40, ack 1, win 64240, length 39: HTTP: GET /a?b=1 HTTP/1.1"},
		{name: "response over the wrap", exact: true, data: tcp4(t, true, layers.TCP{ACK: true, PSH: true, Seq: 4294967291, Ack: 163}, "HTTP/1.1 404 Not Found\r\n\r\n"),
			want: "IP svc shop/web.80 > shop/client.41552: Flags [P.], seq 1:27, ack 40, win 64240, length 26: HTTP: HTTP/1.1 404 Not Found"},
		{name: "FIN", exact: true, data: tcp4(t, true, layers.TCP{ACK: true, FIN: true, Seq: 21, Ack: 163}, ""),
			want: "IP svc shop/web.80 > shop/client.41552: Flags [F.], seq 27, ack 40, win 64240, length 0"},
		{name: "RST", data: tcp4(t, false, layers.TCP{RST: true, Seq: 163}, ""),
			want: "IP shop/client.41552 > svc shop/web.80: Flags [R], seq 40, win 64240, length 0"},
		{name: "ports used again", exact: true, data: tcp4(t, false, layers.TCP{SYN: true, Seq: 5000}, ""),
			want: "IP shop/client.41552 > svc shop/web.80: Flags [S], seq 5000, win 64240, length 0"},
		{name: "and answered", exact: true, data: tcp4(t, true, layers.TCP{SYN: true, ACK: true, Seq: 9000, Ack: 5001}, ""),
			want: "IP svc shop/web.80 > shop/client.41552: Flags [S.], seq 9000, ack 5001, win 64240, length 0"},
	}
}

func query() []byte {
	return []byte("\x04\xd2\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03web\x04shop\x03svc\x00\x00\x01\x00\x01")
}

func response(code byte, answers byte, records string) []byte {
	return []byte("\x04\xd2\x81" + string(rune(0)) + "\x00\x01\x00" + string(rune(answers)) + "\x00\x00\x00\x00\x03web\x04shop\x03svc\x00\x00\x01\x00\x01" + records)
}

func dnsSamples(t testing.TB) []sample {
	ok := response(0, 2, "\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x05\x00\x04\x01a\xc0\x10"+"\xc0\x2a\x00\x01\x00\x01\x00\x00\x00\x05\x00\x04\x0a\x00\x00\x01")
	missing := response(0, 0, "")
	missing[3] |= 0x80 | 3
	evil := query()
	copy(evil[13:], "\x1b[2")
	edns := append(query(), "\x00\x00\x29\x10\x00\x00\x00\x00\x00\x00\x00"...)
	edns[11] = 1
	return []sample{
		{name: "query", exact: true, data: udp4(t, 40000, 53, query()), want: "IP shop/client.40000 > shop/web-1.53: 1234+ A? web.shop.svc. (30)"},
		{name: "query with EDNS", exact: true, data: udp4(t, 40000, 53, edns), want: "IP shop/client.40000 > shop/web-1.53: 1234+ [1au] A? web.shop.svc. (41)"},
		{name: "answers", exact: true, data: udp4(t, 53, 40000, ok), want: "IP shop/client.53 > shop/web-1.40000: 1234- 2/0/0 CNAME a.shop.svc., A 10.0.0.1 (62)"},
		{name: "no such name", exact: true, data: udp4(t, 53, 40000, missing), want: "IP shop/client.53 > shop/web-1.40000: 1234 NXDomain 0/0/0 (30)"},
		{name: "escapes in a name", data: udp4(t, 40000, 53, evil), want: `IP shop/client.40000 > shop/web-1.53: 1234+ A? \027[2.shop.svc. (30)`},
		{name: "cut question", data: udp4(t, 40000, 53, query()[:20]), want: "IP shop/client.40000 > shop/web-1.53: 1234+ (20) [bad DNS record]"},
		{name: "short message", data: udp4(t, 40000, 53, query()[:8]), want: "IP shop/client.40000 > shop/web-1.53: [|domain]"},
		{name: "by TCP", data: frame(t, ether(layers.EthernetTypeIPv4), ip4("10.1.1.1", "10.1.1.2", 6), &layers.TCP{SrcPort: 9, DstPort: 53, ACK: true, Window: 1},
			gopacket.Payload("\x00\x1e"+string(query()))),
			want: "IP 10.1.1.1.9 > 10.1.1.2.53: Flags [.], seq 1:33, ack 1, win 1, length 32: 1234+ A? web.shop.svc."},
	}
}

// clientHello is the first message of TLS, with a name and the versions 1.3 and 1.2.
func clientHello(t testing.TB) []byte {
	extensions := unhex(t, "0000 0008 0006 00 0003") // server_name
	extensions = append(extensions, "a.b"...)
	extensions = append(extensions, unhex(t, "0010 0005 0003 02 6832  002b 0007 06 0a0a 0304 0303")...) // ALPN h2, supported_versions
	body := append(unhex(t, "0303"), make([]byte, 32)...)
	body = append(body, unhex(t, "00 0002 1301 01 00")...)
	body = append(append(body, 0, byte(len(extensions))), extensions...)
	message := append([]byte{1, 0, 0, byte(len(body))}, body...)
	return append([]byte{22, 3, 1, 0, byte(len(message))}, message...)
}

func otherSamples(t testing.TB) []sample {
	arp := func(operation uint16, target net.HardwareAddr) []byte {
		return frame(t, ether(layers.EthernetTypeARP), &layers.ARP{AddrType: 1, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
			Operation: operation, SourceHwAddress: net.HardwareAddr{2, 0, 0, 0, 0, 1}, SourceProtAddress: []byte{10, 0, 0, 1}, DstHwAddress: target, DstProtAddress: []byte{10, 0, 0, 9}})
	}
	icmp := func(typ, code uint8, id, seq uint16, payload []byte) []byte {
		return frame(t, ether(layers.EthernetTypeIPv4), ip4(web, client, layers.IPProtocolICMPv4),
			&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(typ, code), Id: id, Seq: seq}, gopacket.Payload(payload))
	}
	icmp6 := func(typ, code uint8, payload []byte) []byte {
		return frame(t, ether(layers.EthernetTypeIPv6), ip6("fd00::1", "fd00::2", layers.IPProtocolICMPv6),
			&layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(typ, code)}, gopacket.Payload(payload))
	}
	inner := udp4(t, 7, 53, query())[14:]
	vlan := frame(t, ether(layers.EthernetTypeDot1Q), &layers.Dot1Q{VLANIdentifier: 42, Type: layers.EthernetTypeIPv4}, ip4(client, web, layers.IPProtocolUDP),
		&layers.UDP{SrcPort: 1, DstPort: 2}, gopacket.Payload("abc"))
	first, later := ip4(client, web, layers.IPProtocolUDP), ip4(client, web, layers.IPProtocolUDP)
	first.Flags, later.FragOffset = layers.IPv4MoreFragments, 185
	hello := clientHello(t)
	return []sample{
		{name: "UDP", exact: true, data: udp4(t, 1, 2, []byte("abc")), want: "IP shop/client.1 > shop/web-1.2: UDP, length 3"},
		{name: "UDP over IPv6", exact: true, data: frame(t, ether(layers.EthernetTypeIPv6), ip6("fd00::1", "fd00::2", 17), &layers.UDP{SrcPort: 1, DstPort: 2}, gopacket.Payload("abc")),
			want: "IP6 shop/client.1 > fd00::2.2: UDP, length 3"},
		{name: "VLAN", data: vlan, want: "vlan 42, IP shop/client.1 > shop/web-1.2: UDP, length 3"},
		{name: "ARP request", exact: true, data: arp(1, make([]byte, 6)), want: "ARP, Request who-has 10.0.0.9 tell shop/client, length 46"},
		{name: "ARP reply", exact: true, data: arp(2, net.HardwareAddr{2, 0, 0, 0, 0, 9}), want: "ARP, Reply shop/client is-at 02:00:00:00:00:01, length 46"},
		{name: "ping", exact: true, data: icmp(8, 0, 5, 6, []byte("abcd")), want: "IP shop/web-1 > shop/client: ICMP echo request, id 5, seq 6, length 12"},
		{name: "unreachable port", exact: true, data: icmp(3, 3, 0, 0, inner), want: "IP shop/web-1 > shop/client: ICMP shop/web-1 udp port 53 unreachable, length 66"},
		{name: "need to fragment", exact: true, data: icmp(3, 4, 0, 1400, inner), want: "IP shop/web-1 > shop/client: ICMP shop/web-1 unreachable - need to frag (mtu 1400), length 66"},
		{name: "time exceeded", exact: true, data: icmp(11, 0, 0, 0, inner), want: "IP shop/web-1 > shop/client: ICMP time exceeded in-transit, length 66"},
		{name: "ping6", exact: true, data: icmp6(128, 0, []byte{0, 5, 0, 6, 1, 2, 3, 4}), want: "IP6 shop/client > fd00::2: ICMP6, echo request, id 5, seq 6, length 12"},
		{name: "neighbour", exact: true, data: icmp6(135, 0, append(make([]byte, 4), net.ParseIP("fd00::9")...)),
			want: "IP6 shop/client > fd00::2: ICMP6, neighbor solicitation, who has fd00::9, length 24"},
		{name: "IGMP", exact: true, data: frame(t, ether(layers.EthernetTypeIPv4), ip4(client, "224.0.0.22", 2), gopacket.Payload(unhex(t, "2200 f9fd 0000 0001 0400 0000 e000 00fb"))),
			want: "IP shop/client > 224.0.0.22: igmp v3 report, 1 group record(s)"},
		{name: "IP in IP", exact: true, data: frame(t, ether(layers.EthernetTypeIPv4), ip4("192.168.0.1", "192.168.0.2", 4), gopacket.Payload(udp4(t, 1, 2, []byte("abc"))[14:])),
			want: "IP 192.168.0.1 > 192.168.0.2: IP shop/client.1 > shop/web-1.2: UDP, length 3"},
		{name: "VXLAN", data: udp4(t, 5000, 8472, append(unhex(t, "08000000 00000100"), udp4(t, 1, 2, []byte("abc"))...)),
			want: "IP shop/client.5000 > shop/web-1.8472: VXLAN, vni 1: IP shop/client.1 > shop/web-1.2: UDP, length 3"},
		{name: "Geneve", data: udp4(t, 5000, 6081, append(unhex(t, "01006558 00000500 00000000"), udp4(t, 1, 2, []byte("abc"))...)),
			want: "IP shop/client.5000 > shop/web-1.6081: Geneve, vni 5: IP shop/client.1 > shop/web-1.2: UDP, length 3"},
		{name: "SCTP", data: frame(t, ether(layers.EthernetTypeIPv4), ip4(client, web, 132), &layers.SCTP{SrcPort: 5, DstPort: 6}, gopacket.Payload(unhex(t, "01000014 00000001 0001a000 000a ffff 00000001"))),
			want: "IP shop/client.5 > shop/web-1.6: SCTP [INIT], length 20"},
		{name: "first fragment", data: frame(t, ether(layers.EthernetTypeIPv4), first, &layers.UDP{SrcPort: 1, DstPort: 2}, gopacket.Payload("12345678")),
			want: "IP shop/client.1 > shop/web-1.2: UDP, length 8 (frag 7:16@0+)"},
		{name: "later fragment", data: frame(t, ether(layers.EthernetTypeIPv4), later, gopacket.Payload("12345678")), want: "IP shop/client > shop/web-1: UDP (frag 7:8@1480)"},
		{name: "GRE", data: frame(t, ether(layers.EthernetTypeIPv4), ip4(client, web, 47), gopacket.Payload("1234")), want: "IP shop/client > shop/web-1: GRE, length 4"},
		{name: "unknown protocol", data: frame(t, ether(layers.EthernetTypeIPv4), ip4(client, web, 253), gopacket.Payload("1234")), want: "IP shop/client > shop/web-1: ip-proto-253, length 4"},
		{name: "LLDP", data: frame(t, ether(layers.EthernetTypeLinkLayerDiscovery), gopacket.Payload("1234")), want: "ethertype LLDP (0x88cc), length 46"},
		{name: "LLC", data: unhex(t, "0180c2000000 020000000001 0003 424203 0000"), want: "LLC, length 3"},
		{name: "ClientHello", data: frame(t, ether(layers.EthernetTypeIPv4), ip4("10.1.1.3", "10.1.1.4", 6), &layers.TCP{SrcPort: 9, DstPort: 8443, ACK: true, Window: 1}, gopacket.Payload(hello)),
			want: "IP 10.1.1.3.9 > 10.1.1.4.8443: Flags [.], seq 1:85, ack 1, win 1, length 84: TLS ClientHello, TLS 1.3, SNI a.b"},
		{name: "half a ClientHello", data: frame(t, ether(layers.EthernetTypeIPv4), ip4("10.1.1.5", "10.1.1.4", 6), &layers.TCP{SrcPort: 9, DstPort: 8443, ACK: true, Window: 1}, gopacket.Payload(hello[:70])),
			want: "IP 10.1.1.5.9 > 10.1.1.4.8443: Flags [.], seq 1:71, ack 1, win 1, length 70: TLS ClientHello, TLS 1.2, SNI a.b [|tls]"},
		{name: "IPv6 extensions", data: ip6Raw(t, "3c00 0000 0000 0000"+"1100 0000 0000 0000"+"0001 0002 000b 0000 616263", 0),
			want: "IP6 shop/client.1 > fd00::2.2: UDP, length 3"},
		{name: "IPv6 fragment", data: ip6Raw(t, "1100 0001 00000009"+"0001 0002 0100 0000 616263", 44), want: "IP6 shop/client.1 > fd00::2.2: UDP, length 248 (frag 9:11@0+)"},
		{name: "later IPv6 fragment", data: ip6Raw(t, "1100 0010 00000009"+"61626364", 44), want: "IP6 shop/client > fd00::2: UDP (frag 9:4@16)"},
		{name: "unreachable port of IPv6", data: icmp6(1, 4, append(make([]byte, 4), ip6Raw(t, "0001 0035 0008 0000", 17)[14:]...)),
			want: "IP6 shop/client > fd00::2: ICMP6, destination unreachable, unreachable port, fd00::2 udp port 53, length 56"},
		{name: "more than IP can tell", data: bigSegment(t), want: "IP 10.2.0.1.9 > 10.2.0.2.10: Flags [.], seq 1:70001, ack 1, win 1, length 70000"},
		{name: "many tunnels", data: tunnels(t, 6), want: "IP 10.2.0.1 > 10.2.0.2: IP 10.2.0.1 > 10.2.0.2: IP 10.2.0.1 > 10.2.0.2: IP 10.2.0.1 > 10.2.0.2: IP 10.2.0.1 > 10.2.0.2: another tunnel, length 20"},
		{name: "raw IP", linkType: linkRaw, data: udp4(t, 1, 2, []byte("abc"))[14:], want: "IP shop/client.1 > shop/web-1.2: UDP, length 3"},
		{name: "cooked", linkType: linkSLL, data: append(unhex(t, "0004 0001 0006 020000000001 0000 0800"), udp4(t, 1, 2, []byte("abc"))[14:]...), want: "IP shop/client.1 > shop/web-1.2: UDP, length 3"},
		{name: "cooked 2", linkType: linkSLL2, data: append(unhex(t, "0800 0000 00000002 0001 04 06 0200000000010000"), udp4(t, 1, 2, []byte("abc"))[14:]...), want: "IP shop/client.1 > shop/web-1.2: UDP, length 3"},
		{name: "other link", linkType: 105, data: []byte("abc"), want: "link type 105, length 3"},
	}
}

// ip6Raw is a packet from fd00::1 to fd00::2 with these bytes behind its header.
func ip6Raw(t testing.TB, text string, next layers.IPProtocol) []byte {
	payload := unhex(t, text)
	b := append(unhex(t, "020000000002 020000000001 86dd 60000000"), 0, byte(len(payload)), byte(next), 64)
	b = append(append(b, net.ParseIP("fd00::1")...), net.ParseIP("fd00::2")...)
	return append(b, payload...)
}

// bigSegment is what a network card has not cut into segments yet: IP's length is 0.
func bigSegment(t testing.TB) []byte {
	b := append(unhex(t, "020000000002 020000000001 0800 4500 0000 0000 0000 40 06 0000 0a020001 0a020002"+
		"0009 000a 00000001 00000001 5010 0001 0000 0000"), make([]byte, 70000)...)
	return b
}

// tunnels is a packet in a packet, so many times.
func tunnels(t testing.TB, n int) []byte {
	b := unhex(t, "020000000002 020000000001 0800")
	for i := range n {
		b = append(append(b, unhex(t, "4500")...), 0, byte(20*(n-i)))
		b = append(b, unhex(t, "0000 0000 40 04 0000 0a020001 0a020002")...)
	}
	return b
}

func brokenSamples(t testing.TB) []sample {
	syn := tcp4(t, false, layers.TCP{SYN: true, Seq: 123, SrcPort: 1}, "")
	change := func(at int, value byte) []byte {
		b := append([]byte(nil), syn...)
		b[at] = value
		return b
	}
	evil := tcp4(t, false, layers.TCP{ACK: true, Seq: 124, Ack: 1}, "GET /\x1b[2J\xff\u202e HTTP/1.1\r\n")
	big := udp4(t, 1, 2, make([]byte, 100))
	return []sample{
		{name: "nothing", want: "[|ether]"},
		{name: "cut in Ethernet", data: syn[:13], wireLen: 54, want: "[|ether]"},
		{name: "LLC of no length", data: unhex(t, "0180c2000000 020000000001 0000 424203"), want: "[|llc]"},
		{name: "cut before IP", data: syn[:14], wireLen: 54, want: "[|ip]"},
		{name: "cut in IP", data: syn[:30], wireLen: 54, want: "IP [|ip]"},
		{name: "cut in TCP", data: syn[:40], wireLen: 54, want: "IP shop/client.41552 > svc shop/web.80: [|tcp]"},
		{name: "cut in UDP", data: big[:36], wireLen: len(big), want: "IP shop/client > shop/web-1: [|udp]"},
		{name: "cut payload", data: big[:60], wireLen: len(big), want: "IP shop/client.1 > shop/web-1.2: UDP, length 100"},
		{name: "cut ARP", data: unhex(t, "ffffffffffff 020000000001 0806 0001 0800 06 04 0001 020000000001"), wireLen: 60, want: "ARP, [|arp]"},
		{name: "ARP with addresses whose lengths overflow", data: append(unhex(t, "ffffffffffff 020000000001 0806 0001 0800 ff ff 0001"), make([]byte, 1100)...), want: "ARP, [addresses of 255 and 255 bytes]"},
		{name: "IP version", data: change(14, 0x55), want: "IP [version 5]"},
		{name: "IP header length", data: change(14, 0x44), want: "IP [header length 16]"},
		{name: "IP length", data: change(17, 10), want: "IP [length 10, header length 20]"},
		{name: "TCP header length", data: change(46, 0x40), want: "IP shop/client.41552 > svc shop/web.80: [TCP header length 16]"},
		{name: "TCP header beyond IP", data: change(46, 0xf0), want: "IP shop/client.41552 > svc shop/web.80: [TCP header length 60]"},
		{name: "UDP length", data: func() []byte { b := append([]byte(nil), big...); b[38], b[39] = 1, 0; return b }(), want: "IP shop/client.1 > shop/web-1.2: [UDP length 256 > 108]"},
		{name: "escapes in HTTP", data: evil, want: "IP shop/client.41552 > svc shop/web.80: Flags [.], seq 1:25, ack 1, win 64240, length 24: HTTP: GET /[2J\uFFFD HTTP/1.1"},
	}
}
