package metrics

import (
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// targetSum is the numbers of one target.
type targetSum struct {
	// seen is what is seen of packets on interfaces. A packet of a pod may cross the
	// node's too.
	seen Values
	// own is what concerns this target and no other.
	own Values
	// Of TCP: segments sent as flows, and as the kernel has them.
	flowSegments, outSegs, retransSegs uint64
}

// segmentsOut prefers the kernel's number: it has all connections.
func (s *targetSum) segmentsOut() uint64 {
	if s.outSegs > 0 {
		return plus(s.outSegs, max(s.retransSegs, s.own.Retransmits))
	}
	return s.flowSegments
}

// groups collects the rows of a report.
type groups struct {
	by      By
	byKey   map[rowKey]*Row
	targets map[rowKey]map[*target]bool
	flows   map[rowKey]bool // rows of flows that were seen
}

func newGroups(by By) *groups {
	return &groups{by: by, byKey: make(map[rowKey]*Row), targets: make(map[rowKey]map[*target]bool), flows: make(map[rowKey]bool)}
}

// row returns the row of k, which t is a member of from now on.
func (g *groups) row(k rowKey, t *target, party Party) *Row {
	r := g.byKey[k]
	if r == nil {
		r = &Row{Party: party}
		g.byKey[k] = r
		g.targets[k] = make(map[*target]bool)
	}
	if !g.targets[k][t] {
		g.targets[k][t] = true
		r.Targets++
		if !t.ended.IsZero() {
			r.GoneTargets++
		}
		r.Party = r.Party.common(party)
	}
	return r
}

// addNode takes in the sums of a node's targets.
func (g *groups) addNode(n *nodeState, sums map[uint32]*targetSum) {
	if g.by == ByFlow {
		return
	}
	nodeIsTarget := false
	for _, t := range n.targets {
		nodeIsTarget = nodeIsTarget || t.party.Kind == KindNode
	}
	for id, t := range n.targets {
		sum := sums[id]
		sum.own.SegmentsOut = sum.segmentsOut()
		party := t.as
		if g.by == ByNode {
			party = Party{Kind: KindNode, Name: n.about.Name, Node: n.about.Name, Zone: t.as.Zone}
			if t.party.Kind == KindNode {
				party.Addresses = t.party.Addresses
			}
		}
		row := g.row(groupKey(g.by, &t.as, n.about.Name), t, party)
		row.Values.Add(&sum.own)
		if g.by != ByNode || !nodeIsTarget || t.party.Kind == KindNode {
			row.Values.Add(&sum.seen)
		}
	}
}

// addFlow makes or adds to the row of a flow: those of one target and one other
// address are together, whatever the target's own address.
func (g *groups) addFlow(t *target, f *Flow, v *Values) {
	if g.by != ByFlow {
		return
	}
	row := g.flowRow(t, f.Remote, f.Protocol, f.Port, f.Role)
	g.flows[row.key(ByFlow)] = true
	row.Values.Add(v)
}

func (g *groups) flowRow(t *target, remote Party, protocol string, port uint16, role string) *Row {
	row := g.row(g.flowKey(t, &remote, protocol, port, role), t, t.as)
	if row.Remote == nil {
		row.Remote, row.Protocol, row.Port, row.Role = &remote, protocol, port, role
	}
	return row
}

func (g *groups) flowKey(t *target, remote *Party, protocol string, port uint16, role string) rowKey {
	k := groupKey(ByFlow, &t.party, "")
	k.remote, k.remoteAt, k.protocol, k.port, k.role = remote.key(), addressOf(remote), protocol, port, role
	return k
}

// addDrop adds a drop to the flow that it is of. One of no flow that was seen has
// a row of its own: a packet can be dropped before anything else sees it.
func (g *groups) addDrop(t *target, d *Drop, v *Values) {
	if g.by != ByFlow {
		return
	}
	remote, server := d.flow()
	for _, port := range server {
		for _, role := range []string{wire.RoleClient, wire.RoleServer, ""} {
			if k := g.flowKey(t, &remote, d.Protocol, port, role); g.flows[k] {
				g.row(k, t, t.as).Values.Add(v)
				return
			}
		}
	}
	g.flowRow(t, remote, d.Protocol, server[0], "").Values.Add(v)
}

// flow returns the side of a drop that is not its target, and what the server's
// port may be, the likelier first.
func (d *Drop) flow() (remote Party, server [2]uint16) {
	if d.Source == nil || d.Destination == nil {
		return Party{Kind: KindUnknown}, server
	}
	server = [2]uint16{min(d.Source.Port, d.Destination.Port), max(d.Source.Port, d.Destination.Port)}
	return d.Other().Party, server
}

// Other returns the side that is not the target's; nil when sides are not known.
func (d *Drop) Other() *Side {
	switch {
	case d.Source == nil || d.Destination == nil:
		return nil
	case d.Source.Party.key() == d.Target.key():
		return d.Destination
	case d.Destination.Party.key() == d.Target.key() || d.Direction == wire.DirectionIn:
		return d.Source
	}
	return d.Destination
}

func (g *groups) addDNS(t *target, d *DNS, v *Values) {
	if g.by != ByFlow {
		return
	}
	remote := d.Server.Party
	if d.Role == wire.RoleServer { // the target itself; who asked is not counted
		remote = Party{Kind: KindUnknown}
	}
	g.flowRow(t, remote, d.Protocol, d.Server.Port, d.Role).Values.Add(v)
}

// rows returns the rows by their labels.
func (g *groups) rows() []Row {
	rows := make([]Row, 0, len(g.byKey))
	for _, r := range g.byKey {
		rows = append(rows, *r)
	}
	return sortBy(rows, func(r *Row) rowKey { return r.key(g.by) }, rowKey.compare, nil)
}
