package top

import (
	"strings"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
)

func dropKey(d *metrics.Drop) string {
	return strings.Join([]string{
		partyID(&d.Target), d.Node, d.Reason, d.Hook, d.Function, d.Direction, d.On, d.Protocol,
		sideKey(d.Source), sideKey(d.Destination),
	}, "\x01")
}

func sideKey(s *metrics.Side) string {
	if s == nil {
		return ""
	}
	return partyID(&s.Party) + "\x02" + addresses(&s.Party) + "\x02" + plain(float64(s.Port))
}

func dropsTable() *table {
	return &table{
		view: Drops,
		by:   metrics.ByPod,
		columns: []column{
			{title: "REASON", width: 18, rank: 1, kind: text, help: "the kernel's name of why"},
			{title: "HOOK", width: 7, rank: 8, kind: text, help: "the netfilter hook that did it"},
			{title: "TARGET", width: 14, rank: 2, kind: text, tail: true, help: "whose packets they were"},
			{title: "FROM", width: 14, rank: 5, kind: text, tail: true, help: "the sender, if known"},
			{title: "TO", width: 14, rank: 6, kind: text, tail: true, help: "the receiver, if known"},
			{title: "PROTO", width: 5, rank: 9, kind: text, help: "the IP protocol"},
			{title: "DROP/s", width: 6, rank: 3, alarm: true, help: "packets a second"},
			{title: "TOTAL", width: 6, rank: 4, alarm: true, help: "packets since the beginning"},
			{title: "NODE", width: 8, rank: 10, kind: text, tail: true, help: "the node that dropped them"},
			{title: "HINT", width: 12, rank: 7, kind: text, help: "what may be behind it; enter shows it whole"},
		},
		sortBy: "DROP/s",
		then:   "TOTAL",
		rows: func(f *frame, in scope) []row {
			rows := make([]row, 0, len(f.report.Drops))
			for i := range f.report.Drops {
				d := &f.report.Drops[i]
				if !in.hasDrop(d) {
					continue
				}
				key := dropKey(d)
				rows = append(rows, row{key: key, index: i, cells: []cell{
					textCell(d.Reason), textCell(d.Hook), textCell(d.Target.String()),
					textCell(sideText(d.Source)), textCell(sideText(d.Destination)), textCell(d.Protocol),
					f.rated(f.dropChange(key).Packets, true), counted(d.Packets, true, count),
					textCell(d.Node), textCell(d.Hint),
				}})
			}
			return rows
		},
		details: dropDetails,
		plugins: []string{metrics.PluginDrops},
	}
}

func dropDetails(f *frame, r *row) []field {
	d := &f.report.Drops[r.index]
	fields := []field{
		{"reason", d.Reason}, {"hook", d.Hook}, {"hint", d.Hint}, {"kernel function", d.Function},
		{"target", d.Target.String()}, {"direction", d.Direction}, {"network stack", d.On}, {"node", d.Node},
		{"protocol", d.Protocol}, {"from", sideText(d.Source)}, {"to", sideText(d.Destination)},
	}
	for _, side := range []struct {
		name string
		side *metrics.Side
	}{{"sender", d.Source}, {"receiver", d.Destination}} {
		if side.side != nil {
			p := &side.side.Party
			fields = append(fields, field{side.name + "'s address", addresses(p)},
				field{side.name + "'s workload", p.Workload}, field{side.name + "'s service", p.Service})
		}
	}
	return append(fields,
		field{"network policies", strings.Join(d.Target.Policies, ", ")},
		field{"dropped/s", r.cells[6].String()}, field{"dropped", total(d.Packets, d.Bytes)})
}
