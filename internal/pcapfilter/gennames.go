package pcapfilter

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// hostName tests for the addresses of a name.
func (g *generator) hostName(m *match) condition {
	q, name := m.qualifier, m.id.text
	switch q.protocol {
	case "ether":
		m.fail("write the Ethernet address", "unknown Ethernet host %q", name)
	case "decnet":
		m.fail("write the address, as in decnet host 1.2", "unknown DECnet host %q", name)
	}
	if g.options.Resolver == nil {
		m.fail("write the address", "%q is a name, and names are not looked up here", name)
	}
	addresses, err := g.options.Resolver(name)
	if err != nil {
		m.fail("", "host %q: %v", name, err)
	}
	c := g.addresses(m, addresses)
	if c == nil {
		m.fail("", "host %q has no address for %q", name, strings.TrimSpace(q.protocol+" host"))
	}
	return c
}

// addresses tests for any of some addresses, as far as the protocol can have
// them; nil where it cannot.
func (g *generator) addresses(m *match, addresses []netip.Addr) condition {
	var tests []condition
	for _, a := range addresses {
		a = a.Unmap().WithZone("")
		switch p := m.qualifier.protocol; {
		case a.Is4() && p != "ip6":
			tests = append(tests, g.host4(m, ipv4Number(a), 0xffffffff))
		case a.Is6() && p != "ip" && p != "arp" && p != "rarp":
			tests = append(tests, g.host6(m, a, 128))
		}
	}
	return some(tests...)
}

// object tests for the addresses of a Kubernetes object. One that has none
// matches nothing.
func (g *generator) object(m *match) condition {
	ref := m.ref()
	if g.options.LiveObjects {
		return g.liveObject(m, ref)
	}
	if g.options.Objects == nil {
		m.fail("write host and the address", "%ss are not known here", ref.Kind)
	}
	addresses, err := g.options.Objects(ref)
	if err != nil {
		m.fail("", "%s %q: %v", ref.Kind, m.text(), err)
	}
	if c := g.addresses(m, addresses); c != nil {
		return c
	}
	return fixed(false)
}

// liveObject tests the bit of an object among those of the packet's addresses,
// which are found in the first IP header, behind one VLAN tag at most.
func (g *generator) liveObject(m *match, ref ObjectRef) condition {
	if g.labels > 0 || g.link == linkPPP || g.payload.base != noValue || g.payload.k > 18 {
		m.fail("write it before what is about the inside", "the addresses of a %s are looked up in the outer packet, and behind one VLAN tag", ref.Kind)
	}
	index := slices.Index(g.objects, ref)
	if index >= MaxObjects {
		m.fail("name namespaces instead of pods, or put addresses into a net", "a filter can name %d objects, and this is one more", MaxObjects)
	}
	bit := g.constant(1 << index)
	return both{
		some(g.linkType(m.place, typeIPv4), g.linkType(m.place, typeIPv6), g.linkType(m.place, typeARP)),
		directed(m.qualifier.direction, func(source bool) condition {
			word := uint32(DestinationObjects)
			if source {
				word = SourceObjects
			}
			return test{opJset, g.id(value{kind: valueLoad, size: 4, k: word, a: noValue, b: noValue}), bit}
		}),
	}
}

// decnetNumber is the address AREA.NODE; what follows it counts for nothing, as
// in libpcap.
func decnetNumber(text string) uint16 {
	parts := strings.Split(text, ".")
	area, _ := strconv.ParseUint(parts[0], 10, 32)
	node, _ := strconv.ParseUint(parts[1], 10, 32)
	return uint16(area<<10 | node&0x3ff)
}

// decnet tests for a host in a DECnet data packet: with a byte of padding or
// without, with a long header or a short one. Numbers are little-endian there.
func (g *generator) decnet(m *match, address uint16) condition {
	host := uint32(address<<8 | address>>8)
	return directed(m.qualifier.direction, func(source bool) condition {
		long, short := uint32(7), uint32(1)
		if source {
			long, short = 15, 3
		}
		at := g.net()
		return both{g.linkType(m.place, typeDECnet), some(
			both{g.masked(at, 2, 1, 0x02, 0x07), g.equal(at, 2+short, 2, host)},
			both{g.masked(at, 2, 2, 0x8102, 0xff07), g.equal(at, 3+short, 2, host)},
			both{g.masked(at, 2, 1, 0x06, 0x07), g.equal(at, 2+long, 2, host)},
			both{g.masked(at, 2, 2, 0x8106, 0xff07), g.equal(at, 3+long, 2, host)},
		)}
	})
}
