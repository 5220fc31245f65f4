package top

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

func flowKey(f *metrics.Flow) string {
	return strings.Join([]string{
		partyID(&f.Local), addresses(&f.Local), partyID(&f.Remote), addresses(&f.Remote),
		f.Protocol, strconv.Itoa(int(f.Port)), f.Role,
	}, "\x01")
}

func flowsTable() *table {
	return &table{
		view: Flows,
		by:   metrics.ByPod,
		columns: []column{
			{title: "LOCAL", width: 16, rank: 1, kind: text, tail: true, help: "the target that was measured"},
			{title: "DIR", width: 3, rank: 6, kind: text, help: "who opened it: -> the target, <- the other side, -- not known"},
			{title: "REMOTE", width: 16, rank: 2, kind: text, tail: true, help: "the other side"},
			{title: "PROTO", width: 5, rank: 8, kind: text, help: "the IP protocol"},
			{title: "PORT", width: 5, rank: 5, help: "the server's port"},
			{title: "IN/s", width: 5, rank: 3, help: "bytes a second towards LOCAL"},
			{title: "OUT/s", width: 5, rank: 4, help: "bytes a second from LOCAL"},
			{title: "PKTS/s", width: 6, rank: 11, help: "packets a second, both ways"},
			{title: "RTT", width: 6, rank: 7, help: "the latest round trip of a socket of LOCAL, smoothed by the kernel"},
			{title: "RETR", width: 6, rank: 9, alarm: true, help: "TCP segments that LOCAL sent again, since the beginning"},
			{title: "CONN-FAIL", width: 9, rank: 10, alarm: true, help: "connections refused or not answered, since the beginning"},
			{title: "SERVICE", width: 8, rank: 12, kind: text, tail: true, help: "a service that selects REMOTE"},
		},
		sortBy:  "IN/s",
		then:    "OUT/s",
		rows:    flowRows,
		details: flowDetails,
		enter: func(f *frame, r *row) (View, scope) {
			flow := &f.report.Flows[r.index]
			name := flow.Local.String() + " " + direction(flow.Role) + " " + flow.Remote.String()
			return Drops, between(name, &flow.Local, &flow.Remote)
		},
		plugins: []string{metrics.PluginFlows},
	}
}

// direction is an arrow from the client to the server, with the target at its left.
func direction(role string) string {
	switch role {
	case wire.RoleClient:
		return "->"
	case wire.RoleServer:
		return "<-"
	}
	return "--"
}

func flowRows(f *frame, in scope) []row {
	retransmits := f.report.Measured(metrics.PluginRetransmit, "")
	rows := make([]row, 0, len(f.report.Flows))
	for i := range f.report.Flows {
		flow := &f.report.Flows[i]
		if !in.hasWith(&flow.Local, &metrics.Side{Party: flow.Remote}) {
			continue
		}
		key := flowKey(flow)
		change := f.flowChange(key)
		rtt := numberCell(unknown(), micros)
		if flow.RTT.Count > 0 {
			rtt.value = float64(flow.RTT.Last)
		}
		rows = append(rows, row{key: key, index: i, cells: []cell{
			textCell(flow.Local.String()),
			textCell(direction(flow.Role)),
			textCell(flow.Remote.String()),
			textCell(flow.Protocol),
			numberCell(float64(flow.Port), plain),
			f.rated(change.BytesIn, true),
			f.rated(change.BytesOut, true),
			f.rated(change.PacketsIn+change.PacketsOut, true),
			rtt,
			counted(flow.Retransmits, retransmits, count),
			counted(flow.Unanswered+flow.Refused, true, count),
			textCell(flow.Remote.Service),
		}})
	}
	return rows
}

func flowDetails(f *frame, r *row) []field {
	flow := &f.report.Flows[r.index]
	return []field{
		{"local", flow.Local.String()}, {"local address", addresses(&flow.Local)}, {"local workload", flow.Local.Workload},
		{"remote", flow.Remote.String()}, {"remote address", addresses(&flow.Remote)},
		{"remote workload", flow.Remote.Workload}, {"remote service", flow.Remote.Service}, {"remote node", flow.Remote.Node},
		{"protocol", flow.Protocol}, {"server's port", plain(float64(flow.Port))}, {"local is the", flow.Role},
		{"in/s", r.cells[5].String()}, {"out/s", r.cells[6].String()},
		{"in", total(flow.PacketsIn, flow.BytesIn)}, {"out", total(flow.PacketsOut, flow.BytesOut)},
		{"connections", fmt.Sprintf("%d opened, %d refused, %d not answered", flow.Opened, flow.Refused, flow.Unanswered)},
		{"connect time", times(&flow.Connect)}, {"round trip", times(&flow.RTT)},
		{"sent again", fmt.Sprintf("%d segments", flow.Retransmits)},
		{"flags in", flags(flow.FlagsIn)}, {"flags out", flags(flow.FlagsOut)},
	}
}

// times sums up measured times.
func times(t *wire.Times) string {
	if t.Count == 0 {
		return nothing
	}
	return fmt.Sprintf("last %s, mean %s, longest %s, of %d",
		micros(float64(t.Last)), micros(float64(t.Sum)/float64(t.Count)), micros(float64(t.Max)), t.Count)
}

// flags names the flags that were seen.
func flags(counts []uint64) string {
	names := [wire.NumFlags]string{"FIN", "SYN", "SYN-ACK", "ACK", "RST", "PSH", "URG", "ECE", "CWR", "NS"}
	var texts []string
	for i, n := range counts {
		if n > 0 && i < len(names) {
			texts = append(texts, fmt.Sprintf("%d %s", n, names[i]))
		}
	}
	return strings.Join(texts, ", ")
}
