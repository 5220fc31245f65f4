package pcapfilter

func (g *generator) relation(r *relation) condition {
	left, before := g.arithmetic(r.left)
	right, beforeRight := g.arithmetic(r.right)
	var is condition
	switch r.operator {
	case ">":
		is = test{opJgt, left, right}
	case ">=":
		is = test{opJge, left, right}
	case "=":
		is = test{opJeq, left, right}
	case "<=":
		is = inverse{test{opJgt, left, right}}
	case "<":
		is = inverse{test{opJge, left, right}}
	case "!=":
		is = inverse{test{opJeq, left, right}}
	}
	return all(before, beforeRight, is)
}

var operators = map[string]uint16{
	"+": opAdd, "-": opSub, "*": opMul, "/": opDiv, "%": opMod, "&": opAnd, "|": opOr, "^": opXor, "<<": opLsh, ">>": opRsh,
}

// arithmetic returns a value, and what must hold for it to mean anything: that
// the packet has the headers which are read. libpcap asks that for the left side
// of a calculation only, so it is no different here: in ip[0] + tcp[0] nothing
// says that there is a TCP header.
func (g *generator) arithmetic(a arithmetic) (valueID, condition) {
	switch a := a.(type) {
	case number:
		return g.constant(a.value), nil
	case length:
		return g.length(), nil
	case *access:
		return g.access(a)
	case *minus:
		x, before := g.arithmetic(a.x)
		return g.negative(x), before
	case *calculation:
		left, before := g.arithmetic(a.left)
		right, _ := g.arithmetic(a.right)
		if k, ok := g.isConst(right); ok {
			a.check(k)
		}
		return g.math(operators[a.operator], left, right), before
	}
	panic("arithmetic has no other nodes")
}

// check refuses constants that cannot be calculated with. Shifting everything out
// is refused only where it is plain to see, as in libpcap.
func (c *calculation) check(k uint32) {
	switch c.operator {
	case "/", "%":
		if k == 0 {
			c.right.where().fail("", "division by zero")
		}
	case "<<", ">>":
		if _, plain := c.right.(number); plain && k > 31 {
			c.right.where().fail("", "shift by %d bits, of 32", k)
		}
	}
}

// indexed loads size bytes, index after an offset.
func (g *generator) indexed(o offset, index valueID, size uint8) valueID {
	k, ok := g.isConst(index)
	switch {
	case o.base == noValue:
		return g.load(size, index, o.k)
	case ok && k < 1<<16: // no overflow that would wrap
		return g.load(size, o.base, o.k+k)
	}
	return g.load(size, g.math(opAdd, index, o.base), o.k)
}
