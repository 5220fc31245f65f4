package exposition

import (
	retina "github.com/kubectl-retina/kubectl-retina"
	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// A ledger keeps counters and histograms from going down. A pod that is forgotten
// takes its numbers out of every sum that it is in; here they stay.
type ledger map[seriesID]*balance

// A balance is what is known of one series. Gone is what members had that they do
// not have any more; members and times are theirs of the last time.
type balance struct {
	values    []string
	gone      uint64
	goneTimes wire.Histogram
	members   map[string]uint64
	times     map[string]wire.Histogram
}

// settle works out the totals of all counters and histograms. A node's series stay
// as long as the node does; others end when nobody counts for them any more.
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
		for key, s := range f.series {
			switch f.about.metric.Type {
			case retina.Counter:
				l.of(f, key, s).count(s)
			case retina.Histogram:
				l.of(f, key, s).observe(s)
			}
		}
	}
}

func (l ledger) of(f *family, key string, s *series) *balance {
	id := seriesID{f.about.metric.Name, key}
	if l[id] == nil {
		l[id] = &balance{values: s.values}
	}
	return l[id]
}

func (b *balance) count(s *series) {
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

func (b *balance) observe(s *series) {
	for member, before := range b.times {
		b.goneTimes = metrics.Merge(b.goneTimes, fallen(before, s.times[member]))
	}
	b.times = s.times
	s.histogram = b.goneTimes
	for _, h := range s.times {
		s.histogram = metrics.Merge(s.histogram, h)
	}
}

// fallen returns what was in before and is not in now, bucket by bucket.
func fallen(before, now wire.Histogram) wire.Histogram {
	less := func(a, b uint64) uint64 { return a - min(a, b) }
	gone := wire.Histogram{Sum: less(before.Sum, now.Sum)}
	for i, n := range before.Buckets {
		var left uint64
		if i < len(now.Buckets) {
			left = now.Buckets[i]
		}
		gone.Buckets = append(gone.Buckets, less(n, left))
	}
	return gone
}
