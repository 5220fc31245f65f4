package packetprint

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

const (
	ip4Len       = 20
	ip6Len       = 40
	extensionLen = 8 // the least
	maxIPv4      = 1<<16 - 1
)

// ip decodes a packet of either version.
func (d *decoder) ip(c *Content, p part) {
	switch {
	case len(p.b) == 0:
		c.cut("ip")
	case p.b[0]>>4 == 4:
		d.ipv4(c, p)
	case p.b[0]>>4 == 6:
		d.ipv6(c, p)
	default:
		c.label = "IP"
		c.bad(fmt.Sprintf("version %d", p.b[0]>>4))
	}
}

func (d *decoder) ipv4(c *Content, p part) {
	c.label = "IP"
	if len(p.b) < ip4Len {
		c.cut("ip")
		return
	}
	header, total := int(p.b[0]&15)*4, int(binary.BigEndian.Uint16(p.b[2:]))
	switch {
	case header < ip4Len:
		c.bad(fmt.Sprintf("header length %d", header))
		return
	case total != 0 && total < header:
		c.bad(fmt.Sprintf("length %d, header length %d", total, header))
		return
	case header > len(p.b):
		c.cut("ip")
		return
	}
	if total != 0 { // 0: longer than the field can tell, as segments that Linux has not cut yet
		p = p.limit(total)
	}
	ip := &d.ip4
	if err := ip.DecodeFromBytes(p.b[:min(len(p.b), maxIPv4)], gopacket.NilDecodeFeedback); err != nil {
		c.Malformed = "IP options"
	}
	source, _ := netip.AddrFromSlice(ip.SrcIP)
	destination, _ := netip.AddrFromSlice(ip.DstIP)
	c.Source, c.Destination = d.endpoint(source), d.endpoint(destination)
	offset, more := int(ip.FragOffset)*8, ip.Flags&layers.IPv4MoreFragments != 0
	c.IP = &IP{Version: 4, TTL: ip.TTL, ID: uint32(ip.Id), FragmentOffset: offset, MoreFragments: more}
	d.layer("IPv4", "%s > %s, %s, ttl %d, tos 0x%x, id %d, flags [%s], offset %d, length %d, header %d bytes",
		source, destination, protocolText(uint8(ip.Protocol)), ip.TTL, ip.TOS, ip.Id, ip.Flags, offset, total, header)
	p = p.skip(header)
	if offset == 0 {
		d.transport(c, uint8(ip.Protocol), p, more)
	}
	d.fragment(c, uint8(ip.Protocol), p)
}

// fragment says which part of a packet this is.
func (d *decoder) fragment(c *Content, protocol uint8, p part) {
	if c.IP.FragmentOffset == 0 && !c.IP.MoreFragments {
		return
	}
	if c.IP.FragmentOffset != 0 {
		c.Protocol = protocolName(protocol)
		c.say(protocolText(protocol))
	}
	more := ""
	if c.IP.MoreFragments {
		more = "+"
	}
	c.say(fmt.Sprintf("(frag %d:%d@%d%s)", c.IP.ID, p.wire, c.IP.FragmentOffset, more))
}

func (d *decoder) ipv6(c *Content, p part) {
	c.label = "IP6"
	if len(p.b) < ip6Len {
		c.cut("ip6")
		return
	}
	ip := &d.ip6
	// Only the fixed header is gopacket's matter, and that it finds even if it misses
	// what follows.
	_ = ip.DecodeFromBytes(p.b[:ip6Len], gopacket.NilDecodeFeedback)
	source, _ := netip.AddrFromSlice(ip.SrcIP)
	destination, _ := netip.AddrFromSlice(ip.DstIP)
	c.Source, c.Destination = d.endpoint(source), d.endpoint(destination)
	c.IP = &IP{Version: 6, TTL: ip.HopLimit}
	d.layer("IPv6", "%s > %s, %s, hop limit %d, class 0x%x, flow 0x%x, length %d",
		source, destination, protocolText(uint8(ip.NextHeader)), ip.HopLimit, ip.TrafficClass, ip.FlowLabel, ip.Length)
	p = p.skip(ip6Len)
	if ip.Length != 0 { // 0: as in ipv4, or a jumbogram (RFC 2675)
		p = p.limit(int(ip.Length))
	}
	d.extensions(c, uint8(ip.NextHeader), p)
}

