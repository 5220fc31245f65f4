package pcapfilter

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

func (g *generator) match(m *match) condition {
	q := m.qualifier
	switch {
	case q.object:
		return g.object(m)
	case q.kind == "gateway":
		m.fail("write ether host MAC and not host ADDRESS", `"gateway" needs names of Ethernet hosts, which are not known here`)
	case m.id.kind == idMAC:
		return g.mac(m)
	case m.id.kind == idIPv6:
		return g.ipv6(m)
	case m.id.kind == idIPv4:
		return g.ipv4(m)
	case q.kind == "port" || q.kind == "portrange":
		return g.port(m)
	case q.kind == "proto":
		return g.protocolID(m)
	case m.id.kind == idNumber:
		return g.hostNumber(m)
	case q.kind == "net":
		m.fail("write its address, as in net 10.0.0.0/8", "unknown network %q", m.id.text)
	}
	return g.hostName(m)
}

func (g *generator) mac(m *match) condition {
	q := m.qualifier
	if q.protocol != "ether" || q.kind != "" && q.kind != "host" {
		m.fail("write ether host "+m.id.text, "an Ethernet address can only come after ether host, ether src or ether dst")
	}
	return g.etherHost(m.place, q.direction, parseMAC(m.id.text))
}

// parseMAC reads what the lexer takes for an Ethernet address: twelve digits, or
// parts with one sign between them.
func parseMAC(text string) net.HardwareAddr {
	parts := strings.FieldsFunc(text, func(r rune) bool { return r == ':' || r == '-' || r == '.' })
	var digits strings.Builder
	for _, part := range parts {
		if len(part) == 1 {
			digits.WriteByte('0')
		}
		digits.WriteString(part)
	}
	n, _ := strconv.ParseUint(digits.String(), 16, 64)
	return binary.BigEndian.AppendUint64(nil, n)[2:]
}

func ipv4Number(a netip.Addr) uint32 {
	four := a.As4()
	return binary.BigEndian.Uint32(four[:])
}

// dotted reads two to four decimal numbers, which are the first bytes of an
// address, and returns how many bits they are. Leading zeros mean nothing.
func (m *match) dotted(text string) (address, bits uint32) {
	for part := range strings.SplitSeq(text, ".") {
		n, err := strconv.ParseUint(part, 10, 8)
		if err != nil {
			m.fail("", "%q is not an IPv4 address: its numbers go from 0 to 255", text)
		}
		address, bits = address<<8|uint32(n), bits+8
	}
	return address << (32 - bits), bits
}

func leading(bits uint32) uint32 { return ^uint32(0xffffffff >> bits) }

func (g *generator) ipv4(m *match) condition {
	q := m.qualifier
	if q.kind == "port" || q.kind == "portrange" || q.kind == "proto" {
		m.fail("", "%q cannot qualify an IPv4 address", q.kind)
	}
	if q.protocol == "decnet" && m.id.prefix == nil && m.id.mask == "" {
		return g.decnet(m, decnetNumber(m.id.text))
	}
	address, bits := m.dotted(m.id.text)
	mask := leading(bits)
	switch {
	case m.id.mask != "":
		mask, _ = m.dotted(m.id.mask)
	case m.id.prefix != nil && *m.id.prefix > 32:
		m.fail("", "/%d is longer than an IPv4 address: at most /32", *m.id.prefix)
	case m.id.prefix != nil:
		mask = leading(*m.id.prefix)
	}
	if m.id.mask != "" || m.id.prefix != nil {
		if address&^mask != 0 {
			m.fail("write net "+ipv4Text(address&mask)+strings.TrimPrefix(m.text(), m.id.text), "%q has bits set after its network part", m.text())
		}
		if q.kind != "net" {
			m.fail("write net "+m.text(), "only a net can have a mask")
		}
	}
	return g.host4(m, address, mask)
}

func ipv4Text(n uint32) string {
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, n))).String()
}

