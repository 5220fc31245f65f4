package pcapfilter

func (g *generator) layer(l *layer) condition {
	switch l.name {
	case "vlan":
		return g.vlan(l)
	case "mpls":
		return g.mpls(l)
	case "pppoed":
		return g.linkType(l.place, typePPPoED)
	case "pppoes":
		return g.pppoes(l)
	}
	return g.genevePackets(l)
}

// number checks the number that a layer must have, if any.
func (l *layer) checked(maximum uint32) (uint32, bool) {
	if l.number == nil {
		return 0, false
	}
	if *l.number > maximum {
		l.fail("", "%s %d is greater than %d", l.name, *l.number, maximum)
	}
	return *l.number, true
}

func (g *generator) vlan(l *layer) condition {
	if g.labels > 0 {
		l.fail("write vlan before mpls", `"vlan" cannot be matched after mpls`)
	}
	if g.link != linkEthernet {
		l.fail("", `"vlan" needs an Ethernet header`)
	}
	is := some(g.linkType(l.place, typeVLAN), g.linkType(l.place, typeVLAN8021ad), g.linkType(l.place, typeVLANQinQ))
	if id, ok := l.checked(0xfff); ok {
		is = both{is, g.masked(g.net(), 0, 2, id, 0xfff)}
	}
	g.payload.k += 4
	g.etype.k += 4
	return is
}

func (g *generator) mpls(l *layer) condition {
	var is condition
	switch {
	case g.labels > 0: // the label before must not be the last
		is = g.masked(g.net(), ^uint32(1), 1, 0, 0x01)
	case g.link == linkPPP:
		is = g.linkType(l.place, pppMPLS)
	case g.link == linkRaw:
		l.fail("", `"mpls" needs a link layer`)
	default:
		is = g.linkType(l.place, typeMPLS)
	}
	if label, ok := l.checked(0xfffff); ok {
		is = both{is, g.masked(g.net(), 0, 4, label<<12, 0xfffff000)}
	}
	g.network += 4
	g.llc += 4
	g.labels++
	return is
}

// pppoes leaves the link layer as PPP. The session is in the second half of
// four bytes.
func (g *generator) pppoes(l *layer) condition {
	is := g.linkType(l.place, typePPPoES)
	if session, ok := l.checked(0xffff); ok {
		is = both{is, g.masked(g.net(), 0, 4, session, 0xffff)}
	}
	g.link, g.geneve = linkPPP, false
	g.header = g.net().plus(6)
	g.etype, g.payload = g.header, g.header.plus(2)
	g.network, g.llc = 0, 0
	return is
}

const genevePort = 6081

// genevePackets moves the offsets into Geneve. They depend on the packet, so
// they are in memory: where the link layer is, where its type field is, and
// where its payload is. With a payload that is not Ethernet there is no link
// layer, the first and the last are the same, and the type is in the Geneve
// header.
func (g *generator) genevePackets(l *layer) condition {
	header, etype, payload := g.slot, g.slot+1, g.slot+2
	g.slot += 3
	if g.slot > slots-2 { // two for calculations
		l.fail("", "too many %q in one filter", l.name)
	}
	tunnel := g.memory(payload) // first, where the Geneve header is
	start := func(afterIP valueID) condition {
		return assign{slot: payload, value: g.math(opAdd, afterIP, g.constant(g.net().k+8))} // after UDP
	}
	inner4 := g.headerLength(g.net().base, g.net().k)
	inner6 := g.constant(40)
	if base := g.net().base; base != noValue {
		inner6 = g.math(opAdd, base, inner6)
	}
	is := either{
		all(g.port4(l.place, protocolUDP, g.portIs("dst", genevePort)), g.geneveHeader(l, g.transport4()), start(inner4)),
		all(g.port6(l.place, protocolUDP, g.portIs("dst", genevePort)), g.geneveHeader(l, g.transport6()), start(inner6)),
	}
	options := g.math(opMul, g.math(opAnd, g.load(1, tunnel, 0), g.constant(0x3f)), g.constant(4))
	end := g.math(opAdd, g.math(opAdd, options, g.constant(8)), tunnel)
	ethernet := all(
		test{opJeq, g.memory(etype), g.constant(typeEthernet)},
		assign{slot: etype, value: g.math(opAdd, g.memory(header), g.constant(12))},
		assign{slot: payload, value: g.math(opAdd, g.memory(header), g.constant(14))},
	)
	other := all(
		assign{slot: etype, value: g.math(opAdd, tunnel, g.constant(2))},
		assign{slot: payload, value: g.memory(header)},
	)

	g.link, g.geneve = linkEthernet, true
	g.header = offset{g.memory(header), 0}
	g.etype = offset{g.memory(etype), 0}
	g.payload = offset{g.memory(payload), 0}
	g.network = 0
	return all(is,
		assign{slot: etype, value: g.load(2, tunnel, 2), must: true}, // for now the type itself
		assign{slot: header, value: end},
		either{ethernet, other})
}

// geneveHeader tests the version and the network after a UDP header.
func (g *generator) geneveHeader(l *layer, udp offset) condition {
	is := g.masked(udp, 8, 1, 0, 0xc0)
	if vni, ok := l.checked(0xffffff); ok {
		return both{is, g.masked(udp, 12, 4, vni<<8, 0xffffff00)}
	}
	return is
}