// extensions passes IPv6's extension headers. Each step passes some bytes, so it
// ends.
func (d *decoder) extensions(c *Content, next uint8, p part) {
	for {
		name := map[uint8]string{0: "hop-by-hop", 43: "routing", 44: "fragment", 51: "AH", 60: "destination", 135: "mobility"}[next]
		if name == "" {
			d.transport(c, next, p, c.IP.MoreFragments)
			d.fragment(c, next, p)
			return
		}
		if len(p.b) < extensionLen {
			c.Protocol = protocolName(next)
			c.cut("ip6")
			return
		}
		length := extensionLen
		switch next {
		case 44:
			fields := binary.BigEndian.Uint16(p.b[2:])
			c.IP.ID, c.IP.FragmentOffset, c.IP.MoreFragments = binary.BigEndian.Uint32(p.b[4:]), int(fields&^7), fields&1 != 0
		case 51:
			length = (int(p.b[1]) + 2) * 4
		default:
			length = (int(p.b[1]) + 1) * 8
		}
		if length > len(p.b) {
			c.cut("ip6")
			return
		}
		d.layer("IPv6 ext", "%s, %s, %d bytes", name, protocolText(p.b[0]), length)
		next, p = p.b[0], p.skip(length)
		if c.IP.FragmentOffset != 0 {
			d.fragment(c, next, p)
			return
		}
	}
}

// protocolName is the name of an IP protocol for programs.
func protocolName(number uint8) string {
	names := map[uint8]string{
		1: "ICMP", 2: "IGMP", 4: "IPIP", 6: "TCP", 17: "UDP", 41: "IPv6", 47: "GRE", 50: "ESP", 51: "AH", 58: "ICMPv6", 59: "none",
		89: "OSPF", 103: "PIM", 112: "VRRP", 115: "L2TP", 132: "SCTP", 136: "UDP-Lite",
	}
	if name := names[number]; name != "" {
		return name
	}
	return strconv.Itoa(int(number))
}

// protocolText is the name of an IP protocol for people.
func protocolText(number uint8) string {
	name := protocolName(number)
	if name[0] <= '9' {
		return "ip-proto-" + name
	}
	return name
}

// transport decodes what IP carries: of the first fragment, the beginning.
func (d *decoder) transport(c *Content, protocol uint8, p part, fragment bool) {
	c.Protocol = protocolName(protocol)
	switch protocol {
	case 1:
		d.icmp(c, p)
	case 2:
		d.igmp(c, p)
	case 4, 41:
		d.tunnel(c, "", func(inner *Content) { d.ip(inner, p) }, p)
	case 6:
		d.segment(c, p)
	case 17:
		d.datagram(c, p, fragment)
	case 58:
		d.icmpv6(c, p)
	case 132:
		d.association(c, p)
	default:
		c.say(fmt.Sprintf("%s, length %d", protocolText(protocol), p.wire))
	}
}

// tunnel decodes a packet in this one, of the rest p.
func (d *decoder) tunnel(c *Content, title string, decode func(*Content), p part) {
	c.say(title)
	if d.depth == maxTunnels {
		c.say(fmt.Sprintf("another tunnel, length %d", p.wire))
		return
	}
	d.depth++
	c.Inner = new(Content)
	decode(c.Inner)
	d.depth--
	c.say(c.Inner.text())
}

// ports sets both ports, and returns both ends.
func (c *Content) ports(source, destination uint16) (from, to netip.AddrPort) {
	c.Source.Port, c.Destination.Port = &source, &destination
	return netip.AddrPortFrom(c.Source.Address, source), netip.AddrPortFrom(c.Destination.Address, destination)
}
