package metrics

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

const protocolTCP = 6

// ProtocolName returns what a Report calls an IP protocol; "" for 0.
func ProtocolName(protocol uint8) string {
	switch protocol {
	case 0:
		return ""
	case 1, 58:
		return "ICMP"
	case protocolTCP:
		return "TCP"
	case 17:
		return "UDP"
	}
	return strconv.Itoa(int(protocol))
}

// sortSections orders all but the rows by their labels, and puts together what has
// the same: a pod that came back under its name is another target.
func (r *Report) sortSections() {
	r.Flows = sortBy(r.Flows, (*Flow).key, flowKey.compare, func(a, b *Flow) { a.FlowValues = sumFlows(a.FlowValues, b.FlowValues) })
	r.Drops = sortBy(r.Drops, (*Drop).key, dropKey.compare, func(a, b *Drop) {
		a.Packets, a.Bytes = plus(a.Packets, b.Packets), plus(a.Bytes, b.Bytes)
	})
	r.DNS = sortBy(r.DNS, (*DNS).key, dnsReportKey.compare, (*DNS).merge)
	r.Interfaces = sortBy(r.Interfaces, (*Interface).key, interfaceKey.compare, (*Interface).merge)
	r.Stats = sortBy(r.Stats, (*Stat).key, statKey.compare, func(a, b *Stat) { a.Value = plus(a.Value, b.Value) })
	slices.SortFunc(r.APIServers, func(a, b APIServer) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), a.Address.Compare(b.Address))
	})
	slices.SortFunc(r.Lost, func(a, b Lost) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), strings.Compare(a.Plugin, b.Plugin), strings.Compare(a.What, b.What))
	})
}

// sortBy returns values sorted by keys, which are made once for each; those with
// the same key keep their order, or are merged into the first of them where there is
// a merge.
func sortBy[T any, K comparable](values []T, key func(*T) K, compare func(a, b K) int, merge func(a, b *T)) []T {
	keys := make([]K, len(values))
	order := make([]int, len(values)) // moving these is cheaper than moving values
	for i := range values {
		keys[i], order[i] = key(&values[i]), i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Or(compare(keys[a], keys[b]), cmp.Compare(a, b)) })
	sorted := values[:0:0]
	if len(values) > 0 {
		sorted = make([]T, 0, len(values))
	}
	for at, i := range order {
		if at > 0 && merge != nil && keys[i] == keys[order[at-1]] {
			merge(&sorted[len(sorted)-1], &values[i])
			continue
		}
		sorted = append(sorted, values[i])
	}
	return sorted
}
