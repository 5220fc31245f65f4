package metrics

import (
	"slices"
	"strconv"
	"strings"
)

// A Unit is what a number counts.
type Unit string

// Values of Unit.
const (
	UnitCount Unit = "count"
	UnitBytes Unit = "bytes"
	UnitTime  Unit = "us"
	UnitRatio Unit = "ratio" // 1 is all
)

// A Column is one thing that rows tell: a label or a number. Its name is the same
// in tables, files, sort keys, comparisons and expectations.
type Column struct {
	Name string // lower case with "_"
	Help string
	// Text is the label of a row. Nil: the column is of numbers.
	Text func(*Row) string
	// Count is a counter. Nil: it is not one.
	Count func(*Values) uint64
	// Number is what is worked out of several counters; false: there is no such
	// number, as of a quantile of nothing. Nil: see Count.
	Number func(*Values) (float64, bool)
	Unit   Unit
	// Plugins are those of which one has to run. None: the column needs none.
	Plugins []string
}

// Value returns the number of a row; false for a label, and where there is none.
func (c *Column) Value(v *Values) (float64, bool) {
	switch {
	case c.Count != nil:
		return float64(c.Count(v)), true
	case c.Number != nil:
		return c.Number(v)
	}
	return 0, false
}

// Measured tells whether the report has the column's numbers for a node; for any
// of the nodes when node is "".
func (c *Column) Measured(r *Report, node string) bool {
	return len(c.Plugins) == 0 || slices.ContainsFunc(c.Plugins, func(plugin string) bool { return r.Measured(plugin, node) })
}

// Columns returns the columns of a report, labels first.
func Columns(by By) []Column {
	return append(labels(by), numbers()...)
}

// FindColumn returns the column of a report that is called so; upper case and "-"
// are as good.
func FindColumn(by By, name string) (Column, bool) {
	name = columnName(name)
	for _, c := range Columns(by) {
		if c.Name == name {
			return c, true
		}
	}
	return Column{}, false
}

func columnName(name string) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimSpace(name)), "-", "_")
}

func labels(by By) []Column {
	kind := Column{Name: "kind", Help: "pod or node", Text: func(r *Row) string { return r.Kind }}
	namespace := Column{Name: "namespace", Help: "of the pods", Text: func(r *Row) string { return r.Namespace }}
	pod := Column{Name: "name", Help: "of the pod or node", Text: func(r *Row) string { return r.Name }}
	node := Column{Name: "node", Help: "where the pod runs", Text: func(r *Row) string { return r.Node }}
	workload := Column{Name: "workload", Help: "what the pods belong to", Text: func(r *Row) string { return r.Workload }}
	service := Column{Name: "service", Help: "that selects the pods", Text: func(r *Row) string { return r.Service }}
	targets := Column{Name: "targets", Help: "pods or nodes", Text: func(r *Row) string { return strconv.Itoa(r.Targets) }}
	switch by {
	case ByNode:
		return []Column{pod, targets}
	case ByWorkload:
		return []Column{kind, namespace, workload, pod, targets}
	case ByNamespace:
		return []Column{kind, namespace, pod, targets}
	case ByService:
		return []Column{kind, namespace, service, pod, targets}
	case ByFlow:
		return []Column{
			kind, namespace, pod, node,
			{Name: "remote", Help: "the other side", Text: func(r *Row) string { return remoteText(r) }},
			{Name: "remote_address", Help: "of the other side", Text: func(r *Row) string { return remoteAddress(r) }},
			{Name: "protocol", Help: "TCP, UDP, ICMP, else the number", Text: func(r *Row) string { return r.Protocol }},
			{Name: "port", Help: "of the server", Text: func(r *Row) string { return portText(r.Port) }},
			{Name: "role", Help: "client or server", Text: func(r *Row) string { return r.Role }},
		}
	}
	return []Column{kind, namespace, pod, node, workload, service}
}

func remoteText(r *Row) string {
	if r.Remote == nil {
		return ""
	}
	return r.Remote.String()
}

func remoteAddress(r *Row) string {
	if r.Remote == nil {
		return ""
	}
	return addressOf(r.Remote)
}

func portText(port uint16) string {
	if port == 0 {
		return ""
	}
	return strconv.Itoa(int(port))
}
