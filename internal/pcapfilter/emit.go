package pcapfilter

import (
	"fmt"

	"golang.org/x/net/bpf"
)

// registers is what A and X are known to hold.
type registers struct{ a, x valueID }

// block is the instructions of one node.
type block struct {
	code            []bpf.RawInstruction
	jump            bpf.RawInstruction // last, unless the node is a write
	write           bool
	onTrue, onFalse nodeID
}

// emitter makes the instructions of one node after the other, in an order in
// which all that lead to a node come before it: then the registers are known
// there, as far as they are the same on every way.
type emitter struct {
	*graph
	now   registers
	code  []bpf.RawInstruction
	spill uint32 // the lowest memory slot that holds a part of a calculation
	used  uint32 // slots, a bit each, that the graph uses
	full  bool
}

func emit(g *graph, root nodeID, tree expr, snapLen uint32) (p Program, err error) {
	defer catch(&err)
	e := &emitter{graph: g, spill: slots}
	order := g.order(root)
	for _, id := range order {
		if n := g.nodes[id]; n.write {
			e.used |= 1 << n.assign.slot
		}
	}
	blocks := e.blocks(root, order)
	if e.full {
		wholeOf(tree).fail("use fewer calculations inside calculations", "too long a calculation")
	}
	return assemble(blocks, root, order, snapLen), nil
}

func (e *emitter) blocks(root nodeID, order []nodeID) map[nodeID]block {
	entry := map[nodeID]registers{root: {noValue, noValue}}
	arrive := func(n nodeID, r registers) {
		before, ok := entry[n]
		if !ok {
			entry[n] = r
			return
		}
		if before.a != r.a {
			before.a = noValue
		}
		if before.x != r.x {
			before.x = noValue
		}
		entry[n] = before
	}
	blocks := make(map[nodeID]block, len(order))
	for _, id := range order {
		n := e.nodes[id]
		e.now, e.code = entry[id], nil
		b := block{write: n.write, onTrue: n.onTrue, onFalse: n.onFalse}
		if n.write {
			e.assign(n.assign)
		} else {
			b.jump = e.test(n.test)
			arrive(n.onFalse, e.now)
		}
		arrive(n.onTrue, e.now)
		b.code = e.code
		blocks[id] = b
	}
	return blocks
}

func (e *emitter) add(op uint16, k uint32) {
	e.code = append(e.code, bpf.RawInstruction{Op: op, K: k})
}

func (e *emitter) assign(a assign) {
	e.toA(a.value)
	e.add(classSt, a.slot)
	for _, register := range []*valueID{&e.now.a, &e.now.x} {
		if e.uses(*register, a.slot) {
			*register = noValue
		}
	}
	e.now.a = e.memory(a.slot)
}

// test leaves the registers as the jump needs them.
func (e *emitter) test(t test) bpf.RawInstruction {
	if k, ok := e.isConst(t.right); ok {
		e.toA(t.left)
		return bpf.RawInstruction{Op: classJmp | t.jump, K: k}
	}
	e.toAX(t.left, t.right, t.jump == opJeq || t.jump == opJset)
	return bpf.RawInstruction{Op: classJmp | t.jump | sourceX}
}

func (e *emitter) toA(id valueID) {
	switch {
	case e.now.a == id:
		return
	case e.now.x == id:
		e.add(classMisc|toA, 0)
		e.now.a = id
		return
	}
	switch v := e.all[id]; v.kind {
	case valueConst:
		e.add(classLd|modeImm, v.k)
	case valueLen:
		e.add(classLd|modeLen, 0)
	case valueMemory:
		e.add(classLd|modeMem, v.k)
	case valueLoad:
		if v.a == noValue {
			e.add(classLd|modeAbs|loadSize(v.size), v.k)
		} else {
			e.toX(v.a)
			e.add(classLd|modeInd|loadSize(v.size), v.k)
		}
	case valueHeader:
		e.toX(id)
		e.add(classMisc|toA, 0)
	case valueNeg:
		e.toA(v.a)
		e.add(classAlu|opNeg, 0)
	case valueMath:
		if k, ok := e.isConst(v.b); ok {
			e.toA(v.a)
			e.add(classAlu|v.operator, k)
		} else {
			e.toAX(v.a, v.b, commutes(v.operator))
			e.add(classAlu|v.operator|sourceX, 0)
		}
	}
	e.now.a = id
}

func (e *emitter) toX(id valueID) {
	if e.now.x == id {
		return
	}
	switch v := e.all[id]; v.kind {
	case valueConst:
		e.add(classLdx|modeImm, v.k)
	case valueLen:
		e.add(classLdx|modeLen, 0)
	case valueMemory:
		e.add(classLdx|modeMem, v.k)
	case valueHeader:
		e.add(classLdx|modeMsh|sizeB, v.k)
	default:
		e.toA(id)
		e.add(classMisc, 0)
	}
	e.now.x = id
}

// toAX puts a into A and x into X, or the other way round where that is as good.
func (e *emitter) toAX(a, x valueID, either bool) {
	switch {
	case e.now.x == x && !e.needsX(a) || e.direct(x):
		e.toA(a)
		e.toX(x)
	case either && (e.now.x == a && !e.needsX(x) || e.direct(a)):
		e.toA(x)
		e.toX(a)
	case !e.needsX(a):
		e.toX(x)
		e.toA(a)
	case either && !e.needsX(x):
		e.toX(a)
		e.toA(x)
	default:
		slot := e.reserve()
		e.toA(x)
		e.add(classSt, slot)
		e.toA(a)
		e.add(classLdx|modeMem, slot)
		e.now.x = x
		e.spill++
	}
}

// direct reports whether a value can be loaded into X without A.
func (e *emitter) direct(id valueID) bool {
	switch e.all[id].kind {
	case valueConst, valueLen, valueMemory, valueHeader:
		return true
	}
	return false
}

// needsX reports whether a value cannot come into A without X.
func (e *emitter) needsX(id valueID) bool {
	if e.now.a == id {
		return false
	}
	switch v := e.all[id]; v.kind {
	case valueLoad:
		return v.a != noValue
	case valueHeader:
		return true
	case valueNeg:
		return e.needsX(v.a)
	case valueMath:
		_, isConst := e.isConst(v.b)
		return !isConst || e.needsX(v.a)
	}
	return false
}

// reserve takes a memory slot until spill is set back.
func (e *emitter) reserve() uint32 {
	if e.spill == 0 || e.used&(1<<(e.spill-1)) != 0 {
		e.full = true
		return 0
	}
	e.spill--
	return e.spill
}

// key is equal for blocks with the same instructions and targets.
func (b block) key(same map[nodeID]nodeID) string {
	return fmt.Sprint(b.code, b.jump, b.write, same[b.onTrue], same[b.onFalse])
}
