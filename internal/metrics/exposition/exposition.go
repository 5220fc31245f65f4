// Package exposition turns reports into metrics for Prometheus, as the catalogue
// plugins.yaml names them.
//
// Names. Retina exports counters as gauges without the suffix _total. Prometheus
// wants counters to have it, and `promtool check metrics` complains about a counter
// without, and about a name that ends in _count and has another type than histogram.
// It says nothing about an untyped metric, whatever its name. So a counter is
// exported under its catalogue name with _total as a counter, and, where Retina has
// the metric, with the same value under Retina's own name as untyped, on which
// rate() and Retina's dashboards work as before.
//
// Counters and histograms never go down while their series is there: what a pod had counted stays
// in the sums of its node when the fold forgets the pod. The pod's own series end
// then.
package exposition

import (
	"fmt"
	"io"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	retina "github.com/kubectl-retina/kubectl-retina"
	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
)

// Contexts of the metrics of pods.
const (
	// Local has one series for each pod.
	Local = "local"
	// Remote has one for each pair of a pod and what it talks to, of metrics that
	// know pairs.
	Remote = "remote"
)

// Options of a [Collector].
type Options struct {
	Context string // Local, which is also "", or Remote
	// MaxSeries bounds the series about nodes and pods; <= 0: no bound. Those that
	// were served before stay, and the metric series_limited counts what is left out.
	MaxSeries int
	// WithoutRetinaNames leaves out the second, untyped series of each counter.
	WithoutRetinaNames bool
}

// A Source has the present state: a [metrics.Fold].
type Source interface {
	Report(metrics.By) *metrics.Report
}

// A Collector serves what a source has. It may be asked concurrently.
type Collector struct {
	source Source
	opts   Options
	table  []described

	mu     sync.Mutex
	ledger ledger
	served map[seriesID]bool // the last time
}

var _ prometheus.Collector = (*Collector)(nil)

// New returns a collector.
func New(source Source, o Options) (*Collector, error) {
	if o.Context != "" && o.Context != Local && o.Context != Remote {
		return nil, fmt.Errorf("unknown context %q", o.Context)
	}
	catalogue, err := retina.Catalog()
	if err != nil {
		return nil, err
	}
	table := describe(catalogue, o.Context == Remote)
	if o.WithoutRetinaNames {
		for i := range table {
			table[i].alias = nil
		}
	}
	return &Collector{source: source, opts: o, table: table, ledger: make(ledger)}, nil
}

// Write writes a report, which should be by pod, once, in Prometheus' text format.
func Write(to io.Writer, r *metrics.Report, o Options) error {
	c, err := New(fixed{r}, o)
	if err != nil {
		return err
	}
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(c); err != nil {
		return err
	}
	families, err := registry.Gather()
	if err != nil {
		return err
	}
	encoder := expfmt.NewEncoder(to, expfmt.NewFormat(expfmt.TypeTextPlain))
	for _, family := range families {
		if err := encoder.Encode(family); err != nil {
			return err
		}
	}
	return nil
}

// fixed is a source that has one report.
type fixed struct{ report *metrics.Report }

// Report returns the report that there is.
func (f fixed) Report(metrics.By) *metrics.Report { return f.report }

// Describe sends nothing: which metrics there are depends on the report.
func (c *Collector) Describe(chan<- *prometheus.Desc) {}

// Collect sends the present state.
func (c *Collector) Collect(to chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	report := c.source.Report(metrics.ByPod)
	families := make([]*family, len(c.table))
	for i := range c.table {
		families[i] = c.table[i].family(report)
	}
	c.ledger.settle(families, report)
	kept, left := c.limit(families)
	for i, f := range families {
		switch f.about.metric.Name {
		case seriesMetric:
			f.gauge(float64(kept))
		case limitedMetric:
			f.gauge(float64(left))
		}
		c.table[i].send(to, f)
	}
}

// Names of the metrics that are known only when all others are.
const (
	seriesMetric  = "networkobservability_series"
	limitedMetric = "networkobservability_series_limited"
)
