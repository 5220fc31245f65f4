package expect

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// A matcher is one condition between braces.
type matcher struct {
	label   string
	negate  bool
	value   string
	pattern *regexp.Regexp // nil: value
}

// matches tells whether one of the names that something has fits.
func (m *matcher) matches(names ...string) bool {
	if len(names) == 0 {
		names = []string{""}
	}
	return m.negate != slices.ContainsFunc(names, func(name string) bool {
		if m.pattern != nil {
			return m.pattern.MatchString(name)
		}
		return name == m.value
	})
}

// targetLabels are labels of who is measured.
func targetLabels() []string { return []string{"namespace", "pod", "node", "workload", "service"} }

// selects tells whether all conditions on targets fit one. Its node is where it
// runs, or itself.
func (e *Expectation) selects(p *metrics.Party, node string) bool {
	for i := range e.labels {
		m := &e.labels[i]
		switch m.label {
		case "namespace":
			if !m.matches(p.Namespace) {
				return false
			}
		case "pod":
			if p.Kind == metrics.KindNode || !m.matches(p.Name) {
				return false
			}
		case "node":
			if !m.matches(node) {
				return false
			}
		case "workload":
			if !m.matches(workloadNames(p.Workload)...) {
				return false
			}
		case "service":
			if !m.matches(p.Service) {
				return false
			}
		}
	}
	return true
}

// workloadNames lets "Deployment/web" be "web" too.
func workloadNames(workload string) []string {
	if _, name, ok := strings.Cut(workload, "/"); ok {
		return []string{workload, name}
	}
	return []string{workload}
}

// remoteNames are the names of the other side: "shop/db-0", "db-0", its address,
// its workload, its service, "external".
func remoteNames(p *metrics.Party) []string {
	names := []string{p.Kind, p.String()}
	if p.Name != "" {
		names = append(names, p.Name)
	}
	if p.Name != "" && p.Namespace != "" {
		names = append(names, p.Namespace+"/"+p.Name)
	}
	if p.Workload != "" {
		names = append(names, workloadNames(p.Workload)...)
	}
	for _, addr := range p.Addresses {
		names = append(names, addr.String())
	}
	return names
}

// has tells whether conditions on a label, if there are any, fit its names.
func (e *Expectation) has(label string, names ...string) bool {
	for i := range e.labels {
		if e.labels[i].label == label && !e.labels[i].matches(names...) {
			return false
		}
	}
	return true
}

// asks tells whether there is a condition on one of the labels.
func (e *Expectation) asks(labels ...string) bool {
	return slices.ContainsFunc(e.labels, func(m matcher) bool { return slices.Contains(labels, m.label) })
}

// impossible returns advice when a condition is about values that the label never
// has: with a misspelt one an expectation would always hold, or never.
func (e *Expectation) impossible(m *matcher) string {
	var known []string
	switch {
	case m.label == "direction":
		known = []string{wire.DirectionIn, wire.DirectionOut, wire.DirectionForward, ""}
	case m.label == "role":
		known = []string{wire.RoleClient, wire.RoleServer, ""}
	case m.label == "on":
		known = []string{"pod", "node", ""}
	case m.label == "hook":
		known = []string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING", "INGRESS", "EGRESS", ""}
	case m.label == "reason" && e.metric.source == fromAPIServers:
		known = []string{"refused", "timeout", "unreachable", "reset", "tls"}
	case m.pattern != nil:
		return ""
	case m.label == "protocol" && strings.HasPrefix(strings.ToUpper(m.value), "ICMP") && m.value != "ICMP":
		return `write "ICMP", of IPv6 too`
	case m.label == "protocol" || m.label == "type" || m.label == "code":
		return wantUpper(m.value)
	case m.label == "port" && strings.Trim(m.value, "0123456789") != "":
		return "write its number"
	default:
		return ""
	}
	positive := *m
	positive.negate = false
	if slices.ContainsFunc(known, func(value string) bool { return positive.matches(value) }) {
		return ""
	}
	return fmt.Sprintf("there are %s", strings.Join(slices.DeleteFunc(known, func(value string) bool { return value == "" }), ", "))
}

func wantUpper(value string) string {
	if upper := strings.ToUpper(value); upper != value {
		return fmt.Sprintf("write %q", upper)
	}
	return ""
}
