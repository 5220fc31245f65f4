package top

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

func dnsKey(d *metrics.DNS) string {
	return strings.Join([]string{
		d.Name, d.Type, partyID(&d.Target), d.Role, sideKey(&d.Server), d.Protocol,
	}, "\x01")
}

// otherNames stands for the names that a node's table had no room for.
const otherNames = "(other names)"

func dnsName(d *metrics.DNS) string {
	if d.Name == "" {
		return otherNames
	}
	return d.Name
}

func dnsTable() *table {
	return &table{
		view: DNS,
		by:   metrics.ByPod,
		columns: []column{
			{title: "NAME", width: 18, rank: 1, kind: text, help: "what was asked for"},
			{title: "TYPE", width: 5, rank: 4, kind: text, help: "of the record"},
			{title: "TARGET", width: 13, rank: 2, kind: text, tail: true, help: "who asked, or was asked"},
			{title: "SERVER", width: 13, rank: 7, kind: text, tail: true, help: "who was asked"},
			{title: "Q/s", width: 5, rank: 3, help: "queries a second"},
			{title: "ERR", width: 4, rank: 5, alarm: true, help: "responses with an error code, since the beginning"},
			{title: "TIMEOUT", width: 7, rank: 6, alarm: true, help: "queries not answered in 5 s, since the beginning"},
			{title: "P99", width: 6, rank: 8, help: "99 % of responses came faster, in the last interval that had any, up to a minute ago"},
			{title: "QUERIES", width: 7, rank: 9, help: "since the beginning"},
			{title: "CODES", width: 10, rank: 10, kind: text, help: "of the responses, since the beginning"},
		},
		sortBy:  "Q/s",
		then:    "QUERIES",
		rows:    dnsRows,
		details: dnsDetails,
		plugins: []string{metrics.PluginDNS},
	}
}

func dnsRows(f *frame, in scope) []row {
	rows := make([]row, 0, len(f.report.DNS))
	for i := range f.report.DNS {
		d := &f.report.DNS[i]
		if !in.hasWith(&d.Target, &d.Server) {
			continue
		}
		key := dnsKey(d)
		rows = append(rows, row{key: key, index: i, cells: []cell{
			textCell(dnsName(d)), textCell(d.Type), textCell(d.Target.String()), textCell(sideText(&d.Server)),
			f.rated(f.dnsChange(key).Queries, true),
			counted(d.Errors(), true, count),
			counted(d.Timeouts, true, count),
			numberCell(f.names[key].get(f.report.Ended), micros),
			counted(d.Queries, true, count),
			textCell(codes(d.Codes)),
		}})
	}
	return rows
}

func codes(counts map[string]uint64) string {
	var texts []string
	for _, code := range slices.Sorted(maps.Keys(counts)) {
		texts = append(texts, fmt.Sprintf("%s=%d", code, counts[code]))
	}
	return strings.Join(texts, ",")
}

func dnsDetails(f *frame, r *row) []field {
	d := &f.report.DNS[r.index]
	return []field{
		{"name", dnsName(d)}, {"type", d.Type}, {"target", d.Target.String()}, {"target is the", d.Role},
		{"server", sideText(&d.Server)}, {"server's address", addresses(&d.Server.Party)}, {"protocol", d.Protocol},
		{"queries/s", r.cells[4].String()}, {"queries", fmt.Sprint(d.Queries)}, {"responses", fmt.Sprint(d.Responses)},
		{"codes", codes(d.Codes)}, {"timeouts", fmt.Sprint(d.Timeouts)}, {"latency", quantiles(&d.Latency)},
	}
}

// quantiles sums up a histogram.
func quantiles(h *wire.Histogram) string {
	half, known := metrics.Quantile(*h, 0.5)
	if !known {
		return nothing
	}
	most, _ := metrics.Quantile(*h, 0.99)
	return fmt.Sprintf("half below %s, 99 %% below %s", micros(half), micros(most))
}

// renew takes the value of an interval's times, if there were any.
func (h held) renew(interval *wire.Histogram, at time.Time) held {
	if v, known := metrics.Quantile(*interval, 0.99); known {
		return held{value: v, at: at}
	}
	return h
}
