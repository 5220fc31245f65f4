package pcapfilter

// A graph of decisions: each node tests, or writes memory, and says which node is
// next. It has no loops. The condition of a filter becomes one in lower, without
// sharing anything but what comes next; optimize makes it small.
type graph struct {
	*values
	nodes []node
	exact bool // short packets too are decided as without optimizing
}

type nodeID int32

// The two ends of every graph.
const (
	reject nodeID = iota
	accept
)

type node struct {
	test   test   // of a decision
	assign assign // of a write, when write is set; then onTrue is next
	write  bool

	onTrue, onFalse nodeID
}

func newGraph(v *values) *graph {
	return &graph{values: v, nodes: make([]node, 2)}
}

func isEnd(n nodeID) bool { return n == reject || n == accept }

// lower returns the node where a condition begins, which goes to one of two
// others.
func (g *graph) lower(c condition, onTrue, onFalse nodeID) nodeID {
	switch c := c.(type) {
	case both:
		return g.lower(c.first, g.lower(c.second, onTrue, onFalse), onFalse)
	case either:
		return g.lower(c.first, onTrue, g.lower(c.second, onTrue, onFalse))
	case inverse:
		return g.lower(c.x, onFalse, onTrue)
	case fixed:
		if c {
			return onTrue
		}
		return onFalse
	case assign:
		g.exact = g.exact || c.must
		return g.add(node{assign: c, write: true, onTrue: onTrue, onFalse: onTrue})
	case test:
		return g.decideGuarded(c, onTrue, onFalse)
	}
	panic("there are no other conditions")
}

func (g *graph) add(n node) nodeID {
	g.nodes = append(g.nodes, n)
	return nodeID(len(g.nodes) - 1)
}

// decide adds a test, in the form that needs the fewest instructions. A test of
// constants becomes none. Other tests that cannot fail stay, as in libpcap: their
// reading rejects packets that are too short.
func (g *graph) decide(t test, onTrue, onFalse nodeID) nodeID {
	left, leftConst := g.isConst(t.left)
	right, rightConst := g.isConst(t.right)
	switch {
	case leftConst && rightConst:
		if compare(t.jump, left, right) {
			return onTrue
		}
		return onFalse
	case leftConst && t.jump == opJeq:
		return g.decide(test{opJeq, t.right, t.left}, onTrue, onFalse)
	case leftConst && t.jump == opJgt: // k > x: not x >= k
		return g.decide(test{opJge, t.right, t.left}, onFalse, onTrue)
	case leftConst && t.jump == opJge:
		return g.decide(test{opJgt, t.right, t.left}, onFalse, onTrue)
	}
	if x := g.all[t.left]; rightConst && t.jump == opJeq && x.kind == valueMath {
		if k, ok := g.isConst(x.b); ok {
			switch {
			case x.operator == opAnd && right == 0:
				return g.decide(test{opJset, x.a, x.b}, onFalse, onTrue)
			case x.operator == opAdd:
				return g.decide(test{opJeq, x.a, g.constant(right - k)}, onTrue, onFalse)
			case x.operator == opSub:
				return g.decide(test{opJeq, x.a, g.constant(right + k)}, onTrue, onFalse)
			case x.operator == opXor:
				return g.decide(test{opJeq, x.a, g.constant(right ^ k)}, onTrue, onFalse)
			}
		} else if x.operator == opSub && right == 0 {
			return g.decide(test{opJeq, x.a, x.b}, onTrue, onFalse)
		}
	}
	return g.add(node{test: t, onTrue: onTrue, onFalse: onFalse})
}

func compare(jump uint16, a, b uint32) bool {
	switch jump {
	case opJeq:
		return a == b
	case opJgt:
		return a > b
	case opJge:
		return a >= b
	}
	return a&b != 0
}

// order returns the nodes that can be reached, each before those that it leads
// to; the ends are not among them.
func (g *graph) order(root nodeID) []nodeID {
	var reversed []nodeID
	seen := make([]bool, len(g.nodes))
	var visit func(n nodeID)
	visit = func(n nodeID) {
		if isEnd(n) || seen[n] {
			return
		}
		seen[n] = true
		visit(g.nodes[n].onFalse)
		visit(g.nodes[n].onTrue)
		reversed = append(reversed, n)
	}
	visit(root)
	for i, j := 0, len(reversed)-1; i < j; i, j = i+1, j-1 {
		reversed[i], reversed[j] = reversed[j], reversed[i]
	}
	return reversed
}

// initialize writes 0 to the memory slots that may be read before anything is
// written to them, as after geneve or ...: what follows looks into a tunnel also
// where there is none.
func (g *graph) initialize(root nodeID) nodeID {
	written := map[nodeID]uint32{root: 0} // slots, a bit each
	var early uint32
	for _, id := range g.order(root) {
		n, has := g.nodes[id], written[id]
		targets := []nodeID{n.onTrue, n.onFalse}
		if n.write {
			early |= g.reads(n.assign.value) &^ has
			has |= 1 << n.assign.slot
			targets = targets[:1]
		} else {
			early |= (g.reads(n.test.left) | g.reads(n.test.right)) &^ has
		}
		for _, to := range targets {
			if before, ok := written[to]; ok {
				written[to] = before & has
			} else {
				written[to] = has
			}
		}
	}
	for slot := range uint32(slots) {
		if early&(1<<slot) != 0 {
			root = g.add(node{assign: assign{slot: slot, value: g.constant(0)}, write: true, onTrue: root, onFalse: root})
		}
	}
	return root
}

// reads is the memory slots that a value needs, a bit each.
func (v *values) reads(id valueID) uint32 {
	if id == noValue {
		return 0
	}
	x := v.all[id]
	if x.kind == valueMemory {
		return 1 << x.k
	}
	return v.reads(x.a) | v.reads(x.b)
}
