package exposition

import (
	"strings"

	retina "github.com/kubectl-retina/kubectl-retina"
	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
)

// A chooser returns the labels of one of the kernel's numbers; false for one that
// is not of the metric.
type chooser func(s *metrics.Stat) (labels, bool)

// stats fills in the kernel's numbers of the metric's group.
func stats(choose chooser) filler {
	return func(f *family, r *metrics.Report) {
		gauge := f.about.metric.Type == retina.Gauge
		for i := range r.Stats {
			s := &r.Stats[i]
			if s.Group != f.about.metric.Group || s.Gauge != gauge || !f.concerns(&s.Target) {
				continue
			}
			own, ok := choose(s)
			if !ok {
				continue
			}
			l := local(&s.Target)
			for name, value := range own {
				l[name] = value
			}
			if gauge {
				f.gauge(float64(s.Value), f.values(l)...)
				continue
			}
			f.count(member(&s.Target), s.Value, f.values(l)...)
		}
	}
}

func statistic(s *metrics.Stat) (labels, bool) { return labels{"statistic_name": s.Name}, true }

func ofInterface(s *metrics.Stat) (labels, bool) {
	return labels{"statistic_name": s.Name, "interface_name": s.Interface}, true
}

// tcpState is "ESTABLISHED" of "TCP_ESTABLISHED". The numbers of /proc/net/sockstat
// are of the same group and in lower case.
func tcpState(s *metrics.Stat) (labels, bool) {
	state, ok := strings.CutPrefix(s.Name, "TCP_")
	return labels{"state": state}, ok && state == strings.ToUpper(state)
}

// udpSockets adds up those of IPv4 and IPv6 under Retina's name for them.
func udpSockets(s *metrics.Stat) (labels, bool) {
	return labels{"statistic_name": "ACTIVE"}, s.Name == "UDP_inuse" || s.Name == "UDP6_inuse"
}

func only(name string) chooser {
	return func(s *metrics.Stat) (labels, bool) { return nil, s.Name == name }
}

func lost(f *family, r *metrics.Report) {
	for _, l := range r.Lost {
		f.count(l.Node, l.Count, f.values(labels{"node": l.Node, "plugin": l.Plugin, "what": l.What})...)
	}
}

func unsupported(f *family, r *metrics.Report) {
	for i := range r.Nodes {
		levels := make(map[string]float64)
		for _, u := range r.Nodes[i].Unsupported {
			level := 2.0
			if u.Partial {
				level = 1
			}
			levels[u.Plugin] = max(levels[u.Plugin], level)
		}
		for plugin, level := range levels {
			f.gauge(level, f.values(labels{"node": r.Nodes[i].Name, "plugin": plugin})...)
		}
	}
}

func up(f *family, r *metrics.Report) {
	for i := range r.Nodes {
		level := 0.0
		if r.Nodes[i].Error == "" && r.Nodes[i].Samples > 0 {
			level = 1
		}
		f.gauge(level, f.values(labels{"node": r.Nodes[i].Name})...)
	}
}

// notMeasured counts targets that should be measured and are not, also where there
// is none.
func notMeasured(f *family, r *metrics.Report) {
	for i := range r.Nodes {
		f.gauge(0, f.values(labels{"node": r.Nodes[i].Name})...)
	}
	for _, s := range r.Skipped {
		if s.Party == nil {
			continue // left out on purpose
		}
		node := s.Party.Node
		if s.Party.Kind == metrics.KindNode {
			node = s.Party.Name
		}
		f.gauge(1, f.values(labels{"node": node})...)
	}
}

// pods counts those that are still there, also where there is none.
func pods(f *family, r *metrics.Report) {
	for i := range r.Nodes {
		f.gauge(0, f.values(labels{"node": r.Nodes[i].Name})...)
	}
	for i := range r.Rows {
		if row := &r.Rows[i]; row.Kind == metrics.KindPod {
			f.gauge(float64(row.Targets-row.GoneTargets), f.values(labels{"node": row.Node})...)
		}
	}
}
