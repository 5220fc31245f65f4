package packetprint

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// Link types (https://www.tcpdump.org/linktypes.html).
const (
	linkNull     = 0
	linkEthernet = 1
	linkRaw      = 101
	linkLoop     = 108
	linkSLL      = 113
	linkIPv4     = 228
	linkIPv6     = 229
	linkSLL2     = 276
)

// Lengths of headers that have no options, in bytes.
const (
	ethernetLen = 14
	vlanLen     = 4
	sllLen      = 16
	sll2Len     = 20
	nullLen     = 4
	arpLen      = 8 // before the addresses
	lengthTop   = 0x600
)

// maxTunnels is how many packets within packets are looked into.
const maxTunnels = 4

// A part is what is left of a packet: the captured bytes, and how many there were.
type part struct {
	b    []byte
	wire int // at least len(b)
}

// skip returns what is behind the first n bytes, which are captured.
func (p part) skip(n int) part { return part{p.b[n:], p.wire - n} }

// limit ends the part after n bytes: what follows is padding.
func (p part) limit(n int) part {
	if n < p.wire {
		return part{p.b[:min(n, len(p.b))], n}
	}
	return p
}

// A decoder turns bytes into a Record. The headers are gopacket's, each decoded on
// its own: what comes next, and how long a packet is that the network card has not
// yet cut into segments, is decided here. Its fields are memory for the next packet.
type decoder struct {
	names   func(netip.Addr) string
	streams *streams
	full    bool
	layers  []string // for Full: one text for each header

	ethernet layers.Ethernet
	vlan     layers.Dot1Q
	arp      layers.ARP
	ip4      layers.IPv4
	ip6      layers.IPv6
	tcp      layers.TCP
	udp      layers.UDP
	sctp     layers.SCTP
	icmp4    layers.ICMPv4
	icmp6    layers.ICMPv6

	iface int
	depth int // of tunnels
}

func newDecoder(names func(netip.Addr) string, full bool) decoder {
	return decoder{names: names, full: full, streams: newStreams()}
}

// decode fills in what data says. r has the lengths.
func (d *decoder) decode(r *Record, iface int, linkType uint16, data []byte) {
	d.layers, d.iface, d.depth = d.layers[:0], iface, 0
	p, c := part{data, r.Length}, &r.Content
	switch linkType {
	case linkEthernet:
		r.Ethernet = d.link(c, p)
	case linkRaw, linkIPv4, linkIPv6, 12, 14: // 12 and 14: as some systems number raw IP
		d.ip(c, p)
	case linkSLL:
		d.cooked(c, p, "SLL", sllLen, 14)
	case linkSLL2:
		d.cooked(c, p, "SLL2", sll2Len, 0)
	case linkNull, linkLoop:
		if len(p.b) < nullLen {
			c.cut("null")
			return
		}
		d.ip(c, p.skip(nullLen))
	default:
		c.say(fmt.Sprintf("link type %d, length %d", linkType, p.wire))
	}
}

// cooked decodes a header of Linux's "any" interface, with the type at an offset.
func (d *decoder) cooked(c *Content, p part, name string, length, typeAt int) {
	if len(p.b) < length {
		c.cut("sll")
		return
	}
	ethertype := layers.EthernetType(binary.BigEndian.Uint16(p.b[typeAt:]))
	d.layer(name, "type %s, %d bytes", ethertypeName(ethertype), length)
	d.network(c, ethertype, p.skip(length))
}

// link decodes an Ethernet frame and its VLAN tags.
func (d *decoder) link(c *Content, p part) *Ethernet {
	if d.ethernet.DecodeFromBytes(p.b, gopacket.NilDecodeFeedback) != nil {
		c.cut("ether")
		return nil
	}
	typ := layers.EthernetType(binary.BigEndian.Uint16(p.b[ethernetLen-2:]))
	frame := &Ethernet{Source: d.ethernet.SrcMAC.String(), Destination: d.ethernet.DstMAC.String(), Type: fmt.Sprintf("0x%04x", uint16(typ))}
	d.layer("Ethernet", "%s > %s, type %s, %d bytes", frame.Source, frame.Destination, ethertypeName(typ), ethernetLen)
	p = p.skip(ethernetLen)
	for typ == layers.EthernetTypeDot1Q || typ == layers.EthernetTypeQinQ || typ == 0x9100 {
		if d.vlan.DecodeFromBytes(p.b, gopacket.NilDecodeFeedback) != nil {
			c.cut("vlan")
			return frame
		}
		typ = d.vlan.Type
		frame.VLANs = append(frame.VLANs, d.vlan.VLANIdentifier)
		d.layer("VLAN", "id %d, priority %d, type %s, %d bytes", d.vlan.VLANIdentifier, d.vlan.Priority, ethertypeName(typ), vlanLen)
		p = p.skip(vlanLen)
	}
	d.network(c, typ, p)
	return frame
}

