package pcapfilter

// The kernel adds an offset to X as signed numbers and shifts by the lower five
// bits of X; libpcap adds without a sign and has no packet beyond 32 bits, and
// shifts everything out. Tests in front of such values make programs decide alike
// everywhere. They are needed only for offsets and shifts that are calculated from
// the packet without a bound.

// decideGuarded is decide, with what the values of the test need before it.
func (g *graph) decideGuarded(t test, onTrue, onFalse nodeID) nodeID {
	if shift, by := g.wideShift(t.left, t.right); shift != noValue {
		zero := g.constant(0)
		tooFar := test{t.jump, g.replace(t.left, shift, zero), g.replace(t.right, shift, zero)}
		masked := g.all[shift]
		masked.b = g.math(opAnd, by, g.constant(31)) // equal here, and known to be small
		near := test{t.jump, g.replace(t.left, shift, g.id(masked)), g.replace(t.right, shift, g.id(masked))}
		return g.decideGuarded(test{opJgt, by, g.constant(31)},
			g.decideGuarded(tooFar, onTrue, onFalse), g.decideGuarded(near, onTrue, onFalse))
	}
	n := g.decide(t, onTrue, onFalse)
	for _, index := range g.wideIndexes(t.left, t.right) {
		n = g.decide(test{opJset, index, g.constant(1 << 31)}, reject, n)
	}
	return n
}

// wideShift finds a shift by what may be more than 31, the inmost first.
func (v *values) wideShift(ids ...valueID) (shift, by valueID) {
	for _, id := range ids {
		if id == noValue {
			continue
		}
		x := v.all[id]
		if shift, by := v.wideShift(x.a, x.b); shift != noValue {
			return shift, by
		}
		if x.kind == valueMath && (x.operator == opLsh || x.operator == opRsh) && v.bound(x.b) > 31 {
			return id, x.b
		}
	}
	return noValue, noValue
}

// wideIndexes finds what may be too large an offset, the outmost first.
func (v *values) wideIndexes(ids ...valueID) []valueID {
	var found []valueID
	for _, id := range ids {
		if id == noValue {
			continue
		}
		x := v.all[id]
		if x.kind == valueLoad && x.a != noValue && v.bound(x.a) >= 1<<31 {
			found = append(found, x.a)
		}
		found = append(found, v.wideIndexes(x.a, x.b)...)
	}
	return found
}

// replace puts one value in the place of another.
func (v *values) replace(id, old, with valueID) valueID {
	if id == old || id == noValue {
		return map[bool]valueID{true: with, false: id}[id == old]
	}
	x := v.all[id]
	a, b := v.replace(x.a, old, with), v.replace(x.b, old, with)
	switch {
	case a == x.a && b == x.b:
		return id
	case x.kind == valueMath:
		return v.math(x.operator, a, b)
	case x.kind == valueNeg:
		return v.negative(a)
	}
	return v.load(x.size, a, x.k)
}

// bound is a number that a value is never greater than.
func (v *values) bound(id valueID) uint64 {
	const any = 1<<32 - 1
	x := v.all[id]
	switch x.kind {
	case valueConst:
		return uint64(x.k)
	case valueLen, valueMemory:
		return 1 << 24 // a packet's length, an offset inside it
	case valueHeader:
		return 60
	case valueLoad:
		return 1<<(8*x.size) - 1
	case valueMath:
		return min(any, v.mathBound(x))
	}
	return any
}

func (v *values) mathBound(x value) uint64 {
	a, b := v.bound(x.a), v.bound(x.b)
	k, isConst := v.isConst(x.b)
	switch x.operator {
	case opAdd:
		return a + b
	case opMul:
		return a * b
	case opAnd:
		return min(a, b)
	case opOr, opXor:
		return 2*max(a, b) + 1
	case opDiv:
		return a
	case opMod:
		return b
	case opRsh:
		return a
	case opLsh:
		if isConst && k < 32 {
			return a << k
		}
	}
	return 1<<32 - 1
}
