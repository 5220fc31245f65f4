package target

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// A Part is one thing that a [Selection] selects, for those who watch it instead
// of asking once. It is objects of one kind: pods and nodes are the targets
// themselves, any other object stands for the pods behind it.
type Part struct {
	// Kind is theirs, as in "pod", "deployment" or "namespace".
	Kind string
	// Namespace is where they are; empty for all namespaces, or if they have none.
	Namespace string
	// Name is set if only one is meant.
	Name string
	// Labels selects among them; never nil.
	Labels labels.Selector
	// Names, if there are any, are those of the nodes among which Labels selects.
	Names []string
	// Pods selects among the pods of namespaces; never nil.
	Pods labels.Selector
}

// Parts returns what s selects, one Part for each thing that was named.
func (s Selection) Parts() []Part {
	parts := make([]Part, len(s.queries))
	for i, q := range s.queries {
		parts[i] = q.part()
		for _, l := range []*labels.Selector{&parts[i].Labels, &parts[i].Pods} {
			if *l == nil {
				*l = labels.Everything()
			}
		}
	}
	return parts
}

func (o object) part() Part { return Part{Kind: o.kind.name, Namespace: o.namespace, Name: o.name} }

func (q podsMatching) part() Part {
	return Part{Kind: "pod", Namespace: q.namespace, Labels: q.selector}
}

func (q podsInNamespaces) part() Part {
	return Part{Kind: "namespace", Labels: q.namespaces, Pods: q.pods}
}

func (q nodesMatching) part() Part { return Part{Kind: "node", Labels: q.selector, Names: q.names} }

func (q allPods) part() Part { return Part{Kind: "pod", Namespace: q.namespace} }

func (allNodes) part() Part { return Part{Kind: "node"} }

// ObserveNode returns what is kept of node as a whole target, and whether it can
// be one: it runs Linux. The node is changed.
func ObserveNode(node *corev1.Node) (Node, bool) {
	return Node{Name: node.Name, Object: trimmed(node), Whole: true}, runsLinux(node)
}
