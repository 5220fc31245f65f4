package packetprint

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

const (
	tcpLen       = 20
	udpLen       = 8
	sctpLen      = 12
	sctpChunkLen = 4
	maxChunks    = 16 // in a line
	tunnelLen    = 8  // of VXLAN (RFC 7348), and of Geneve (RFC 8926) without options
)

// Ports by which a protocol is known. Linux's own VXLAN port is older than the
// registered one.
const (
	portDNS        = 53
	portMDNS       = 5353
	portVXLAN      = 4789
	portVXLANLinux = 8472
	portGeneve     = 6081
)

// segment decodes TCP.
func (d *decoder) segment(c *Content, p part) {
	if len(p.b) >= 4 {
		c.ports(binary.BigEndian.Uint16(p.b), binary.BigEndian.Uint16(p.b[2:]))
	}
	if len(p.b) < tcpLen {
		c.cut("tcp")
		return
	}
	header := int(p.b[12]>>4) * 4
	if header < tcpLen || header > p.wire {
		c.bad(fmt.Sprintf("TCP header length %d", header))
		return
	}
	h := &d.tcp
	// An error is one of the options: those before it are there.
	err := h.DecodeFromBytes(p.b, gopacket.NilDecodeFeedback)
	c.TCP = &TCP{
		Flags: tcpFlags(h), RawSeq: h.Seq, RawAck: h.Ack, Window: h.Window, Options: tcpOptions(h.Options), Length: p.wire - header,
	}
	if h.URG {
		c.TCP.Urgent = h.Urgent
	}
	from, to := c.ports(uint16(h.SrcPort), uint16(h.DstPort))
	d.streams.relative(c.TCP, d.iface, from, to, h.SYN, h.ACK)
	c.say(tcpText(c.TCP, h))
	d.layer("TCP", "%d > %d, flags [%s], seq %d, ack %d, win %d, urg %d, checksum 0x%04x, options [%s], header %d bytes",
		h.SrcPort, h.DstPort, c.TCP.Flags, h.Seq, h.Ack, h.Window, h.Urgent, h.Checksum, strings.Join(c.TCP.Options, ","), header)
	switch {
	case header > len(p.b):
		c.cut("tcp")
	case err != nil:
		c.bad("TCP options")
	default:
		d.stream(c, p.skip(header))
	}
}

// stream decodes what a segment carries.
func (d *decoder) stream(c *Content, p part) {
	if len(p.b) == 0 {
		return
	}
	if isDNS(c) && len(p.b) > 2 {
		// The length of the message comes first (RFC 1035, section 4.2.2).
		if length := int(binary.BigEndian.Uint16(p.b)); length >= dnsHeaderLen {
			c.Info += ":"
			d.dns(c, p.skip(2).limit(length), false)
			return
		}
	}
	if !d.http(c, p) {
		d.tls(c, p)
	}
}

func isDNS(c *Content) bool {
	return *c.Source.Port == portDNS || *c.Destination.Port == portDNS
}

// tcpText is the segment in the words of tcpdump. The numbers of a SYN are those
// that the others count from, so they are the raw ones.
func tcpText(t *TCP, h *layers.TCP) string {
	var b strings.Builder
	b.WriteString("Flags [" + t.Flags + "]")
	seq, ack := t.Seq, t.Ack
	if h.SYN {
		seq, ack = t.RawSeq, t.RawAck
	}
	switch {
	case t.Length > 0:
		fmt.Fprintf(&b, ", seq %d:%d", seq, seq+uint32(t.Length))
	case h.SYN || h.FIN || h.RST:
		fmt.Fprintf(&b, ", seq %d", seq)
	}
	if h.ACK {
		fmt.Fprintf(&b, ", ack %d", ack)
	}
	fmt.Fprintf(&b, ", win %d", t.Window)
	if h.URG {
		fmt.Fprintf(&b, ", urg %d", t.Urgent)
	}
	if len(t.Options) > 0 {
		b.WriteString(", options [" + strings.Join(t.Options, ",") + "]")
	}
	fmt.Fprintf(&b, ", length %d", t.Length)
	return b.String()
}

func tcpFlags(h *layers.TCP) string {
	var b []byte
	for _, flag := range []struct {
		set    bool
		letter byte
	}{{h.FIN, 'F'}, {h.SYN, 'S'}, {h.RST, 'R'}, {h.PSH, 'P'}, {h.ACK, '.'}, {h.URG, 'U'}, {h.ECE, 'E'}, {h.CWR, 'W'}, {h.NS, 'e'}} {
		if flag.set {
			b = append(b, flag.letter)
		}
	}
	if len(b) == 0 {
		return "none"
	}
	return string(b)
}

func tcpOptions(options []layers.TCPOption) []string {
	texts := make([]string, 0, len(options))
	for _, o := range options {
		texts = append(texts, tcpOption(o.OptionType, o.OptionData))
	}
	return texts
}

