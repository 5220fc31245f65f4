// Package print writes reports: as tables for people, and as CSV, JSON and YAML
// for programs.
//
// Tables have rounded numbers, files exact ones. A number that was not measured,
// because its plugin did not run where it should have, is "-" in a table and
// empty in CSV: never 0.
package print

import (
	"fmt"
	"io"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
)

// Table writes a report for people: its rows, and what they should know beside
// them. Wide shows all columns, and all of the drops and DNS failures. Lines are
// kept to width characters where names can be cut; 0 does not cut.
func Table(to io.Writer, r *metrics.Report, wide bool, width int) error {
	grids := []*Grid{rows(r, wide), apiServers(r), drops(r, wide), dnsFailures(r, wide), failed(r), unsupported(r), skipped(r), lost(r)}
	first := true
	for i, grid := range grids {
		if i > 0 && grid.Empty() {
			continue
		}
		if !first {
			fmt.Fprintln(to)
		}
		first = false
		if err := grid.Print(to, width); err != nil {
			return err
		}
	}
	if len(r.Lost) == 0 {
		return nil
	}
	_, err := fmt.Fprintln(to, "What is lost is missing above: numbers are lower bounds.")
	return err
}

// A title is what a table calls a column.
type title struct {
	column, title string
	wide          bool // only in wide tables
}

func titles() []title {
	return []title{
		{"packets_in", "PACKETS-IN", false}, {"packets_out", "PACKETS-OUT", false},
		{"bytes_in", "BYTES-IN", false}, {"bytes_out", "BYTES-OUT", false},
		{"drops", "DROPS", false}, {"drop_bytes", "DROP-BYTES", true},
		{"retransmits", "RETRANS", false}, {"retransmit_ratio", "RETRANS-RATIO", true},
		{"resets_in", "RESETS-IN", true}, {"resets_out", "RESETS-OUT", true},
		{"connects", "CONNECTS", true}, {"connect_failures", "CONNECT-FAILED", false},
		{"unanswered", "UNANSWERED", true}, {"refused", "REFUSED", true},
		{"connect_p50", "CONNECT-P50", true}, {"connect_p99", "CONNECT-P99", true},
		{"rtt_p50", "RTT-P50", false}, {"rtt_p99", "RTT-P99", true},
		{"dns_queries", "DNS-QUERIES", true}, {"dns_errors", "DNS-ERRORS", false}, {"dns_timeouts", "DNS-TIMEOUTS", false},
		{"dns_p50", "DNS-P50", true}, {"dns_p99", "DNS-P99", false},
	}
}

// flowTitles replace those that are not kept for each flow.
func flowTitles() []title {
	return []title{
		{"packets_in", "PACKETS-IN", false}, {"packets_out", "PACKETS-OUT", false},
		{"bytes_in", "BYTES-IN", false}, {"bytes_out", "BYTES-OUT", false},
		{"drops", "DROPS", false}, {"retransmits", "RETRANS", false},
		{"resets_in", "RESETS-IN", true}, {"resets_out", "RESETS-OUT", true},
		{"connects", "CONNECTS", true}, {"connect_failures", "CONNECT-FAILED", false},
		{"unanswered", "UNANSWERED", true}, {"refused", "REFUSED", true},
		{"connect_mean", "CONNECT-MEAN", true}, {"connect_max", "CONNECT-MAX", true},
		{"rtt_mean", "RTT-MEAN", false}, {"rtt_max", "RTT-MAX", true},
		{"dns_queries", "DNS-QUERIES", true}, {"dns_errors", "DNS-ERRORS", true}, {"dns_timeouts", "DNS-TIMEOUTS", true},
	}
}

func rows(r *metrics.Report, wide bool) *Grid {
	shown := titles()
	if r.By == metrics.ByFlow {
		shown = flowTitles()
	}
	header := labelTitles(r, wide)
	var columns []metrics.Column
	for _, t := range shown {
		if column, ok := metrics.FindColumn(r.By, t.column); ok && (wide || !t.wide) {
			columns = append(columns, column)
			header = append(header, t.title)
		}
	}
	grid := NewGrid(header...)
	for i := range r.Rows {
		row := &r.Rows[i]
		cells := labelCells(r, row, wide)
		for j := range columns {
			cells = append(cells, cell(r, row, &columns[j]))
		}
		grid.Add(cells...)
	}
	return grid
}

// cell returns "" for what was not measured.
func cell(r *metrics.Report, row *metrics.Row, column *metrics.Column) string {
	if !column.Measured(r, row.Node) {
		return ""
	}
	value, ok := column.Value(&row.Values)
	if !ok {
		return ""
	}
	return Number(value, column.Unit)
}

func labelTitles(r *metrics.Report, wide bool) []string {
	var titles []string
	switch r.By {
	case metrics.ByNode:
		return []string{"NODE", "TARGETS"}
	case metrics.ByWorkload:
		titles = []string{"NAMESPACE", "WORKLOAD", "PODS"}
	case metrics.ByNamespace:
		titles = []string{"NAMESPACE", "PODS"}
	case metrics.ByService:
		titles = []string{"NAMESPACE", "SERVICE", "PODS"}
	case metrics.ByFlow:
		titles = []string{"NAMESPACE", "NAME", "", "REMOTE", "PORT"}
		if wide {
			titles = append(titles, "ADDRESS", "NODE")
		}
	default:
		titles = []string{"NAMESPACE", "NAME"}
		if wide {
			titles = append(titles, "NODE", "WORKLOAD", "SERVICE")
		}
	}
	return titles
}

func labelCells(r *metrics.Report, row *metrics.Row, wide bool) []string {
	targets := fmt.Sprint(row.Targets)
	name := row.Name
	if row.Kind == metrics.KindNode {
		name = "node/" + row.Name
	}
	switch r.By {
	case metrics.ByNode:
		return []string{row.Name, targets}
	case metrics.ByWorkload:
		return []string{row.Namespace, or(row.Workload, nodeName(row)), targets}
	case metrics.ByNamespace:
		return []string{or(row.Namespace, nodeName(row)), targets}
	case metrics.ByService:
		return []string{row.Namespace, or(row.Service, nodeName(row)), targets}
	case metrics.ByFlow:
		cells := []string{row.Namespace, name, arrow(row.Role), remote(row), port(row)}
		if wide {
			cells = append(cells, address(row), row.Node)
		}
		return cells
	}
	cells := []string{row.Namespace, name}
	if wide {
		cells = append(cells, row.Node, row.Workload, row.Service)
	}
	return cells
}

// nodeName returns "" for what is not a node.
func nodeName(row *metrics.Row) string {
	if row.Kind != metrics.KindNode {
		return ""
	}
	return "node/" + row.Name
}

func arrow(role string) string {
	if role == "server" {
		return "<-"
	}
	return "->"
}

func remote(row *metrics.Row) string {
	if row.Remote == nil {
		return ""
	}
	return row.Remote.String()
}

func address(row *metrics.Row) string {
	if row.Remote == nil || len(row.Remote.Addresses) != 1 {
		return ""
	}
	return row.Remote.Addresses[0].String()
}

func port(row *metrics.Row) string {
	if row.Port == 0 {
		return row.Protocol
	}
	return fmt.Sprintf("%d/%s", row.Port, row.Protocol)
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
