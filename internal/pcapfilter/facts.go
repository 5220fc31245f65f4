package pcapfilter

// fact is the outcome of a test, in a list of all that are known at some place.
// Lists share their ends, as paths share their beginnings.
type fact struct {
	test    test
	outcome bool
	before  *fact
	depth   int
}

func (f *fact) with(t test, outcome bool) *fact {
	return &fact{t, outcome, f, f.len() + 1}
}

func (f *fact) len() int {
	if f == nil {
		return 0
	}
	return f.depth
}

// outcomeOf is what is known of a test: from the same test, or because the
// value is known to equal something else.
func (f *fact) outcomeOf(v *values, t test) (outcome, known bool) {
	_, isConst := v.isConst(t.right)
	for ; f != nil; f = f.before {
		if f.test == t {
			return f.outcome, true
		}
		if isConst && f.outcome && t.jump == opJeq && f.test.jump == opJeq && f.test.left == t.left {
			if _, ok := v.isConst(f.test.right); ok {
				return false, true
			}
		}
	}
	return false, false
}

// shared is what both lists have.
func shared(a, b *fact) *fact {
	var onlyA, onlyB []*fact
	for a != b {
		if a.len() > b.len() {
			onlyA = append(onlyA, a)
			a = a.before
		} else {
			onlyB = append(onlyB, b)
			b = b.before
		}
	}
	if len(onlyA) == 0 || len(onlyB) == 0 {
		return a
	}
	outcomes := make(map[test]bool, len(onlyB))
	for _, f := range onlyB {
		outcomes[f.test] = f.outcome
	}
	result := a
	for i := len(onlyA) - 1; i >= 0; i-- {
		if outcome, ok := outcomes[onlyA[i].test]; ok && outcome == onlyA[i].outcome {
			result = result.with(onlyA[i].test, outcome)
		}
	}
	return result
}

// without leaves away what a memory slot takes part in.
func (f *fact) without(v *values, slot uint32) *fact {
	if f == nil {
		return nil
	}
	rest := f.before.without(v, slot)
	if v.uses(f.test.left, slot) || v.uses(f.test.right, slot) {
		return rest
	}
	if rest == f.before {
		return f
	}
	return rest.with(f.test, f.outcome)
}

// facts returns what is known at each node: what is known on every edge to it.
func (g *graph) facts(order []nodeID) map[nodeID]*fact {
	known := make(map[nodeID]*fact, len(order))
	reached := make(map[nodeID]bool, len(order))
	arrive := func(n nodeID, f *fact) {
		switch {
		case isEnd(n):
		case reached[n]:
			known[n] = shared(known[n], f)
		default:
			known[n], reached[n] = f, true
		}
	}
	for _, id := range order {
		n := g.nodes[id]
		if n.write {
			arrive(n.onTrue, known[id].without(g.values, n.assign.slot))
			continue
		}
		arrive(n.onTrue, known[id].with(n.test, true))
		arrive(n.onFalse, known[id].with(n.test, false))
	}
	return known
}
