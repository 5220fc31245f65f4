package capture

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/capture"
)

// stay returns when a target joined the capture and when it left, as far as it did.
func (n *nodeRun) stay(target uint32) (joined, left time.Time) {
	if m := n.follow.members[target]; m != nil {
		joined, left = m.joined, m.left
	}
	goneNS := int64(0)
	for _, i := range n.interfacesOf(target) {
		if !i.Gone {
			return joined, left
		}
		goneNS = max(goneNS, i.GoneNS)
	}
	if goneNS != 0 && (left.IsZero() || goneNS < left.UnixNano()) {
		left = time.Unix(0, goneNS)
	}
	return joined, left
}

func (n *nodeRun) interfacesOf(target uint32) []capture.InterfaceResult {
	var all []capture.InterfaceResult
	if n.source != nil {
		for _, i := range n.source.Interfaces {
			if i.Target == target {
				all = append(all, i)
			}
		}
	}
	return all
}

// missed reports whether a pod came and left, or came at the end, without anything
// that could have been captured; or was captured already under another ID.
func (n *nodeRun) missed(target uint32) bool {
	if n.follow.members == nil || int(target) < n.follow.first { // it was there from the beginning
		return false
	}
	if m := n.follow.members[target]; m != nil && !m.joined.IsZero() {
		return false
	}
	return n.failure(target) == ""
}

// failure is why a target is not captured; empty if it is.
func (n *nodeRun) failure(target uint32) string {
	for _, f := range n.failed {
		if f.Target == target {
			return f.Cause
		}
	}
	return ""
}

// stamp writes a time for the summary; one that is not known is empty.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z07:00")
}

// comings are the lines of a table of the pods that joined or left; none if no pod
// did.
func (r *captureRun) comings() []string {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 3, ' ', 0)
	clock := func(t time.Time) string {
		if t.IsZero() {
			return "-"
		}
		return t.Local().Format("15:04:05.000")
	}
	some := false
	for _, n := range r.nodes {
		for id := range n.plan.pods {
			joined, left := n.stay(uint32(id))
			if n.missed(uint32(id)) || joined.IsZero() && left.IsZero() {
				continue
			}
			if !some {
				fmt.Fprintln(table, "POD\tNODE\tJOINED\tLEFT\tPACKETS")
				some = true
			}
			packets := uint64(0)
			for _, i := range n.interfacesOf(uint32(id)) {
				packets += i.Packets
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d", n.plan.pods[id].String(), n.plan.node.Name, clock(joined), clock(left), packets)
			if cause := n.failure(uint32(id)); cause != "" {
				fmt.Fprint(table, "   "+cause)
			}
			fmt.Fprintln(table)
		}
	}
	_ = table.Flush() // into memory
	return strings.FieldsFunc(text.String(), func(c rune) bool { return c == '\n' })
}
