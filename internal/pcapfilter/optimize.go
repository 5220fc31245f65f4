package pcapfilter

// optimize returns the root of a smaller graph that decides alike: edges skip
// tests whose outcome is known, chains of tests of few values test one value
// after the other, and equal nodes become one.
//
// Equal nodes are joined last. As long as there are several, each is reached on
// its own paths, and more is known there.
func (g *graph) optimize(root nodeID) nodeID {
	for {
		before := g.nodesFrom(root)
		root = g.untilStable(root, g.thread)
		if !g.exact {
			g.group(root)
		}
		if g.nodesFrom(root) >= before {
			break
		}
	}
	root = g.untilStable(root, g.join)
	root = g.untilStable(root, g.thread)
	return g.untilStable(root, g.join)
}

func (g *graph) nodesFrom(root nodeID) int { return len(g.order(root)) }

// untilStable repeats a pass that makes a new graph until its size and its
// nodes do not change any more.
func (g *graph) untilStable(root nodeID, pass func(nodeID) nodeID) nodeID {
	for range 100 { // far more than ever needed; each pass is correct by itself
		old := g.copyFrom(root)
		root = pass(root)
		if g.sameAs(root, old) {
			break
		}
	}
	return root
}

// copyFrom is the graph in a form that can be compared: its nodes in order.
func (g *graph) copyFrom(root nodeID) []node {
	order := g.order(root)
	index := map[nodeID]nodeID{reject: reject, accept: accept}
	for i, id := range order {
		index[id] = nodeID(i + 2)
	}
	nodes := make([]node, len(order))
	for i, id := range order {
		n := g.nodes[id]
		n.onTrue, n.onFalse = index[n.onTrue], index[n.onFalse]
		nodes[i] = n
	}
	return nodes
}

func (g *graph) sameAs(root nodeID, old []node) bool {
	now := g.copyFrom(root)
	if len(now) != len(old) {
		return false
	}
	for i := range now {
		if now[i] != old[i] {
			return false
		}
	}
	return true
}

// rebuild makes a new graph, from its ends to its beginning: target says where an
// edge leads to now, and keep adds a node.
func (g *graph) rebuild(root nodeID, target func(from nodeID, outcome bool, to nodeID) nodeID, keep func(n node) nodeID) nodeID {
	order := g.order(root)
	replaced := map[nodeID]nodeID{reject: reject, accept: accept}
	for i := len(order) - 1; i >= 0; i-- {
		id := order[i]
		n := g.nodes[id]
		n.onTrue = replaced[target(id, true, n.onTrue)]
		n.onFalse = replaced[target(id, false, n.onFalse)]
		switch {
		case n.write && (n.assign.must || !isEnd(n.onTrue)): // before an end nobody reads it
			n.onFalse = n.onTrue
			replaced[id] = keep(n)
		case n.onTrue == n.onFalse || n.write:
			replaced[id] = n.onTrue
		default:
			replaced[id] = keep(n)
		}
	}
	return replaced[root]
}

// thread leads each edge past the tests whose outcome is known on it.
func (g *graph) thread(root nodeID) nodeID {
	known := g.facts(g.order(root))
	past := func(from nodeID, outcome bool, to nodeID) nodeID {
		n := g.nodes[from]
		f := known[from]
		if n.write {
			f = f.without(g.values, n.assign.slot)
		} else {
			f = f.with(n.test, outcome)
		}
		for !isEnd(to) && !g.nodes[to].write {
			next := g.nodes[to]
			result, ok := f.outcomeOf(g.values, next.test)
			if !ok {
				break
			}
			to = next.onFalse
			if result {
				to = next.onTrue
			}
		}
		return to
	}
	return g.rebuild(root, past, g.add)
}

// join makes one node of equal ones.
func (g *graph) join(root nodeID) nodeID {
	same := make(map[node]nodeID)
	return g.rebuild(root, func(_ nodeID, _ bool, to nodeID) nodeID { return to }, func(n node) nodeID {
		if id, ok := same[n]; ok {
			return id
		}
		id := g.add(n)
		same[n] = id
		return id
	})
}

// group puts the tests of one value in a chain next to each other, so that it is
// loaded once. In a chain all tests but the last go on with the next for one
// outcome, and to one node for the other; so their order does not matter, but for
// packets that are too short for a value.
func (g *graph) group(root nodeID) {
	order := g.order(root)
	edges := make(map[nodeID]int)
	for _, id := range order {
		edges[g.nodes[id].onTrue]++
		if !g.nodes[id].write {
			edges[g.nodes[id].onFalse]++
		}
	}
	done := make(map[nodeID]bool)
	for _, id := range order {
		if done[id] || g.nodes[id].write {
			continue
		}
		for _, outcome := range []bool{false, true} {
			chain := g.chain(id, outcome, edges)
			if len(chain) > 2 {
				g.reorder(chain)
				for _, member := range chain[:len(chain)-1] {
					done[member] = true
				}
				break
			}
		}
	}
}

// chain is the nodes that follow each other on one outcome, with one target for
// the other.
func (g *graph) chain(first nodeID, outcome bool, edges map[nodeID]int) []nodeID {
	step := func(n node) (next, exit nodeID) {
		if outcome {
			return n.onTrue, n.onFalse
		}
		return n.onFalse, n.onTrue
	}
	next, exit := step(g.nodes[first])
	chain := []nodeID{first}
	for !isEnd(next) && edges[next] == 1 && !g.nodes[next].write {
		after, other := step(g.nodes[next])
		if other != exit {
			break
		}
		chain = append(chain, next)
		next = after
	}
	return chain
}

// reorder moves each test of a chain behind the last one of the same value.
func (g *graph) reorder(chain []nodeID) {
	var values []valueID // in the order of their first tests
	tests := make(map[valueID][]test)
	for _, id := range chain {
		t := g.nodes[id].test
		if tests[t.left] == nil {
			values = append(values, t.left)
		}
		tests[t.left] = append(tests[t.left], t)
	}
	at := 0
	for _, v := range values {
		for _, t := range tests[v] {
			g.nodes[chain[at]].test = t
			at++
		}
	}
}
