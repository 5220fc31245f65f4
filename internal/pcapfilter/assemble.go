package pcapfilter

import (
	"slices"

	"golang.org/x/net/bpf"
)

// assemble lays blocks out and resolves their jumps. Blocks that have become
// equal, because of what the registers hold already, are one.
func assemble(blocks map[nodeID]block, root nodeID, order []nodeID, snapLen uint32) Program {
	same := map[nodeID]nodeID{reject: reject, accept: accept}
	keys := make(map[string]nodeID)
	for _, id := range slices.Backward(order) {
		key := blocks[id].key(same)
		if _, ok := keys[key]; !ok {
			keys[key] = id
		}
		same[id] = keys[key]
	}
	l := &layout{index: make(map[nodeID]int)}
	var visit func(id nodeID)
	visit = func(id nodeID) {
		id = same[id]
		if _, seen := l.index[id]; seen || isEnd(id) {
			return
		}
		l.index[id] = -1
		b := blocks[id]
		b.onTrue, b.onFalse = same[b.onTrue], same[b.onFalse]
		visit(b.onFalse)
		visit(b.onTrue)
		l.blocks = append(l.blocks, b)
		l.ids = append(l.ids, id)
	}
	visit(root)
	slices.Reverse(l.blocks)
	slices.Reverse(l.ids)
	l.place()
	return l.program(snapLen)
}

// layout is blocks in the order of the program. A jump reaches 255 instructions
// ahead; one that goes further needs a jump without a limit in between.
type layout struct {
	blocks []block
	ids    []nodeID
	index  map[nodeID]int // where blocks and the ends are
	long   [][2]bool      // of each block: the true target, the false target
}

// place finds out where everything is. Jumps that become long move the rest, so
// it repeats until nothing changes.
func (l *layout) place() {
	l.long = make([][2]bool, len(l.blocks))
	for changed := true; changed; {
		at := 0
		for i, b := range l.blocks {
			l.index[l.ids[i]] = at
			at += len(b.code) + l.jumps(i)
		}
		l.index[accept], l.index[reject] = at, at+1
		if len(l.blocks) > 0 && !l.leadsTo(accept) {
			l.index[reject] = at
		}
		changed = false
		for i, b := range l.blocks {
			if b.write {
				continue
			}
			from := l.index[l.ids[i]] + len(b.code) + 1
			for side, to := range []nodeID{b.onTrue, b.onFalse} {
				if !l.long[i][side] && l.index[to]-from > 255 {
					l.long[i][side], changed = true, true
				}
			}
		}
	}
}

func (l *layout) leadsTo(id nodeID) bool {
	return slices.ContainsFunc(l.blocks, func(b block) bool { return b.onTrue == id || !b.write && b.onFalse == id })
}

// jumps is how many instructions a block needs after its own.
func (l *layout) jumps(i int) int {
	b := l.blocks[i]
	n := 0
	if b.write {
		if i+1 == len(l.blocks) || l.ids[i+1] != b.onTrue {
			n = 1
		}
		return n
	}
	for _, long := range l.long[i] {
		if long {
			n++
		}
	}
	return n + 1
}

func (l *layout) program(snapLen uint32) Program {
	var p Program
	for i, b := range l.blocks {
		p = append(p, b.code...)
		if b.write {
			if l.jumps(i) > 0 {
				p = append(p, bpf.RawInstruction{Op: classJmp | opJa, K: uint32(l.index[b.onTrue] - len(p) - 1)})
			}
			continue
		}
		jump, after := b.jump, len(p)+1
		detours := after
		distance := func(side int, to nodeID) uint8 {
			if l.long[i][side] {
				detours++
				return uint8(detours - 1 - after)
			}
			return uint8(l.index[to] - after)
		}
		jump.Jt, jump.Jf = distance(0, b.onTrue), distance(1, b.onFalse)
		p = append(p, jump)
		for side, to := range []nodeID{b.onTrue, b.onFalse} {
			if l.long[i][side] {
				p = append(p, bpf.RawInstruction{Op: classJmp | opJa, K: uint32(l.index[to] - len(p) - 1)})
			}
		}
	}
	if len(l.blocks) == 0 || l.leadsTo(accept) {
		p = append(p, bpf.RawInstruction{Op: classRet, K: snapLen})
	}
	if l.leadsTo(reject) {
		p = append(p, bpf.RawInstruction{Op: classRet, K: 0})
	}
	return p
}
