package metrics

import (
	"fmt"
	"slices"
	"strings"
)

// maxPolicies is how many NetworkPolicies a hint names.
const maxPolicies = 3

// dropHint says what may be behind a drop.
func dropHint(d *Drop) string {
	if d.Reason == "NO_SOCKET" {
		return "nothing listens there"
	}
	if !byPolicy(d.Reason) {
		return ""
	}
	var said []string
	selected := func(p *Party) {
		if text := selectedBy(p); text != "" && !slices.Contains(said, text) {
			said = append(said, text)
		}
	}
	selected(&d.Target)
	if d.Source != nil && d.Destination != nil {
		selected(&d.Source.Party)
		selected(&d.Destination.Party)
	}
	if len(said) == 0 {
		return ""
	}
	return strings.Join(said, "; ") + ", which may forbid this"
}

// byPolicy tells for which reasons a NetworkPolicy may be to blame: those by which
// rules, or a network plugin's programs, drop. Cilium's own reasons are not among
// them: it counts by node, so there is no pod whose policies could be named.
func byPolicy(reason string) bool {
	switch reason {
	case "NETFILTER_DROP", "TC_INGRESS", "TC_EGRESS", "XDP":
		return true
	}
	return false
}

func selectedBy(p *Party) string {
	if len(p.Policies) == 0 {
		return ""
	}
	names := make([]string, 0, maxPolicies)
	for _, policy := range p.Policies[:min(len(p.Policies), maxPolicies)] {
		names = append(names, p.Namespace+"/"+policy)
	}
	text := strings.Join(names, ", ")
	if more := len(p.Policies) - len(names); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	noun := "NetworkPolicies"
	if len(p.Policies) == 1 {
		noun = "NetworkPolicy"
	}
	return fmt.Sprintf("pod %s is selected by %s %s", p, noun, text)
}
