package expect

import (
	"slices"
	"strings"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// A source is the section of a report that has a metric.
type source int

const (
	fromRows source = iota // or from flows, when labels of flows are used
	fromDrops
	fromDNS
	fromAPIServers
	fromLost
)

// An amount is what can be added up: a counter, the two sides of a ratio, or times.
type amount struct {
	count, of uint64
	times     wire.Times
	histogram wire.Histogram
}

func (a *amount) add(b amount) {
	a.count, a.of = plus(a.count, b.count), plus(a.of, b.of)
	a.histogram = metrics.Merge(a.histogram, b.histogram)
	a.times.Count, a.times.Sum = plus(a.times.Count, b.times.Count), plus(a.times.Sum, b.times.Sum)
	a.times.Max = max(a.times.Max, b.times.Max)
}

func plus(a, b uint64) uint64 {
	if a+b < a {
		return ^uint64(0)
	}
	return a + b
}

// statistics of times.
const (
	mean    = -1
	maximum = -2
)

// A metric is something that an expectation can be about.
type metric struct {
	name   string
	unit   metrics.Unit
	source source
	// plugins are groups of which one of each must run, the better ones first.
	plugins [][]string
	// of is what values have of it, in and out that of one direction. Nil: it is not
	// in Values, or has no direction.
	of      func(*metrics.Values) amount
	in, out func(*metrics.Values) uint64
	// quantile of times: 0 to 1, mean or maximum.
	quantile float64
	// seen is set for what is seen of packets: a packet of a pod may be counted at
	// the node's interfaces too.
	seen bool
	// flows is set for what flows have too.
	flows bool
}

func (m *metric) counter() bool { return m.unit == metrics.UnitCount || m.unit == metrics.UnitBytes }

// value returns false where there is no such number.
func (m *metric) value(a amount) (float64, bool) {
	switch {
	case m.unit == metrics.UnitRatio:
		if a.of == 0 {
			return 0, false
		}
		return float64(a.count) / float64(a.of), true
	case m.unit != metrics.UnitTime:
		return float64(a.count), true
	case m.quantile == mean:
		return metrics.MeanTime(a.histogram, a.times)
	case m.quantile == maximum:
		return metrics.MaxTime(a.histogram, a.times)
	}
	return metrics.Quantile(a.histogram, m.quantile)
}

// allMetrics returns the metrics by name.
func allMetrics() []metric {
	var all []metric
	for _, c := range metrics.Columns(metrics.ByPod) {
		if c.Text != nil {
			continue
		}
		m := metric{name: c.Name, unit: c.Unit, plugins: [][]string{c.Plugins}}
		switch {
		case strings.HasPrefix(c.Name, "dns_"):
			m.source = fromDNS
		case strings.HasPrefix(c.Name, "drop"):
			m.source = fromDrops
		default:
			m.flows = true
			m.seen = !slices.Contains([]string{"retransmits", "segments_out", "retransmit_ratio"}, c.Name)
		}
		m.amounts(&c)
		all = append(all, m)
	}
	api := [][]string{{metrics.PluginAPIServer}}
	all = append(all,
		metric{name: "apiserver_attempts", unit: metrics.UnitCount, source: fromAPIServers, plugins: api},
		metric{name: "apiserver_errors", unit: metrics.UnitCount, source: fromAPIServers, plugins: api},
		metric{name: "lost", unit: metrics.UnitCount, source: fromLost},
	)
	for _, s := range statistics() {
		all = append(all, metric{name: "apiserver_" + s.suffix, unit: metrics.UnitTime, source: fromAPIServers, plugins: api, quantile: s.quantile})
	}
	return all
}

type statistic struct {
	suffix   string
	quantile float64
}

func statistics() []statistic {
	return []statistic{{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"mean", mean}, {"max", maximum}}
}

// amounts fills in how the numbers of a column are added up.
func (m *metric) amounts(c *metrics.Column) {
	switch {
	case c.Count != nil:
		m.of = func(v *metrics.Values) amount { return amount{count: c.Count(v)} }
	case c.Name == "retransmit_ratio":
		m.of = func(v *metrics.Values) amount { return amount{count: v.Retransmits, of: v.SegmentsOut} }
		m.plugins = append(m.plugins, []string{metrics.PluginStats, metrics.PluginFlows})
	case c.Name == "dns_error_ratio":
		m.of = func(v *metrics.Values) amount { return amount{count: v.DNSErrors, of: v.DNSResponses} }
	default:
		prefix, suffix, _ := strings.Cut(c.Name, "_")
		for _, s := range statistics() {
			if s.suffix == suffix {
				m.quantile = s.quantile
			}
		}
		m.of = timesOf(prefix)
	}
	switch c.Name {
	case "packets":
		m.in, m.out = func(v *metrics.Values) uint64 { return v.PacketsIn }, func(v *metrics.Values) uint64 { return v.PacketsOut }
	case "bytes":
		m.in, m.out = func(v *metrics.Values) uint64 { return v.BytesIn }, func(v *metrics.Values) uint64 { return v.BytesOut }
	case "resets":
		m.in, m.out = func(v *metrics.Values) uint64 { return v.ResetsIn }, func(v *metrics.Values) uint64 { return v.ResetsOut }
	}
}

func timesOf(prefix string) func(*metrics.Values) amount {
	return func(v *metrics.Values) amount {
		switch prefix {
		case "connect":
			return amount{histogram: v.Connect, times: v.ConnectTimes}
		case "rtt":
			return amount{histogram: v.RTT, times: v.RTTTimes}
		}
		return amount{histogram: v.DNSLatency}
	}
}

// labels returns the labels that select from m.
func (m *metric) labels() []string {
	targets := []string{"namespace", "pod", "node", "workload", "service"}
	switch m.source {
	case fromDrops:
		return append(targets, "reason", "hook", "direction", "on", "remote", "protocol", "port")
	case fromDNS:
		labels := append(targets, "name", "type", "remote", "protocol", "role")
		if m.name == "dns_responses" || m.name == "dns_errors" || m.name == "dns_error_ratio" {
			labels = append(labels, "code")
		}
		return labels
	case fromAPIServers:
		if m.name == "apiserver_errors" {
			return []string{"node", "remote", "reason"}
		}
		return []string{"node", "remote"}
	case fromLost:
		return []string{"node", "plugin"}
	}
	if m.in != nil {
		targets = append(targets, "direction")
	}
	if m.flows && !(m.unit == metrics.UnitTime && m.quantile >= 0) {
		targets = append(targets, flowLabels()...)
	}
	return targets
}

func flowLabels() []string { return []string{"remote", "protocol", "port", "role"} }

// findMetric takes "." and "-" for "_".
func findMetric(name string) (metric, bool) {
	name = canonical(name)
	for _, m := range allMetrics() {
		if m.name == name {
			return m, true
		}
	}
	return metric{}, false
}

func canonical(name string) string {
	return strings.NewReplacer(".", "_", "-", "_").Replace(strings.ToLower(name))
}
