package top

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
)

// trackTitle is the column of sparklines.
const trackTitle = "LAST MINUTE"

func rowKey(r *metrics.Row) string { return partyID(&r.Party) }

func podsTable() *table {
	return &table{
		view: Pods,
		by:   metrics.ByPod,
		columns: append([]column{
			{title: "NAMESPACE", width: 9, rank: 2, kind: text, help: "the pod's namespace"},
			{title: "POD", width: 16, rank: 1, kind: text, tail: true, help: "the pod's name"},
			{title: "NODE", width: 8, rank: 12, kind: text, tail: true, help: "where it runs"},
		}, partyColumns()...),
		sortBy: "IN/s",
		then:   "OUT/s",
		rows: func(f *frame, in scope) []row {
			return partyRows(f, in, func(p *metrics.Row) []cell {
				return []cell{textCell(p.Namespace), textCell(partyName(&p.Party)), textCell(p.Node)}
			})
		},
		details: partyDetails,
		enter: func(f *frame, r *row) (View, scope) {
			p := &f.report.Rows[r.index].Party
			return Flows, scope{name: p.String(), target: partyID(p)}
		},
	}
}

func nodesTable() *table {
	return &table{
		view: Nodes,
		by:   metrics.ByNode,
		columns: append([]column{
			{title: "NODE", width: 16, rank: 1, kind: text, tail: true, help: "the node's name"},
			{title: "ZONE", width: 6, rank: 12, kind: text, tail: true, help: "its zone"},
			{title: "TARGETS", width: 7, rank: 2, help: "how many pods or nodes are summed up"},
		}, partyColumns()...),
		sortBy: "IN/s",
		then:   "OUT/s",
		rows: func(f *frame, in scope) []row {
			return partyRows(f, in, func(p *metrics.Row) []cell {
				return []cell{textCell(partyName(&p.Party)), textCell(p.Zone), counted(uint64(p.Targets), true, count)}
			})
		},
		details: partyDetails,
		enter: func(f *frame, r *row) (View, scope) {
			name := partyName(&f.report.Rows[r.index].Party)
			return Pods, scope{name: name, node: name}
		},
	}
}

// partyName is the name in a column of its own, without namespace or kind. A row
// by node that sums up pods has only their node in common.
func partyName(p *metrics.Party) string {
	switch {
	case p.Name != "":
		return p.Name
	case p.Node != "":
		return p.Node
	}
	return p.String()
}

func partyColumns() []column {
	return []column{
		{title: "IN/s", width: 5, rank: 3, help: "bytes a second towards it"},
		{title: "OUT/s", width: 5, rank: 4, help: "bytes a second from it"},
		{title: "PKTS/s", width: 6, rank: 11, help: "packets a second, both ways"},
		{title: "DROP/s", width: 6, rank: 5, alarm: true, help: "packets that the kernel threw away"},
		{title: "RETR/s", width: 6, rank: 6, alarm: true, help: "TCP segments sent again"},
		{title: "RTT P99", width: 7, rank: 7, help: "99 % of round trips were shorter, in the last interval that had any, up to a minute ago"},
		{title: "CONN-FAIL", width: 9, rank: 9, alarm: true, help: "connections refused or not answered, since the beginning"},
		{title: "DNS-ERR", width: 7, rank: 10, alarm: true, help: "DNS error codes and timeouts, since the beginning"},
		{title: trackTitle, width: leastBars, rank: 8, kind: spark, help: "bytes a second over the last minute, each row up to its own highest"},
	}
}

// abilities say what was measured on a node: what was not is not 0.
type abilities struct{ packets, flows, retransmits, drops, names bool }

func (f *frame) abilities(node string) abilities {
	able := func(plugin string) bool { return f.report.Measured(plugin, node) }
	return abilities{
		packets:     able(metrics.PluginForward) || able(metrics.PluginFlows),
		flows:       able(metrics.PluginFlows),
		retransmits: able(metrics.PluginRetransmit),
		drops:       able(metrics.PluginDrops),
		names:       able(metrics.PluginDNS),
	}
}

