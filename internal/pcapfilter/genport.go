package pcapfilter

// transport4 is where the header after IPv4 is.
func (g *generator) transport4() offset {
	at := g.net()
	return offset{g.headerLength(at.base, at.k), at.k}
}

// transport6 is where the header after IPv6 is, without extension headers.
func (g *generator) transport6() offset { return g.net().plus(40) }

// portTest makes a condition for ports in a transport header.
type portTest func(transport offset) condition

func (g *generator) portIs(direction string, port uint32) portTest {
	return func(transport offset) condition {
		return directed(direction, func(source bool) condition {
			return g.equal(transport, portOffset(source), 2, port)
		})
	}
}

func (g *generator) portBetween(direction string, low, high uint32) portTest {
	low, high = min(low, high), max(low, high)
	return func(transport offset) condition {
		return directed(direction, func(source bool) condition {
			port := g.at(transport, portOffset(source), 2)
			return both{test{opJge, port, g.constant(low)}, inverse{test{opJgt, port, g.constant(high)}}}
		})
	}
}

func portOffset(source bool) uint32 {
	if source {
		return 0
	}
	return 2
}

// port4 tests ports in IPv4, of one protocol or, for 0, of any that has them.
func (g *generator) port4(at place, protocol uint32, ports portTest) condition {
	is := g.linkType(at, typeIPv4)
	return both{is, anyProtocol(protocol, func(protocol uint32) condition {
		return all(g.equal(g.net(), 9, 1, protocol), g.firstFragment(), ports(g.transport4()))
	})}
}

// port6 is port4 for IPv6, where the header must come directly after IPv6's.
func (g *generator) port6(at place, protocol uint32, ports portTest) condition {
	is := g.linkType(at, typeIPv6)
	return both{is, anyProtocol(protocol, func(protocol uint32) condition {
		return both{g.equal(g.net(), 6, 1, protocol), ports(g.transport6())}
	})}
}

func anyProtocol(protocol uint32, test func(protocol uint32) condition) condition {
	if protocol != 0 {
		return test(protocol)
	}
	return some(test(protocolSCTP), test(protocolTCP), test(protocolUDP))
}

// firstFragment tests that an IPv4 packet has the beginning of its payload.
func (g *generator) firstFragment() condition {
	return inverse{test{opJset, g.at(g.net(), 6, 2), g.constant(0x1fff)}}
}

// port is a match with the kind port or portrange.
func (g *generator) port(m *match) condition {
	protocol, ok := map[string]uint32{"": 0, "tcp": protocolTCP, "udp": protocolUDP, "sctp": protocolSCTP}[m.qualifier.protocol]
	if !ok {
		m.fail("only tcp, udp and sctp have ports", "%q cannot qualify a %s", m.qualifier.protocol, m.qualifier.kind)
	}
	low, high := m.id.number, m.id.number
	switch {
	case m.id.kind == idName && m.qualifier.kind == "port":
		low, protocol = m.portName(m.id.text, m.qualifier.protocol, protocol)
	case m.id.kind == idName:
		low, high, protocol = m.rangeNames(protocol)
	}
	for _, n := range []uint32{low, high} {
		if n > 0xffff {
			m.fail("", "port %d is greater than 65535", n)
		}
	}
	ports := g.portBetween(m.qualifier.direction, low, high)
	if m.qualifier.kind == "port" {
		ports = g.portIs(m.qualifier.direction, low)
	}
	return either{g.port6(m.place, protocol, ports), g.port4(m.place, protocol, ports)}
}