func tcpOption(kind layers.TCPOptionKind, b []byte) string {
	switch {
	case kind == layers.TCPOptionKindEndList:
		return "eol"
	case kind == layers.TCPOptionKindNop:
		return "nop"
	case kind == layers.TCPOptionKindMSS && len(b) == 2:
		return fmt.Sprintf("mss %d", binary.BigEndian.Uint16(b))
	case kind == layers.TCPOptionKindWindowScale && len(b) == 1:
		return fmt.Sprintf("wscale %d", b[0])
	case kind == layers.TCPOptionKindSACKPermitted && len(b) == 0:
		return "sackOK"
	case kind == layers.TCPOptionKindTimestamps && len(b) == 8:
		return fmt.Sprintf("TS val %d ecr %d", binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:]))
	case kind == layers.TCPOptionKindSACK && len(b) > 0 && len(b)%8 == 0:
		text := fmt.Sprintf("sack %d ", len(b)/8)
		for ; len(b) > 0; b = b[8:] {
			text += fmt.Sprintf("{%d:%d}", binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:]))
		}
		return text
	case len(b) == 0:
		return fmt.Sprintf("unknown-%d", kind)
	}
	return fmt.Sprintf("unknown-%d 0x%x", kind, b)
}

// datagram decodes UDP.
func (d *decoder) datagram(c *Content, p part, fragment bool) {
	if len(p.b) >= 4 {
		c.ports(binary.BigEndian.Uint16(p.b), binary.BigEndian.Uint16(p.b[2:]))
	}
	if len(p.b) < udpLen {
		c.cut("udp")
		return
	}
	h := &d.udp
	if h.DecodeFromBytes(p.b, gopacket.NilDecodeFeedback) != nil {
		c.bad(fmt.Sprintf("UDP length %d", h.Length))
		return
	}
	d.layer("UDP", "%d > %d, length %d, checksum 0x%04x", h.SrcPort, h.DstPort, h.Length, h.Checksum)
	length := p.wire
	if h.Length != 0 {
		length = int(h.Length)
	}
	c.UDP = &UDP{Length: length - udpLen}
	if length > p.wire && !fragment {
		c.bad(fmt.Sprintf("UDP length %d > %d", length, p.wire))
		return
	}
	p = p.limit(length).skip(udpLen)
	switch to := uint16(h.DstPort); {
	case isDNS(c) || to == portMDNS || uint16(h.SrcPort) == portMDNS:
		d.dns(c, p, true)
	case to == portVXLAN || to == portVXLANLinux:
		d.vxlan(c, p)
	case to == portGeneve:
		d.geneve(c, p)
	default:
		c.say(fmt.Sprintf("UDP, length %d", c.UDP.Length))
	}
}

func (d *decoder) vxlan(c *Content, p part) {
	if len(p.b) < tunnelLen {
		c.cut("vxlan")
		return
	}
	vni := binary.BigEndian.Uint32(p.b[4:]) >> 8
	d.layer("VXLAN", "vni %d, flags 0x%02x", vni, p.b[0])
	p = p.skip(tunnelLen)
	d.tunnel(c, fmt.Sprintf("VXLAN, vni %d:", vni), func(inner *Content) { d.link(inner, p) }, p)
}

func (d *decoder) geneve(c *Content, p part) {
	if len(p.b) < tunnelLen {
		c.cut("geneve")
		return
	}
	length := tunnelLen + int(p.b[0]&0x3f)*4
	if length > len(p.b) {
		c.cut("geneve")
		return
	}
	typ, vni := layers.EthernetType(binary.BigEndian.Uint16(p.b[2:])), binary.BigEndian.Uint32(p.b[4:])>>8
	d.layer("Geneve", "vni %d, type %s, %d bytes", vni, ethertypeName(typ), length)
	p = p.skip(length)
	d.tunnel(c, fmt.Sprintf("Geneve, vni %d:", vni), func(inner *Content) {
		if typ == layers.EthernetTypeTransparentEthernetBridging {
			d.link(inner, p)
			return
		}
		d.network(inner, typ, p)
	}, p)
}

// association decodes SCTP: the kinds of its chunks.
func (d *decoder) association(c *Content, p part) {
	if d.sctp.DecodeFromBytes(p.b, gopacket.NilDecodeFeedback) != nil {
		c.cut("sctp")
		return
	}
	c.ports(uint16(d.sctp.SrcPort), uint16(d.sctp.DstPort))
	d.layer("SCTP", "%d > %d, tag 0x%08x, checksum 0x%08x", d.sctp.SrcPort, d.sctp.DstPort, d.sctp.VerificationTag, d.sctp.Checksum)
	c.say("SCTP")
	length := p.wire
	p = p.skip(sctpLen)
	for n := 0; p.wire > 0; n++ {
		if n == maxChunks {
			c.say("…")
			break
		}
		if len(p.b) < sctpChunkLen {
			c.cut("sctp")
			break
		}
		size := int(binary.BigEndian.Uint16(p.b[2:]))
		if size < sctpChunkLen || size > p.wire {
			c.bad(fmt.Sprintf("SCTP chunk length %d", size))
			break
		}
		name := chunkName(p.b[0])
		c.say("[" + name + "]")
		d.layer("SCTP", "chunk %s, flags 0x%02x, length %d", name, p.b[1], size)
		size = min((size+3)&^3, p.wire)
		if size > len(p.b) {
			break // the rest is not captured
		}
		p = p.skip(size)
	}
	c.Info += fmt.Sprintf(", length %d", length-sctpLen)
}

// chunkName is the name of a kind of SCTP chunk (RFC 9260, section 3.2).
func chunkName(kind byte) string {
	names := [...]string{
		"DATA", "INIT", "INIT ACK", "SACK", "HB REQ", "HB ACK", "ABORT", "SHUTDOWN", "SHUTDOWN ACK", "OP ERR", "COOKIE ECHO", "COOKIE ACK",
		"ECNE", "CWR", "SHUTDOWN COMPLETE",
	}
	if int(kind) < len(names) {
		return names[kind]
	}
	return fmt.Sprintf("chunk type 0x%02x", kind)
}
