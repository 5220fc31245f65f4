package pcapfilter

// A value is a number that is computed from a packet. Equal values have equal
// IDs, so a valueID stands for what a register holds. Memory is written during a
// program; a value of it means what is there at the time.
type valueID int32

type valueKind uint8

const (
	valueConst  valueKind = iota // k
	valueLen                     // the packet's length on the wire
	valueLoad                    // size bytes at k, or at k plus value a
	valueHeader                  // four times the lower half of the byte at k: an IPv4 header's length
	valueMemory                  // slot k
	valueNeg                     // minus a
	valueMath                    // a operator b
)

type value struct {
	kind     valueKind
	size     uint8  // of a load
	operator uint16 // of math, an opcode like opAdd
	k        uint32
	a, b     valueID // noValue where there is none
}

const noValue valueID = -1

// values gives IDs to values.
type values struct {
	all []value
	ids map[value]valueID
}

func newValues() *values { return &values{ids: make(map[value]valueID)} }

func (v *values) id(x value) valueID {
	if id, ok := v.ids[x]; ok {
		return id
	}
	id := valueID(len(v.all))
	v.all = append(v.all, x)
	v.ids[x] = id
	return id
}

func (v *values) constant(k uint32) valueID {
	return v.id(value{kind: valueConst, k: k, a: noValue, b: noValue})
}

func (v *values) length() valueID {
	return v.id(value{kind: valueLen, a: noValue, b: noValue})
}

func (v *values) memory(slot uint32) valueID {
	return v.id(value{kind: valueMemory, k: slot, a: noValue, b: noValue})
}

// farthest is an offset that no packet has. The kernel takes those with the
// highest bit set for something else.
const farthest = 1<<31 - 1

// load is size bytes at the sum of offset and base; base may be noValue.
func (v *values) load(size uint8, base valueID, offset uint32) valueID {
	if k, ok := v.isConst(base); ok {
		offset, base = offset+k, noValue
	}
	if base == noValue {
		offset = min(offset, farthest)
	}
	return v.id(value{kind: valueLoad, size: size, k: offset, a: base, b: noValue})
}

// headerLength is the length of the IPv4 header at the sum of offset and base,
// plus base: what must be added to offset to reach the header after it.
func (v *values) headerLength(base valueID, offset uint32) valueID {
	if base == noValue {
		return v.id(value{kind: valueHeader, k: offset, a: noValue, b: noValue})
	}
	low := v.math(opAnd, v.load(1, base, offset), v.constant(0xf))
	return v.math(opAdd, v.math(opLsh, low, v.constant(2)), base)
}

func (v *values) isConst(id valueID) (uint32, bool) {
	if id == noValue || v.all[id].kind != valueConst {
		return 0, false
	}
	return v.all[id].k, true
}

func (v *values) negative(a valueID) valueID {
	if k, ok := v.isConst(a); ok {
		return v.constant(-k)
	}
	return v.id(value{kind: valueNeg, a: a, b: noValue})
}

// math is a operator b, simplified. Division by a constant zero is the caller's
// to refuse.
func (v *values) math(operator uint16, a, b valueID) valueID {
	if _, ok := v.isConst(a); ok && commutes(operator) {
		a, b = b, a
	}
	k, constB := v.isConst(b)
	if constB {
		if l, ok := v.isConst(a); ok {
			n, _ := calculate(operator, l, k)
			return v.constant(n)
		}
		if simple, ok := v.simplify(operator, a, k); ok {
			return simple
		}
	}
	return v.id(value{kind: valueMath, operator: operator, a: a, b: b})
}

// simplify knows operations with a constant that change nothing, make a constant,
// or join the one that made a.
func (v *values) simplify(operator uint16, a valueID, k uint32) (valueID, bool) {
	neutral := map[uint16]uint32{opAdd: 0, opSub: 0, opOr: 0, opXor: 0, opLsh: 0, opRsh: 0, opMul: 1, opDiv: 1, opAnd: 0xffffffff}
	if n, ok := neutral[operator]; ok && n == k {
		return a, true
	}
	if k == 0 && (operator == opMul || operator == opAnd) || k > 31 && (operator == opLsh || operator == opRsh) {
		return v.constant(0), true
	}
	inner := v.all[a]
	if operator == opAnd && inner.kind == valueLoad && inner.size < 4 {
		if all := uint32(1)<<(8*inner.size) - 1; k&all == all {
			return a, true
		}
	}
	if inner.kind != valueMath || inner.operator != operator {
		return noValue, false
	}
	l, ok := v.isConst(inner.b)
	if !ok {
		return noValue, false
	}
	switch operator {
	case opAnd:
		return v.math(operator, inner.a, v.constant(k&l)), true
	case opOr:
		return v.math(operator, inner.a, v.constant(k|l)), true
	case opAdd, opSub:
		return v.math(operator, inner.a, v.constant(k+l)), true
	case opXor:
		return v.math(operator, inner.a, v.constant(k^l)), true
	}
	return noValue, false
}

func commutes(operator uint16) bool {
	switch operator {
	case opAdd, opMul, opAnd, opOr, opXor:
		return true
	}
	return false
}

// uses reports whether a value reads a memory slot.
func (v *values) uses(id valueID, slot uint32) bool {
	if id == noValue {
		return false
	}
	x := v.all[id]
	return x.kind == valueMemory && x.k == slot || v.uses(x.a, slot) || v.uses(x.b, slot)
}
