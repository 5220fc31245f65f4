// Package target turns what the user asked to observe into the pods and nodes
// that answer to it.
//
// A [Request] holds the command line's strings, a [Selection] what they mean,
// and a [Resolved] what the cluster has of it. Only the second step talks to the
// API server, and it makes only the calls that the selection needs: selectors
// are evaluated by the server, lists are read in pages, and of every object only
// the few fields below are kept.
package target

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
)

// Resolved is what a Selection selects at one moment.
type Resolved struct {
	// Nodes are the nodes that have something to capture, sorted by name; empty
	// only after [Selection.ResolveAny].
	Nodes []Node
	// Skipped is what was selected but cannot be captured, sorted by target.
	Skipped []Skipped
	// Searched says what was looked for, as in "deployment shop/web" or
	// "-l app=web in all namespaces".
	Searched string
}

// Node is one node with what to capture there.
type Node struct {
	Name string // metadata.name, never a hostname
	// Object is the node as the API server knows it, without its list of images.
	// It is set exactly when Whole is: nothing else needs it.
	Object *corev1.Node
	// Whole is set when the node itself is a target. Pods may be targets as well.
	Whole bool
	Pods  []Pod // sorted by namespace, then name; each once
}

// Pod is one pod to capture.
type Pod struct {
	Namespace, Name string
	UID             string // metadata.uid
	// CgroupUID is the UID that the kubelet names the pod's cgroup after. It is
	// UID, except for a static pod.
	CgroupUID   string
	Node        string // metadata.name of the node it runs on
	HostNetwork bool   // it has no netns of its own; its IPs are the node's
	IPs         []netip.Addr
	Containers  []string // that run for as long as the pod, sidecars included
	// Owner is the workload that the pod belongs to, as in "Deployment/web" or
	// "StatefulSet/db". Empty for a pod without a controller.
	Owner string
	// ManagedBy is its label app.kubernetes.io/managed-by, if it has one.
	ManagedBy string
}

// String returns "NAMESPACE/NAME".
func (p *Pod) String() string { return p.Namespace + "/" + p.Name }

// Skipped is something that was selected but is not captured.
type Skipped struct {
	Target string // "pod shop/web-1", "node n1", "deployment shop/web"
	Reason string // "Pending", "being deleted", "on Windows", "has no pods"
}
