package metrics

import (
	"maps"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// Diff returns what has come to before until after: a report from the end of before
// to the end of after, with what after has. An entry one of whose counters has gone
// down has begun anew, so all of it is new. What is of a moment (gauges, nodes,
// what was skipped) is as in after, and so is the largest of measured times, which
// is an upper bound.
//
// With before nil, all is new. Both are reports by the same.
func Diff(before, after *Report) *Report {
	if before == nil {
		return after
	}
	diff := *after
	if before.Ended.After(after.Began) && !before.Ended.After(after.Ended) {
		diff.Began = before.Ended
	}
	row := func(r *Row) rowKey { return r.key(after.By) }
	diff.Rows = since(before.Rows, after.Rows, row, func(b, a *Row) { a.Values = a.Values.since(&b.Values) })
	diff.Flows = since(before.Flows, after.Flows, (*Flow).key, func(b, a *Flow) { a.FlowValues = a.FlowValues.since(&b.FlowValues) })
	diff.Drops = since(before.Drops, after.Drops, (*Drop).key, func(b, a *Drop) {
		if a.Packets >= b.Packets && a.Bytes >= b.Bytes {
			a.Packets, a.Bytes = a.Packets-b.Packets, a.Bytes-b.Bytes
		}
	})
	diff.DNS = since(before.DNS, after.DNS, (*DNS).key, func(b, a *DNS) { a.since(b) })
	diff.Interfaces = since(before.Interfaces, after.Interfaces, (*Interface).key, func(b, a *Interface) { a.since(b) })
	diff.Stats = since(before.Stats, after.Stats, (*Stat).key, func(b, a *Stat) {
		if !a.Gauge && a.Value >= b.Value {
			a.Value -= b.Value
		}
	})
	diff.APIServers = since(before.APIServers, after.APIServers, (*APIServer).key, func(b, a *APIServer) { a.since(b) })
	diff.Lost = since(before.Lost, after.Lost, (*Lost).key, func(b, a *Lost) {
		if a.Count >= b.Count {
			a.Count -= b.Count
		}
	})
	return &diff
}

// since returns after, with what was before taken off by subtract.
func since[T any, K comparable](before, after []T, key func(*T) K, subtract func(before, after *T)) []T {
	if len(after) == 0 {
		return after
	}
	known := make(map[K]*T, len(before))
	for i := range before {
		known[key(&before[i])] = &before[i]
	}
	diff := make([]T, len(after))
	for i := range after {
		diff[i] = after[i]
		if b := known[key(&after[i])]; b != nil {
			subtract(b, &diff[i])
		}
	}
	return diff
}

func (d *DNS) since(before *DNS) {
	codes, codesGrown := subtractCounts(d.Codes, before.Codes)
	latency, latencyGrown := subtract(d.Latency, before.Latency)
	if d.Queries < before.Queries || d.Responses < before.Responses || d.Timeouts < before.Timeouts || !codesGrown || !latencyGrown {
		return
	}
	d.Queries, d.Responses, d.Timeouts = d.Queries-before.Queries, d.Responses-before.Responses, d.Timeouts-before.Timeouts
	d.Codes, d.Latency = codes, latency
}

type apiServerKey struct{ node, address string }

func (a *APIServer) key() apiServerKey { return apiServerKey{a.Node, a.Address.String()} }

func (a *APIServer) since(before *APIServer) {
	errors, errorsGrown := subtractCounts(a.Errors, before.Errors)
	handshake, handshakeGrown := subtract(a.Handshake, before.Handshake)
	latency, latencyGrown := subtract(a.Latency, before.Latency)
	if a.Attempts < before.Attempts || !errorsGrown || !handshakeGrown || !latencyGrown {
		return
	}
	a.APIServerSample = wire.APIServerSample{
		Address: a.Address, Attempts: a.Attempts - before.Attempts, Errors: errors, Handshake: handshake, Latency: latency,
	}
}

type lostKey struct{ node, plugin, what string }

func (l *Lost) key() lostKey { return lostKey{l.Node, l.Plugin, l.What} }

// subtractCounts leaves out what has not grown; false when something has gone down.
func subtractCounts(after, before map[string]uint64) (map[string]uint64, bool) {
	rest := maps.Clone(after)
	for k, b := range before {
		switch a := after[k]; {
		case a < b:
			return after, false
		case a == b:
			delete(rest, k)
		default:
			rest[k] = a - b
		}
	}
	if len(rest) == 0 {
		rest = nil
	}
	return rest, true
}
