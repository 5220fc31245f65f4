package exposition

import (
	retina "github.com/kubectl-retina/kubectl-retina"
	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
)

// A ledger keeps counters from going down. A pod that is forgotten takes its
// numbers out of every sum that it is in; here they stay.
type ledger map[seriesID]*balance

type balance struct {
	values  []string
	gone    uint64            // what members had that they do not have any more
	members map[string]uint64 // the last time
}

// settle works out the totals of all counters. A node's series stay as long as the
// node does; others end when nobody counts for them any more.
func (l ledger) settle(families []*family, r *metrics.Report) {
	nodes := make(map[string]bool, len(r.Nodes))
	for i := range r.Nodes {
		nodes[r.Nodes[i].Name] = true
	}
	byName := make(map[string]*family, len(families))
	for _, f := range families {
		byName[f.about.metric.Name] = f
	}
	for id, b := range l {
		f := byName[id.metric]
		switch {
		case f.series[id.key] != nil:
		case f.about.metric.Context == retina.ContextNode && len(b.values) > 0 && nodes[b.values[0]]: // its first label is the node
			f.at(b.values)
		default:
			delete(l, id)
		}
	}
	for _, f := range families {
		if f.about.metric.Type != retina.Counter {
			continue
		}
		for key, s := range f.series {
			l.add(seriesID{f.about.metric.Name, key}, s)
		}
	}
}

func (l ledger) add(id seriesID, s *series) {
	b := l[id]
	if b == nil {
		b = &balance{values: s.values}
		l[id] = b
	}
	for member, before := range b.members {
		if now := s.members[member]; now < before {
			b.gone = plus(b.gone, before-now)
		}
	}
	b.members = s.members
	s.total = b.gone
	for _, n := range s.members {
		s.total = plus(s.total, n)
	}
}