// network decodes what a link carries.
func (d *decoder) network(c *Content, typ layers.EthernetType, p part) {
	switch {
	case typ == layers.EthernetTypeIPv4 || typ == layers.EthernetTypeIPv6:
		d.ip(c, p)
	case typ == layers.EthernetTypeARP:
		d.arpPacket(c, p)
	case typ >= lengthTop:
		c.say(fmt.Sprintf("ethertype %s, length %d", ethertypeName(typ), p.wire))
	default: // a length (IEEE 802.3)
		if p = p.limit(int(typ)); len(p.b) < 2 {
			c.cut("llc")
			return
		}
		d.layer("LLC", "dsap 0x%02x, ssap 0x%02x", p.b[0], p.b[1])
		c.say(fmt.Sprintf("LLC, length %d", p.wire))
	}
}

// ethertypeName is the name, if there is a common one, and the number.
func ethertypeName(typ layers.EthernetType) string {
	names := map[layers.EthernetType]string{
		layers.EthernetTypeIPv4: "IPv4", layers.EthernetTypeIPv6: "IPv6", layers.EthernetTypeARP: "ARP", layers.EthernetTypeDot1Q: "VLAN",
		layers.EthernetTypeQinQ: "VLAN", layers.EthernetTypeLinkLayerDiscovery: "LLDP", layers.EthernetTypeMPLSUnicast: "MPLS",
		layers.EthernetTypeMPLSMulticast: "MPLS", layers.EthernetTypeEAPOL: "EAPOL", layers.EthernetTypePPPoESession: "PPPoE",
	}
	if name := names[typ]; name != "" {
		return fmt.Sprintf("%s (0x%04x)", name, uint16(typ))
	}
	return fmt.Sprintf("0x%04x", uint16(typ))
}

func (d *decoder) arpPacket(c *Content, p part) {
	c.Protocol = "ARP"
	c.say("ARP,")
	// gopacket adds the lengths up in a byte.
	if len(p.b) < arpLen || len(p.b) < arpLen+2*(int(p.b[4])+int(p.b[5])) {
		c.cut("arp")
		return
	}
	if p.b[4] > 20 || p.b[5] > 16 || d.arp.DecodeFromBytes(p.b, gopacket.NilDecodeFeedback) != nil {
		c.bad(fmt.Sprintf("addresses of %d and %d bytes", p.b[4], p.b[5]))
		return
	}
	a := &d.arp
	c.ARP = &ARP{Operation: fmt.Sprint(a.Operation), SenderMAC: net.HardwareAddr(a.SourceHwAddress).String(), TargetMAC: net.HardwareAddr(a.DstHwAddress).String()}
	sender, ok := netip.AddrFromSlice(a.SourceProtAddress)
	target, _ := netip.AddrFromSlice(a.DstProtAddress)
	if ok {
		c.Source, c.Destination = d.endpoint(sender), d.endpoint(target)
	}
	switch {
	case !ok:
		c.say(fmt.Sprintf("protocol %s, operation %d", ethertypeName(a.Protocol), a.Operation))
	case a.Operation == layers.ARPRequest:
		c.ARP.Operation = "request"
		c.say("Request who-has " + c.Destination.text())
		if c.ARP.TargetMAC != "00:00:00:00:00:00" && c.ARP.TargetMAC != "ff:ff:ff:ff:ff:ff" {
			c.say("(" + c.ARP.TargetMAC + ")")
		}
		c.say("tell " + c.Source.text())
	case a.Operation == layers.ARPReply:
		c.ARP.Operation = "reply"
		c.say("Reply " + c.Source.text() + " is-at " + c.ARP.SenderMAC)
	default:
		c.say(fmt.Sprintf("operation %d, sender %s, target %s", a.Operation, c.Source.text(), c.Destination.text()))
	}
	c.Info += fmt.Sprintf(", length %d", p.wire)
	d.layer("ARP", "%s, sender %s %s, target %s %s", c.ARP.Operation, c.ARP.SenderMAC, sender, c.ARP.TargetMAC, target)
}

// endpoint is an address with its name.
func (d *decoder) endpoint(addr netip.Addr) *Endpoint {
	return &Endpoint{Address: addr, Name: clean(d.names(addr), maxName)}
}

// named is an address as the line has it.
func (d *decoder) named(addr netip.Addr) string { return d.endpoint(addr).text() }
