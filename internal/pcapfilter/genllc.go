package pcapfilter

import (
	"maps"
	"strings"
)

func (g *generator) llcTest(l *llcTest) condition {
	if g.link != linkEthernet {
		l.fail("", `"llc" needs an Ethernet header`)
	}
	// 0xffff is NetWare's own format, without 802.2.
	is := both{g.isFrame(), inverse{g.equal(g.payload, 0, 2, 0xffff)}}
	if l.kind == "" {
		return is
	}
	kind, ok := llcKinds[strings.ToLower(l.kind)]
	switch {
	case !ok:
		l.fail(didYouMean(l.kind, maps.Keys(llcKinds)), "unknown llc type %q", l.kind)
	case kind.value == 0:
		return both{is, inverse{test{opJset, g.at(g.payload, 2, 1), g.constant(kind.mask)}}}
	}
	return both{is, g.masked(g.payload, 2, 1, kind.value, kind.mask)}
}
