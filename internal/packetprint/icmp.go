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
	icmpLen        = 8
	neighbourLen   = 24 // of a neighbour message, to the end of its target
	igmpLen        = 8
	igmpV3QueryLen = 12
)

// icmp decodes ICMP, in the words of tcpdump.
func (d *decoder) icmp(c *Content, p part) {
	h := &d.icmp4
	if h.DecodeFromBytes(p.b, gopacket.NilDecodeFeedback) != nil {
		c.cut("icmp")
		return
	}
	typ, code := h.TypeCode.Type(), h.TypeCode.Code()
	c.ICMP = &ICMP{Type: typ, Code: code}
	d.layer("ICMP", "type %d, code %d, id %d, seq %d, checksum 0x%04x", typ, code, h.Id, h.Seq, h.Checksum)
	var text string
	switch typ {
	case layers.ICMPv4TypeEchoRequest:
		text = c.ICMP.echo("echo request", h.Id, h.Seq)
	case layers.ICMPv4TypeEchoReply:
		text = c.ICMP.echo("echo reply", h.Id, h.Seq)
	case layers.ICMPv4TypeDestinationUnreachable:
		text = d.unreachable(code, h.Seq, p.skip(icmpLen).b)
	case layers.ICMPv4TypeTimeExceeded:
		text = "time exceeded in-transit"
		if code == layers.ICMPv4CodeFragmentReassemblyTimeExceeded {
			text = "ip reassembly time exceeded"
		}
	case layers.ICMPv4TypeRedirect:
		gateway, _ := netip.AddrFromSlice(p.b[4:icmpLen])
		text = fmt.Sprintf("redirect %s to %s", d.quoted(p.skip(icmpLen).b).host, d.named(gateway))
	default:
		text = fmt.Sprintf("type %d, code %d", typ, code)
	}
	c.say(fmt.Sprintf("ICMP %s, length %d", text, p.wire))
}

func (i *ICMP) echo(name string, id, seq uint16) string {
	i.ID, i.Seq = &id, &seq
	return fmt.Sprintf("%s, id %d, seq %d", name, id, seq)
}

// unreachable says what a packet, of which b is the beginning, has not reached.
func (d *decoder) unreachable(code uint8, mtu uint16, b []byte) string {
	q := d.quoted(b)
	switch code {
	case layers.ICMPv4CodeNet:
		return "net " + q.host + " unreachable"
	case layers.ICMPv4CodeHost:
		return "host " + q.host + " unreachable"
	case layers.ICMPv4CodeProtocol:
		return fmt.Sprintf("%s protocol %d unreachable", q.host, q.protocol)
	case layers.ICMPv4CodePort:
		return q.text() + " unreachable"
	case layers.ICMPv4CodeFragmentationNeeded:
		return fmt.Sprintf("%s unreachable - need to frag (mtu %d)", q.host, mtu)
	case layers.ICMPv4CodeNetAdminProhibited:
		return "net " + q.host + " unreachable - admin prohibited"
	case layers.ICMPv4CodeHostAdminProhibited:
		return "host " + q.host + " unreachable - admin prohibited"
	case layers.ICMPv4CodeCommAdminProhibited:
		return "host " + q.host + " unreachable - admin prohibited filter"
	}
	return fmt.Sprintf("%s unreachable, code %d", q.host, code)
}

// A quote is where a packet wanted to go that an error repeats.
type quote struct {
	host     string
	protocol uint8
	port     string // "tcp port 80", "" if it is not there
}

func (q quote) text() string {
	if q.port == "" {
		return q.host
	}
	return q.host + " " + q.port
}

// quoted reads the beginning of a packet.
func (d *decoder) quoted(b []byte) quote {
	var q quote
	var to []byte
	header := ip6Len
	switch {
	case len(b) >= ip4Len && b[0]>>4 == 4:
		q.protocol, to, header = b[9], b[16:20], int(b[0]&15)*4
	case len(b) >= ip6Len && b[0]>>4 == 6:
		q.protocol, to = b[6], b[24:40]
	default:
		return quote{host: "?"}
	}
	addr, _ := netip.AddrFromSlice(to)
	q.host = d.named(addr)
	name := map[uint8]string{6: "tcp", 17: "udp", 132: "sctp"}[q.protocol]
	if name != "" && header >= ip4Len && len(b) >= header+4 {
		q.port = name + " port " + strconv.Itoa(int(binary.BigEndian.Uint16(b[header+2:])))
	}
	return q
}

