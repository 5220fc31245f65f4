package exposition

import (
	retina "github.com/kubectl-retina/kubectl-retina"
	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

func droppedPackets(d *metrics.Drop) uint64 { return d.Packets }
func droppedBytes(d *metrics.Drop) uint64   { return d.Bytes }

// drops counts all drops for the nodes that dropped them, and those of pods for
// these.
func drops(of func(*metrics.Drop) uint64) filler {
	return func(f *family, r *metrics.Report) {
		for i := range r.Drops {
			d := &r.Drops[i]
			own := []string{"reason", d.Reason, "direction", orUnknown(d.Direction), "hook", d.Hook}
			var l labels
			switch {
			case f.about.metric.Context == retina.ContextNode:
				l = labels{"node": d.Node}
			case !f.concerns(&d.Target):
				continue
			case f.about.remote:
				l = dropPair(d)
			default:
				l = local(&d.Target)
			}
			f.count(member(&d.Target), of(d), f.values(l.with(own...))...)
		}
	}
}

// dropPair returns the ends of a dropped packet. Where they are not known, the
// target is one of them.
func dropPair(d *metrics.Drop) labels {
	switch {
	case d.Source != nil && d.Destination != nil:
		return pair(d.Node, &d.Source.Party, &d.Destination.Party)
	case d.Direction == wire.DirectionIn:
		return pair(d.Node, nil, &d.Target)
	}
	return pair(d.Node, &d.Target, nil)
}

func queries(d *metrics.DNS) map[string]uint64  { return map[string]uint64{"": d.Queries} }
func timeouts(d *metrics.DNS) map[string]uint64 { return map[string]uint64{"": d.Timeouts} }

// responses are by code.
func responses(d *metrics.DNS) map[string]uint64 { return d.Codes }

// dns counts what targets have asked: what others asked them is counted where it
// is asked.
func dns(of func(*metrics.DNS) map[string]uint64) filler {
	return func(f *family, r *metrics.Report) {
		for i := range r.DNS {
			d := &r.DNS[i]
			if d.Role == wire.RoleServer {
				continue
			}
			l := labels{"node": nodeOf(&d.Target)}
			if f.about.metric.Context != retina.ContextNode {
				if !f.concerns(&d.Target) {
					continue
				}
				l = local(&d.Target).with("query", d.Name, "query_type", d.Type)
			}
			for code, n := range of(d) {
				f.count(member(&d.Target), n, f.values(l.with("return_code", code))...)
			}
		}
	}
}

// apiTimes fills in a histogram of each node's way to the API server.
func apiTimes(of func(*metrics.APIServer) wire.Histogram) filler {
	return func(f *family, r *metrics.Report) {
		for i := range r.APIServers {
			a := &r.APIServers[i]
			f.observe(a.Node, of(a), f.values(apiLabels(a))...)
		}
	}
}

func apiLabels(a *metrics.APIServer) labels {
	return labels{"node": a.Node, "address": a.Address.String()}
}

func apiAttempts(f *family, r *metrics.Report) {
	for i := range r.APIServers {
		a := &r.APIServers[i]
		f.count(a.Node, a.Attempts, f.values(apiLabels(a))...)
	}
}

func apiErrors(f *family, r *metrics.Report) {
	for i := range r.APIServers {
		a := &r.APIServers[i]
		for reason, n := range a.Errors {
			f.count(a.Node, n, f.values(apiLabels(a).with("reason", reason))...)
		}
	}
}

// apiTimeouts has Retina's label, whose only value is its name.
func apiTimeouts(f *family, r *metrics.Report) {
	for i := range r.APIServers {
		a := &r.APIServers[i]
		f.count(a.Address.String(), a.Errors["timeout"], f.values(labels{"node": a.Node, "no_response": "no_response"})...)
	}
}
