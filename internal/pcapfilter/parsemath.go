package pcapfilter

import (
	"maps"
	"slices"
)

// The binding strength of operators; all associate to the left. In libpcap's
// grammar % and ^ have none: what follows them always goes into their right
// side, and they always go into the right side of what precedes them.
var strengths = map[string]int{"|": 1, "&": 2, "<<": 3, ">>": 3, "+": 4, "-": 4, "*": 5, "/": 5, "%": noStrength, "^": noStrength}

const (
	noStrength    = -1
	minusStrength = 6
)

// isAccess reports whether a header access comes: ip[0].
func (p *parser) isAccess() bool {
	if !p.isWord(protocolWords...) {
		return false
	}
	after := p.tokens[p.at+1]
	return after.kind == tokenSign && after.text == "["
}

// math parses a number up to an operator that the one before it, of the given
// strength, keeps away. 0: there is none before it.
func (p *parser) math(strength int) arithmetic {
	return p.mathAfter(p.mathUnit(), strength)
}

// mathAfter is math whose first number is parsed already.
func (p *parser) mathAfter(left arithmetic, strength int) arithmetic {
	for {
		t := p.peek()
		own, ok := strengths[t.text]
		if !ok || t.kind != tokenSign || strength > 0 && own > 0 && strength >= own {
			return left
		}
		p.next()
		left = &calculation{operator: t.text, left: left, right: p.math(own)}
	}
}

func (p *parser) mathUnit() arithmetic {
	t := p.peek()
	p.enter(t.place)
	defer func() { p.depth-- }()
	switch {
	case t.kind == tokenNumber:
		p.next()
		return number{t.place, t.number}
	case p.isWord("len"):
		p.next()
		return length{t.place}
	case p.isAccess():
		return p.access()
	case p.accept("-"):
		x := p.math(minusStrength)
		return &minus{t.place.to(x.where()), x}
	case p.accept("("):
		x := p.math(0)
		p.closing(t.place, ")")
		return x
	}
	if t.kind == tokenName && !t.escaped {
		t.place.fail(didYouMean(t.text, maps.Keys(constants)), "unexpected %q, want a number, len or a header access like ip[0]", t.place.text())
	}
	p.unexpected(t, "a number, len or a header access like ip[0]")
	return nil
}

func (p *parser) access() arithmetic {
	t := p.next()
	open := p.next().place
	a := &access{protocol: t.text, index: p.math(0), size: 1}
	if p.accept(":") {
		size := p.peek()
		a.size = p.number()
		if !slices.Contains([]uint32{1, 2, 4}, a.size) {
			size.place.fail("", "cannot read %d bytes at once, only 1, 2 or 4", a.size)
		}
	}
	p.closing(open, "]")
	a.place = p.from(t.place)
	return a
}