// icmpv6 decodes ICMPv6, in the words of tcpdump.
func (d *decoder) icmpv6(c *Content, p part) {
	h := &d.icmp6
	if h.DecodeFromBytes(p.b, gopacket.NilDecodeFeedback) != nil || len(p.b) < icmpLen {
		c.cut("icmp6")
		return
	}
	typ, code := h.TypeCode.Type(), h.TypeCode.Code()
	c.ICMP = &ICMP{Type: typ, Code: code}
	d.layer("ICMPv6", "type %d, code %d, checksum 0x%04x", typ, code, h.Checksum)
	first, second := binary.BigEndian.Uint16(p.b[4:]), binary.BigEndian.Uint16(p.b[6:])
	var text string
	switch typ {
	case layers.ICMPv6TypeEchoRequest:
		text = c.ICMP.echo("echo request", first, second)
	case layers.ICMPv6TypeEchoReply:
		text = c.ICMP.echo("echo reply", first, second)
	case layers.ICMPv6TypeDestinationUnreachable:
		text = d.unreachable6(code, p.skip(icmpLen).b)
	case layers.ICMPv6TypePacketTooBig:
		text = fmt.Sprintf("packet too big, mtu %d", binary.BigEndian.Uint32(p.b[4:]))
	case layers.ICMPv6TypeTimeExceeded:
		text = "time exceeded in-transit for " + d.quoted(p.skip(icmpLen).b).host
	case layers.ICMPv6TypeParameterProblem:
		text = fmt.Sprintf("parameter problem, code %d", code)
	case layers.ICMPv6TypeRouterSolicitation:
		text = "router solicitation"
	case layers.ICMPv6TypeRouterAdvertisement:
		text = "router advertisement"
	case layers.ICMPv6TypeNeighborSolicitation:
		text = d.neighbour("neighbor solicitation, who has ", p)
	case layers.ICMPv6TypeNeighborAdvertisement:
		text = d.neighbour("neighbor advertisement, tgt is ", p)
	case layers.ICMPv6TypeRedirect:
		text = "redirect"
	case layers.ICMPv6TypeMLDv1MulticastListenerQueryMessage:
		text = "multicast listener query"
	case layers.ICMPv6TypeMLDv1MulticastListenerReportMessage:
		text = "multicast listener report"
	case layers.ICMPv6TypeMLDv1MulticastListenerDoneMessage:
		text = "multicast listener done"
	case layers.ICMPv6TypeMLDv2MulticastListenerReportMessageV2:
		text = fmt.Sprintf("multicast listener report v2, %d group record(s)", second)
	default:
		text = fmt.Sprintf("type %d, code %d", typ, code)
	}
	c.say(fmt.Sprintf("ICMP6, %s, length %d", text, p.wire))
}

func (d *decoder) unreachable6(code uint8, b []byte) string {
	q := d.quoted(b)
	switch code {
	case layers.ICMPv6CodeNoRouteToDst:
		return "destination unreachable, unreachable route " + q.host
	case layers.ICMPv6CodeAdminProhibited:
		return "destination unreachable, unreachable prohibited " + q.host
	case layers.ICMPv6CodeAddressUnreachable:
		return "destination unreachable, unreachable address " + q.host
	case layers.ICMPv6CodePortUnreachable:
		return "destination unreachable, unreachable port, " + q.text()
	}
	return fmt.Sprintf("destination unreachable, code %d, %s", code, q.host)
}

// neighbour is a message of neighbour discovery (RFC 4861) with its target.
func (d *decoder) neighbour(text string, p part) string {
	if len(p.b) < neighbourLen {
		return text + "[|icmp6]"
	}
	target, _ := netip.AddrFromSlice(p.b[icmpLen:neighbourLen])
	return text + d.named(target)
}

// igmp decodes IGMP (RFC 1112, RFC 2236, RFC 3376), in the words of tcpdump.
// gopacket's decoder gathers what nobody prints here.
func (d *decoder) igmp(c *Content, p part) {
	if len(p.b) < igmpLen {
		c.cut("igmp")
		return
	}
	group, _ := netip.AddrFromSlice(p.b[4:8])
	var text string
	switch typ := layers.IGMPType(p.b[0]); {
	case typ == layers.IGMPMembershipQuery && p.wire >= igmpV3QueryLen:
		text = "igmp query v3"
	case typ == layers.IGMPMembershipQuery && p.b[1] != 0:
		text = "igmp query v2"
	case typ == layers.IGMPMembershipQuery:
		text = "igmp query v1"
	case typ == layers.IGMPMembershipReportV1:
		text = "igmp v1 report " + group.String()
	case typ == layers.IGMPMembershipReportV2:
		text = "igmp v2 report " + group.String()
	case typ == layers.IGMPLeaveGroup:
		text = "igmp leave " + group.String()
	case typ == layers.IGMPMembershipReportV3:
		text = fmt.Sprintf("igmp v3 report, %d group record(s)", binary.BigEndian.Uint16(p.b[6:]))
	default:
		text = fmt.Sprintf("igmp type 0x%02x", p.b[0])
	}
	d.layer("IGMP", "type 0x%02x, length %d", p.b[0], p.wire)
	c.say(text)
}
