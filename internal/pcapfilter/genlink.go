package pcapfilter

import "net"

// linkType tests what the link layer carries: an EtherType, or an 802.2 service
// access point.
func (g *generator) linkType(at place, protocol uint32) condition {
	if g.labels > 0 {
		return g.mplsType(at, protocol)
	}
	switch g.link {
	case linkRaw:
		switch protocol {
		case typeIPv4:
			return g.masked(g.header, 0, 1, 0x40, 0xf0)
		case typeIPv6:
			return g.masked(g.header, 0, 1, 0x60, 0xf0)
		}
		return fixed(false)
	case linkPPP:
		if p, ok := pppTypes[protocol]; ok {
			protocol = p
		}
		return g.equal(g.etype, 0, 2, protocol)
	}
	return g.etherType(protocol)
}

// pppTypes are the numbers of PPP for what Ethernet has others for.
var pppTypes = map[uint32]uint32{
	typeIPv4: 0x21, sapISO: 0x23, 0x0600: 0x25, typeDECnet: 0x27, typeATalk: 0x29, sapIPX: 0x2b, sapSTP: 0x31, typeIPv6: 0x57,
}

// pppMPLS is MPLS in PPP.
const pppMPLS = 0x281

func (g *generator) etherType(protocol uint32) condition {
	is := g.equal(g.etype, 0, 2, protocol)
	frame := g.isFrame()
	switch protocol {
	case sapISO, sapIP, sapNetBEUI:
		return both{frame, g.equal(g.payload, 0, 2, protocol<<8|protocol)}
	case sapIPX:
		// As an EtherType, directly in an 802.3 frame, after 802.2, and after SNAP.
		return either{
			g.equal(g.etype, 0, 2, typeIPX),
			both{frame, some(g.snap(0, typeIPX), g.equal(g.payload, 0, 1, sapIPX), g.equal(g.payload, 0, 2, 0xffff))},
		}
	case typeATalk:
		return either{is, both{frame, g.snap(0x080007, typeATalk)}}
	case typeAARP:
		return either{is, both{frame, g.snap(0, typeAARP)}}
	}
	if protocol <= maxFrameLength {
		return both{frame, g.equal(g.etype, 2, 1, protocol)}
	}
	return is
}

// isFrame tests for 802.3: a length where Ethernet II has a type.
func (g *generator) isFrame() condition {
	return inverse{test{opJgt, g.at(g.etype, 0, 2), g.constant(maxFrameLength)}}
}

// snap tests for the 802.2 and SNAP headers of an organization's protocol.
func (g *generator) snap(organization, protocol uint32) condition {
	return g.bytes(g.payload, 0, []byte{
		sapSNAP, sapSNAP, 0x03,
		byte(organization >> 16), byte(organization >> 8), byte(organization),
		byte(protocol >> 8), byte(protocol),
	})
}

// mplsType tests what MPLS carries: after the last label, by the version.
func (g *generator) mplsType(at place, protocol uint32) condition {
	version := uint32(0x40)
	switch protocol {
	case typeIPv6:
		version = 0x60
	case typeIPv4:
	default:
		at.fail("only ip and ip6 can be recognized after mpls", "%q cannot be matched after mpls", at.text())
	}
	last := g.masked(g.net(), ^uint32(1), 1, 0x01, 0x01) // two bytes before
	return both{last, g.masked(g.net(), 0, 1, version, 0xf0)}
}

// hasEthernet fails unless the link layer has Ethernet addresses here. Inside
// Geneve that depends on the packet, and the result tests it.
func (g *generator) hasEthernet(at place, what string) condition {
	if g.link != linkEthernet {
		at.fail("", "there are no %s without an Ethernet header", what)
	}
	if g.geneve {
		return inverse{test{opJeq, g.header.base, g.payload.base}}
	}
	return nil
}

func (g *generator) etherHost(at place, direction string, address net.HardwareAddr) condition {
	return all(g.hasEthernet(at, "Ethernet addresses"), directed(direction, func(source bool) condition {
		if source {
			return g.bytes(g.header, 6, address)
		}
		return g.bytes(g.header, 0, address)
	}))
}

func (g *generator) cast(c *castTest) condition {
	switch {
	case c.protocol == "" || c.protocol == "ether":
		if !c.multicast {
			return g.etherHost(c.place, "dst", net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
		}
		return all(g.hasEthernet(c.place, "link-layer multicasts"), test{opJset, g.at(g.header, 0, 1), g.constant(1)})
	case c.protocol == "ip" && c.multicast:
		return both{g.linkType(c.place, typeIPv4), test{opJge, g.at(g.net(), 16, 1), g.constant(224)}}
	case c.protocol == "ip6" && c.multicast:
		return both{g.linkType(c.place, typeIPv6), g.equal(g.net(), 24, 1, 255)}
	case c.protocol == "ip":
		return g.ipBroadcast(c.place)
	}
	what, protocols := "broadcast", "ether and ip"
	if c.multicast {
		what, protocols = "multicast", "ether, ip and ip6"
	}
	c.fail("only "+protocols+" can stand before it", "there is no %s of %q", what, c.protocol)
	return nil
}

func (g *generator) ipBroadcast(at place) condition {
	if !g.options.Netmask.Is4() {
		at.fail("write the addresses: dst host 255.255.255.255", `"ip broadcast" needs the netmask of the network, which is not known here`)
	}
	host := ^ipv4Number(g.options.Netmask)
	return both{
		g.linkType(at, typeIPv4),
		either{g.masked(g.net(), 16, 4, 0, host), g.masked(g.net(), 16, 4, host, host)},
	}
}

// The control byte of 802.2: its format and, in some bits, its command.
var llcKinds = map[string]struct{ value, mask uint32 }{
	"s": {0x01, 0x03}, "rr": {0x01, 0x0f}, "rnr": {0x05, 0x0f}, "rej": {0x09, 0x0f},
	"u": {0x03, 0x03}, "ui": {0x03, 0xef}, "ua": {0x63, 0xef}, "disc": {0x43, 0xef}, "dm": {0x0f, 0xef},
	"sabme": {0x6f, 0xef}, "test": {0xe3, 0xef}, "xid": {0xaf, 0xef}, "frmr": {0x87, 0xef},
	"i": {0x00, 0x01},
}
