package exposition

import (
	retina "github.com/kubectl-retina/kubectl-retina"
	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// concerns tells whether a target's numbers belong to the family: a node's own to
// metrics of nodes, a pod's to those of pods.
func (f *family) concerns(p *metrics.Party) bool {
	if f.about.metric.Context == retina.ContextNode {
		return p.Kind == metrics.KindNode
	}
	return p.Kind == metrics.KindPod
}

// rows calls each with the rows of the family's targets on nodes where one of the
// plugins ran.
func (f *family) rows(r *metrics.Report, each func(row *metrics.Row), plugins ...string) {
	for i := range r.Rows {
		row := &r.Rows[i]
		if !f.concerns(&row.Party) {
			continue
		}
		for _, plugin := range plugins {
			if r.Measured(plugin, nodeOf(&row.Party)) {
				each(row)
				break
			}
		}
	}
}

// pairs calls each with the flows of pods: by direction, for the packets' way.
func (f *family) pairs(r *metrics.Report, each func(flow *metrics.Flow, in, out labels)) {
	for i := range r.Flows {
		flow := &r.Flows[i]
		if !f.concerns(&flow.Local) {
			continue
		}
		node := nodeOf(&flow.Local)
		each(flow, pair(node, &flow.Remote, &flow.Local), pair(node, &flow.Local, &flow.Remote))
	}
}

// both counts what goes in and what goes out.
func (f *family) both(who *metrics.Party, in, out labels, n, m uint64, more ...string) {
	f.count(member(who), n, f.values(in.with(more...).with("direction", wire.DirectionIn))...)
	f.count(member(who), m, f.values(out.with(more...).with("direction", wire.DirectionOut))...)
}

func packets(v *metrics.Values) (in, out uint64) { return v.PacketsIn, v.PacketsOut }
func octets(v *metrics.Values) (in, out uint64)  { return v.BytesIn, v.BytesOut }

func traffic(of func(*metrics.Values) (in, out uint64)) filler {
	return func(f *family, r *metrics.Report) {
		if f.about.remote {
			f.pairs(r, func(flow *metrics.Flow, in, out labels) {
				values := flow.Values()
				n, m := of(&values)
				f.both(&flow.Local, in, out, n, m)
			})
			return
		}
		f.rows(r, func(row *metrics.Row) {
			l := local(&row.Party)
			n, m := of(&row.Values)
			f.both(&row.Party, l, l, n, m)
		}, metrics.PluginForward, metrics.PluginFlows)
	}
}

// flagNames are in the order of wire.FlagFIN and so on.
func flagNames() [wire.NumFlags]string {
	return [wire.NumFlags]string{"FIN", "SYN", "SYNACK", "ACK", "RST", "PSH", "URG", "ECE", "CWR", "NS"}
}

func flags(f *family, r *metrics.Report) {
	add := func(who *metrics.Party, in, out labels, v *metrics.Values) {
		for i, name := range flagNames() {
			if v.FlagsIn[i]+v.FlagsOut[i] > 0 {
				f.both(who, in, out, v.FlagsIn[i], v.FlagsOut[i], "flag", name)
			}
		}
	}
	if f.about.remote {
		f.pairs(r, func(flow *metrics.Flow, in, out labels) {
			values := flow.Values()
			add(&flow.Local, in, out, &values)
		})
		return
	}
	f.rows(r, func(row *metrics.Row) {
		l := local(&row.Party)
		add(&row.Party, l, l, &row.Values)
	}, metrics.PluginFlows)
}

func segments(f *family, r *metrics.Report) {
	f.rows(r, func(row *metrics.Row) {
		f.count(member(&row.Party), row.SegmentsOut, f.values(local(&row.Party).with("direction", wire.DirectionOut))...)
	}, metrics.PluginFlows, metrics.PluginStats)
}

// podTargets names the pods whose own flows are counted.
func podTargets(r *metrics.Report) map[string]bool {
	targets := make(map[string]bool, len(r.Rows))
	for i := range r.Rows {
		if p := &r.Rows[i].Party; p.Kind == metrics.KindPod && r.Measured(metrics.PluginFlows, p.Node) {
			targets[member(p)] = true
		}
	}
	return targets
}

// connections counts one between two targets once in pairs, where the client is.
func connections(f *family, r *metrics.Report) {
	add := func(who *metrics.Party, l labels, v *metrics.Values) {
		f.count(member(who), v.Opened, f.values(l.with("result", "opened"))...)
		f.count(member(who), v.Unanswered, f.values(l.with("result", "unanswered"))...)
		f.count(member(who), v.Refused, f.values(l.with("result", "refused"))...)
	}
	if f.about.remote {
		measured := podTargets(r)
		f.pairs(r, func(flow *metrics.Flow, in, out labels) {
			values := flow.Values()
			if values.Opened+values.Unanswered+values.Refused == 0 {
				return
			}
			if flow.Role == wire.RoleServer && measured[member(&flow.Remote)] {
				return // it is counted where it was opened
			}
			l := out // from the client to the server
			if flow.Role == wire.RoleServer {
				l = in
			}
			add(&flow.Local, l, &values)
		})
		return
	}
	f.rows(r, func(row *metrics.Row) { add(&row.Party, local(&row.Party), &row.Values) }, metrics.PluginFlows)
}

func retransmits(f *family, r *metrics.Report) {
	if f.about.remote {
		f.pairs(r, func(flow *metrics.Flow, _, out labels) {
			if flow.Retransmits > 0 {
				f.count(member(&flow.Local), flow.Retransmits, f.values(out.with("direction", wire.DirectionOut))...)
			}
		})
		return
	}
	f.rows(r, func(row *metrics.Row) {
		f.count(member(&row.Party), row.Retransmits, f.values(local(&row.Party).with("direction", wire.DirectionOut))...)
	}, metrics.PluginRetransmit)
}

// podTimes fills in a histogram of the pods that have one.
func podTimes(of func(*metrics.Values) wire.Histogram) filler {
	return func(f *family, r *metrics.Report) {
		f.rows(r, func(row *metrics.Row) {
			if h := of(&row.Values); len(h.Buckets) > 0 {
				f.observe(member(&row.Party), h, f.values(local(&row.Party))...)
			}
		}, f.about.plugin)
	}
}