// hostNumber is a single number as an address. Of a net it is the first bytes.
func (g *generator) hostNumber(m *match) condition {
	q, n, mask := m.qualifier, m.id.number, uint32(0xffffffff)
	switch {
	case q.protocol == "decnet":
		return g.decnet(m, uint16(n))
	case q.protocol == "ether":
		m.fail("six bytes in hexadecimal, as in 02:42:ac:11:00:02", "%d is not an Ethernet address", n)
	case q.kind == "net":
		for n != 0 && n&0xff000000 == 0 {
			n, mask = n<<8, mask<<8
		}
	}
	return g.host4(m, n, mask)
}

// host4 tests for an IPv4 address in IP, ARP and RARP, or in one of them.
func (g *generator) host4(m *match, address, mask uint32) condition {
	in := func(etype, source, destination uint32) condition {
		return directed(m.qualifier.direction, func(isSource bool) condition {
			at := destination
			if isSource {
				at = source
			}
			return both{g.linkType(m.place, etype), g.masked(g.net(), at, 4, address, mask)}
		})
	}
	switch m.qualifier.protocol {
	case "":
		if g.labels > 0 {
			return in(typeIPv4, 12, 16)
		}
		return some(in(typeIPv4, 12, 16), in(typeARP, 14, 24), in(typeRARP, 14, 24))
	case "ip":
		return in(typeIPv4, 12, 16)
	case "arp":
		return in(typeARP, 14, 24)
	case "rarp":
		return in(typeRARP, 14, 24)
	case "decnet":
		return g.decnet(m, uint16(address))
	}
	m.wrongProtocol("an IPv4 address")
	return nil
}

func (m *match) wrongProtocol(what string) {
	hint := ""
	switch p := m.qualifier.protocol; p {
	case "tcp", "udp", "sctp", "icmp", "icmp6", "igmp", "pim", "ah", "esp":
		kind := m.qualifier.kind
		if kind == "" {
			kind = "host"
		}
		if m.id.kind == idNumber && m.qualifier.kind == "" {
			hint = "write " + strings.TrimSpace(p+" "+m.qualifier.direction) + " port " + m.text()
			break
		}
		hint = "write " + p + " and " + strings.TrimSpace(m.qualifier.direction+" "+kind) + " " + m.text()
	}
	m.fail(hint, "%q cannot qualify %s", m.qualifier.protocol, what)
}

func (g *generator) ipv6(m *match) condition {
	q, prefix := m.qualifier, uint32(128)
	if q.kind == "port" || q.kind == "portrange" || q.kind == "proto" {
		m.fail("", "%q cannot qualify an IPv6 address", q.kind)
	}
	if m.id.prefix != nil {
		prefix = *m.id.prefix
	}
	if prefix > 128 {
		m.fail("", "/%d is longer than an IPv6 address: at most /128", prefix)
	}
	if network := netip.PrefixFrom(m.id.address, int(prefix)).Masked(); network.Addr() != m.id.address {
		m.fail("write net "+network.String(), "%q has bits set after its network part", m.text())
	}
	if prefix != 128 && q.kind != "net" {
		m.fail("write net "+m.text(), "only a net can have a mask")
	}
	return g.host6(m, m.id.address, prefix)
}

func (g *generator) host6(m *match, address netip.Addr, prefix uint32) condition {
	if m.qualifier.protocol != "" && m.qualifier.protocol != "ip6" {
		m.wrongProtocol("an IPv6 address")
	}
	return directed(m.qualifier.direction, func(source bool) condition {
		at := uint32(24)
		if source {
			at = 8
		}
		tests := []condition{g.linkType(m.place, typeIPv6)}
		bytes := address.As16()
		for i := uint32(0); i < 4; i++ {
			bits := min(32, max(prefix, 32*i)-32*i)
			tests = append(tests, g.masked(g.net(), at+4*i, 4, binary.BigEndian.Uint32(bytes[4*i:]), leading(bits)))
		}
		return all(tests...)
	})
}