// partyRows makes a row of each of the report's: the cells that first gives, and
// the numbers.
func partyRows(f *frame, in scope, first func(*metrics.Row) []cell) []row {
	rows := make([]row, 0, len(f.report.Rows))
	nodes := map[string]abilities{}
	for i := range f.report.Rows {
		r := &f.report.Rows[i]
		if !in.has(&r.Party) {
			continue
		}
		node := r.Node
		if r.Kind == metrics.KindNode {
			node = r.Name
		}
		able, known := nodes[node]
		if !known {
			able = f.abilities(node)
			nodes[node] = able
		}
		rows = append(rows, row{key: rowKey(r), index: i, cells: append(first(r), f.partyCells(r, able)...)})
	}
	return rows
}

// partyCells are those of partyColumns.
func (f *frame) partyCells(r *metrics.Row, able abilities) []cell {
	key := rowKey(r)
	change := f.rowChange(key)
	p99 := numberCell(unknown(), micros)
	if t, known := f.tracks[key]; known {
		p99.value = t.p99.get(f.report.Ended)
	}
	return []cell{
		f.rated(change.BytesIn, able.packets),
		f.rated(change.BytesOut, able.packets),
		f.rated(change.PacketsIn+change.PacketsOut, able.packets),
		f.rated(change.Drops, able.drops),
		f.rated(change.Retransmits, able.retransmits),
		p99,
		counted(r.Unanswered+r.Refused, able.flows, count),
		counted(r.DNSErrors+r.DNSTimeouts, able.names, count),
		f.rated(change.BytesIn+change.BytesOut, able.packets),
	}
}

func partyDetails(f *frame, r *row) []field {
	p := &f.report.Rows[r.index]
	fields := []field{
		{"kind", p.Kind}, {"namespace", p.Namespace}, {"name", partyName(&p.Party)}, {"node", p.Node}, {"zone", p.Zone},
		{"workload", p.Workload}, {"service", p.Service}, {"addresses", addresses(&p.Party)},
		{"network policies", strings.Join(p.Policies, ", ")},
	}
	fields = append(fields, rates(f, r)...)
	return append(fields,
		field{"in", total(p.PacketsIn, p.BytesIn)},
		field{"out", total(p.PacketsOut, p.BytesOut)},
		field{"dropped", total(p.Drops, p.DropBytes)},
		field{"sent again", fmt.Sprintf("%d of %d segments", p.Retransmits, p.SegmentsOut)},
		field{"connections", fmt.Sprintf("%d opened, %d refused, %d not answered", p.Opened, p.Refused, p.Unanswered)},
		field{"resets", fmt.Sprintf("%d in, %d out", p.ResetsIn, p.ResetsOut)},
		field{"connect time", quantiles(&p.Connect)},
		field{"round trip", quantiles(&p.RTT)},
		field{"DNS", fmt.Sprintf("%d queries, %d responses, %d errors, %d timeouts", p.DNSQueries, p.DNSResponses, p.DNSErrors, p.DNSTimeouts)},
		field{"DNS latency", quantiles(&p.DNSLatency)},
	)
}

// rates are the fields of a row that are of the last interval.
func rates(f *frame, r *row) []field {
	var fields []field
	t := tableOf(Pods)
	if f.report.By == metrics.ByNode {
		t = tableOf(Nodes)
	}
	for i := range t.columns {
		if c := &t.columns[i]; c.kind == number && strings.HasSuffix(c.title, "/s") {
			fields = append(fields, field{c.title, r.cells[i].String()})
		}
	}
	return fields
}

func addresses(p *metrics.Party) string {
	if len(p.Addresses) == 1 {
		return p.Addresses[0].String()
	}
	var texts []string
	for _, a := range p.Addresses {
		texts = append(texts, a.String())
	}
	slices.Sort(texts)
	return strings.Join(texts, ", ")
}

func total(packets, bytes uint64) string { return fmt.Sprintf("%d packets, %d bytes", packets, bytes) }
