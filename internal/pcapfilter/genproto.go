package pcapfilter

import (
	"maps"
	"slices"
)

// etherTypes are protocols by their EtherType or service access point.
var etherTypes = map[string]uint32{
	"ip": typeIPv4, "ip6": typeIPv6, "arp": typeARP, "rarp": typeRARP, "atalk": typeATalk, "aarp": typeAARP,
	"decnet": typeDECnet, "lat": typeLAT, "sca": typeSCA, "mopdl": typeMOPDL, "moprc": typeMOPRC,
	"iso": sapISO, "stp": sapSTP, "ipx": sapIPX, "netbeui": sapNetBEUI,
}

// ipProtocols are protocols over IP, and over which IP.
var ipProtocols = map[string]struct {
	number uint32
	over   []string
}{
	"tcp": {protocolTCP, []string{"ip6", "ip"}}, "udp": {protocolUDP, []string{"ip6", "ip"}}, "sctp": {protocolSCTP, []string{"ip6", "ip"}},
	"pim": {protocolPIM, []string{"ip6", "ip"}}, "ah": {protocolAH, []string{"ip6", "ip"}}, "esp": {protocolESP, []string{"ip6", "ip"}},
	"icmp": {protocolICMP, []string{"ip"}}, "igmp": {protocolIGMP, []string{"ip"}}, "igrp": {protocolIGRP, []string{"ip"}},
	"vrrp": {protocolVRRP, []string{"ip"}}, "carp": {protocolVRRP, []string{"ip"}}, "icmp6": {protocolICMP6, []string{"ip6"}},
}

var osiProtocols = map[string]uint32{"clnp": osiCLNP, "esis": osiESIS, "isis": osiISIS}

// isisPackets are the types of IS-IS packets that a word stands for: hellos,
// link states, and complete and partial sequence numbers, of two levels.
var isisPackets = map[string][]uint32{
	"l1": {26, 24, 18, 15, 17}, "l2": {27, 25, 20, 16, 17},
	"iih": {17, 15, 16}, "lsp": {18, 20}, "snp": {27, 26, 24, 25}, "csnp": {24, 25}, "psnp": {26, 27},
}

// protocol tests for a protocol by its word.
func (g *generator) protocol(at place, word string) condition {
	if t, ok := etherTypes[word]; ok {
		return g.linkType(at, t)
	}
	if p, ok := ipProtocols[word]; ok {
		var tests []condition
		for _, over := range p.over {
			tests = append(tests, g.over(at, over, p.number))
		}
		return some(tests...)
	}
	if n, ok := osiProtocols[word]; ok {
		return g.over(at, "iso", n)
	}
	if types, ok := isisPackets[word]; ok {
		var tests []condition
		for _, n := range types {
			tests = append(tests, g.over(at, "isis", n))
		}
		return some(tests...)
	}
	if word == "ether" {
		at.fail("say more, as in ether host, ether proto or ether[0]", "%q alone is no condition", at.text())
	}
	at.fail(refusedHint, "%q is for 802.11 links only", at.text())
	return nil
}

// over tests for a number in the header of another protocol: ip, ip6, ether,
// iso or isis, or for "" in ip or ip6.
func (g *generator) over(at place, under string, n uint32) condition {
	switch under {
	case "":
		return either{g.over(at, "ip", n), g.over(at, "ip6", n)}
	case "ip":
		return both{g.linkType(at, typeIPv4), g.equal(g.net(), 9, 1, n)}
	case "ip6": // also behind a fragment header
		fragment := both{g.equal(g.net(), 6, 1, protocolFragment), g.equal(g.net(), 40, 1, n)}
		return both{g.linkType(at, typeIPv6), either{g.equal(g.net(), 6, 1, n), fragment}}
	case "ether":
		return g.linkType(at, n)
	case "iso":
		return both{g.linkType(at, sapISO), g.equal(g.payload.plus(g.llc), 0, 1, n)}
	case "isis":
		return both{g.over(at, "iso", osiISIS), g.equal(g.payload.plus(g.llc), 4, 1, n)}
	}
	at.fail("", "%q cannot stand before proto", under)
	return nil
}

// protocolID is a match with the kind proto.
func (g *generator) protocolID(m *match) condition {
	under := m.qualifier.protocol
	if m.id.kind == idNumber {
		return g.over(m.place, under, m.id.number)
	}
	name := m.id.text
	n, known := uint32(0), map[string]uint32(nil)
	switch under {
	case "", "ip", "ip6":
		known = protocolNumbers
	case "ether":
		known = etherTypes
		if name == "loopback" {
			return g.linkType(m.place, typeLoopback)
		}
	case "iso":
		known = osiProtocols
	default:
		m.fail("", "%q cannot stand before proto and a name", under)
	}
	n, ok := known[name]
	if !ok {
		m.fail(didYouMean(name, maps.Keys(known)), "unknown protocol %q", name)
	}
	return g.over(m.place, under, n)
}

// transportProtocols can be accessed behind IPv4.
var transportProtocols = []string{"tcp", "udp", "sctp", "icmp", "igmp", "igrp", "pim", "vrrp", "carp"}

// networkProtocols can be accessed behind the link layer.
var networkProtocols = []string{"ip", "ip6", "arp", "rarp", "atalk", "decnet", "sca", "lat", "moprc", "mopdl"}

// access reads from a header, and returns what must hold before it is read.
func (g *generator) access(a *access) (valueID, condition) {
	index, before := g.arithmetic(a.index)
	from := func(o offset) valueID { return g.indexed(o, index, uint8(a.size)) }
	switch {
	case a.protocol == "ether":
		return from(g.header), before
	case slices.Contains(networkProtocols, a.protocol):
		value := from(g.net())
		return value, all(before, g.protocol(a.place, a.protocol))
	case slices.Contains(transportProtocols, a.protocol):
		value := from(g.transport4())
		return value, all(g.linkType(a.place, typeIPv4), before, g.protocol(a.place, a.protocol), g.firstFragment())
	case a.protocol == "icmp6":
		value := from(g.transport6())
		return value, all(before, g.linkType(a.place, typeIPv6), g.equal(g.net(), 6, 1, protocolICMP6))
	case a.protocol == "radio":
		a.fail(refusedHint, "%q is for 802.11 links only", a.protocol)
	}
	a.fail("", "the header of %q cannot be accessed", a.protocol)
	return 0, nil
}
