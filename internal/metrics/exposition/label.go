package exposition

import (
	"strings"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
)

// labels are label values by name.
type labels map[string]string

// values returns them in the order of the family's labels.
func (f *family) values(l labels) []string {
	values := make([]string, len(f.about.labels))
	for i, name := range f.about.labels {
		values[i] = l[name]
	}
	return values
}

// with returns l with more labels, which come as name, value, name, value.
func (l labels) with(pairs ...string) labels {
	more := make(labels, len(l)+len(pairs)/2)
	for name, value := range l {
		more[name] = value
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		more[pairs[i]] = pairs[i+1]
	}
	return more
}

// local returns the labels of a pod, or those of a node.
func local(p *metrics.Party) labels {
	l := labels{"node": nodeOf(p)}
	l.party("", p)
	return l
}

// pair returns the labels of a packet's two ends, as a node has seen it.
func pair(node string, source, destination *metrics.Party) labels {
	l := labels{"node": node}
	l.party("source_", source)
	l.party("destination_", destination)
	return l
}

func (l labels) party(prefix string, p *metrics.Party) {
	if p == nil {
		return
	}
	l[prefix+"namespace"], l[prefix+"zone"] = p.Namespace, p.Zone
	if len(p.Addresses) > 0 {
		l[prefix+"ip"] = p.Addresses[0].String()
	}
	switch p.Kind {
	case metrics.KindPod:
		l[prefix+"podname"], l[prefix+"service"] = p.Name, p.Service
		l[prefix+"workload_kind"], l[prefix+"workload_name"], _ = strings.Cut(p.Workload, "/")
	case metrics.KindService:
		l[prefix+"service"] = p.Name
	}
}

func nodeOf(p *metrics.Party) string {
	if p.Kind == metrics.KindNode {
		return p.Name
	}
	return p.Node
}

// member names a target in sums.
func member(p *metrics.Party) string { return p.Describe() }

// orUnknown is the direction of a drop whose direction is not known.
func orUnknown(direction string) string {
	if direction == "" {
		return "unknown"
	}
	return direction
}
