package exposition

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	retina "github.com/kubectl-retina/kubectl-retina"
	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// described is a metric of the catalogue, ready to be filled.
type described struct {
	metric *retina.Metric
	plugin string // that it comes from; "" for those of the endpoint
	remote bool   // its series are of pairs
	labels []string
	desc   *prometheus.Desc
	alias  *prometheus.Desc // Retina's name for it, when it is another one
	fill   filler
}

// describe returns what can be served, in the catalogue's order.
func describe(c *retina.Catalogue, remote bool) []described {
	var table []described
	add := func(m *retina.Metric, plugin string) {
		d := described{metric: m, plugin: plugin, remote: remote && m.Remote != "", fill: fillers()[m.Name]}
		if d.fill == nil {
			return
		}
		context := m.Context
		if d.remote {
			context, d.plugin = retina.ContextRemote, m.Remote
		}
		if known := c.Context(context); known != nil {
			d.labels = append(d.labels, known.Labels...)
		}
		d.labels = append(d.labels, m.Labels...)
		d.desc = prometheus.NewDesc(m.Name, m.Help, d.labels, nil)
		if m.Type == retina.Counter && m.Retina != "" && m.Retina != m.Name {
			d.alias = prometheus.NewDesc(m.Retina, m.Help, d.labels, nil)
		}
		table = append(table, d)
	}
	for i := range c.Plugins {
		for j := range c.Plugins[i].Metrics {
			add(&c.Plugins[i].Metrics[j], c.Plugins[i].Name)
		}
	}
	for i := range c.Endpoint {
		add(&c.Endpoint[i], "")
	}
	return table
}

// A family is a metric with its series.
type family struct {
	about  *described
	series map[string]*series // by label values
}

// A series is one set of label values. Which of the numbers it has depends on the
// metric's type.
type series struct {
	values    []string
	members   map[string]uint64 // a counter, by who has counted
	total     uint64            // of the counter; see ledger
	gauge     float64
	times     map[string]wire.Histogram // of a histogram, by who has measured
	histogram wire.Histogram            // all of them; see ledger
}

func (d *described) family(r *metrics.Report) *family {
	f := &family{about: d, series: make(map[string]*series)}
	d.fill(f, r)
	return f
}

// at returns the series of label values, which are in the order of the labels.
func (f *family) at(values []string) *series {
	for i, v := range values {
		values[i] = strings.ToValidUTF8(v, "\uFFFD")
	}
	key := strings.Join(values, "\xff")
	s := f.series[key]
	if s == nil {
		s = &series{values: values, members: make(map[string]uint64), times: make(map[string]wire.Histogram)}
		f.series[key] = s
	}
	return s
}

// count adds to a counter what member has counted.
func (f *family) count(member string, n uint64, values ...string) {
	s := f.at(values)
	s.members[member] = plus(s.members[member], n)
}

func (f *family) gauge(n float64, values ...string) { f.at(values).gauge += n }

// observe adds to a histogram what member has measured.
func (f *family) observe(member string, h wire.Histogram, values ...string) {
	s := f.at(values)
	s.times[member] = metrics.Merge(s.times[member], h)
}

// sorted returns the keys of the series.
func (f *family) sorted() []string { return slices.Sorted(maps.Keys(f.series)) }

func plus(a, b uint64) uint64 {
	if a+b < a {
		return ^uint64(0)
	}
	return a + b
}

// cost is how many series a scrape sees of one.
func (d *described) cost() int {
	switch {
	case d.metric.Type == retina.Histogram:
		return lastBound - firstBound + 4 // the buckets with +Inf, sum and count
	case d.alias != nil:
		return 2
	}
	return 1
}

func (d *described) send(to chan<- prometheus.Metric, f *family) {
	for _, key := range f.sorted() {
		s := f.series[key]
		switch d.metric.Type {
		case retina.Histogram:
			count, sum, buckets := s.buckets(d.metric.Unit)
			to <- prometheus.MustNewConstHistogram(d.desc, count, sum, buckets, s.values...)
		case retina.Counter:
			to <- prometheus.MustNewConstMetric(d.desc, prometheus.CounterValue, float64(s.total), s.values...)
			if d.alias != nil {
				to <- prometheus.MustNewConstMetric(d.alias, prometheus.UntypedValue, float64(s.total), s.values...)
			}
		default:
			to <- prometheus.MustNewConstMetric(d.desc, prometheus.GaugeValue, s.gauge, s.values...)
		}
	}
}

// The bounds of a histogram's buckets are powers of two of 1 µs, from 2^firstBound,
// 64 µs, to 2^lastBound, 34 s: they are bounds of wire.Histogram's too, so that
// nothing has to be divided.
const (
	firstBound = 6
	lastBound  = 25
)

// buckets returns a histogram as Prometheus has it: how many are below each bound.
func (s *series) buckets(unit string) (count uint64, sum float64, buckets map[float64]uint64) {
	scale := 1e6 // µs
	if unit == "milliseconds" {
		scale = 1e3
	}
	buckets = make(map[float64]uint64)
	next := 0
	for bound := firstBound; bound <= lastBound; bound++ {
		for ; next < len(s.histogram.Buckets) && wire.BucketMin(next) < 1<<bound; next++ {
			count = plus(count, s.histogram.Buckets[next])
		}
		buckets[float64(uint64(1)<<bound)/scale] = count
	}
	return metrics.Count(s.histogram), float64(s.histogram.Sum) / scale, buckets
}

// A seriesID tells series of all metrics apart.
type seriesID struct{ metric, key string }

// limit leaves out what is over the bound, and returns how many series are served
// and how many are not. Metrics about the endpoint are always served, those of nodes
// come before those of pods, and those by name of a query come last, as a pod can ask
// for any number of names. Of the same kind, what was served before stays.
func (c *Collector) limit(families []*family) (kept, left int) {
	type candidate struct {
		f       *family
		id      seriesID
		seen    bool
		context int
		cost    int
	}
	var all []candidate
	for _, f := range families {
		for key := range f.series {
			id := seriesID{f.about.metric.Name, key}
			all = append(all, candidate{f, id, c.served[id], rank(f.about.metric), f.about.cost()})
		}
	}
	slices.SortFunc(all, func(a, b candidate) int {
		seen := 0
		if a.seen != b.seen {
			seen = map[bool]int{true: -1, false: 1}[a.seen]
		}
		return cmp.Or(cmp.Compare(a.context, b.context), seen, strings.Compare(a.id.key, b.id.key), strings.Compare(a.id.metric, b.id.metric))
	})
	served := make(map[seriesID]bool, len(all))
	for _, s := range all {
		if c.opts.MaxSeries > 0 && s.context > 0 && kept+s.cost > c.opts.MaxSeries {
			delete(s.f.series, s.id.key)
			left += s.cost
			continue
		}
		if s.context > 0 {
			kept += s.cost
		}
		served[s.id] = true
	}
	c.served = served
	return kept, left
}

// rank tells which metrics come first: the lowest.
func rank(m *retina.Metric) int {
	switch {
	case m.Context == retina.ContextEndpoint:
		return 0
	case slices.Contains(m.Labels, "query"):
		return 3
	case m.Context == retina.ContextNode:
		return 1
	}
	return 2
}
