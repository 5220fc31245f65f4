package capture

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-retina/kubectl-retina/internal/target"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// endedBefore is why a pod is not captured that came and ended.
const endedBefore = "ended before it could be captured"

// maxNamed is how many pods one warning names.
const maxNamed = 5

// A refusal is what came to one node and is not captured.
type refusal struct {
	cause string
	pods  []target.Pod
}

// refuse notes why what comes to a node is not captured; mu is held.
func (j *joining) refuse(node, cause string) *refusal {
	r := j.refused[node]
	if r == nil {
		r = &refusal{cause: cause}
		j.refused[node] = r
	}
	return r
}

// add notes a pod, once.
func (r *refusal) add(pod target.Pod) {
	if !slices.ContainsFunc(r.pods, func(known target.Pod) bool { return known.UID == pod.UID }) {
		r.pods = append(r.pods, pod)
	}
}

// refuses reports whether anything that came is not captured. It is to be called
// after end.
func (j *joining) refuses() bool { return j != nil && len(j.refused) > 0 }

// addRefused puts what was refused into a summary. It is to be called after end.
func (j *joining) addRefused(nodes []SummaryNode) []SummaryNode {
	if j == nil {
		return nodes
	}
	var names []string
	for name := range j.refused {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		refused := j.refused[name]
		at := slices.IndexFunc(nodes, func(n SummaryNode) bool { return n.Name == name })
		if at < 0 {
			at = len(nodes)
			nodes = append(nodes, SummaryNode{Name: name, Error: refused.cause, Pods: []SummaryPod{}})
		}
		for _, pod := range refused.pods {
			nodes[at].Pods = append(nodes[at].Pods, SummaryPod{
				Namespace: pod.Namespace, Name: pod.Name, HostNetwork: pod.HostNetwork, Error: refused.cause, Interfaces: []SummaryInterface{},
			})
		}
	}
	return nodes
}

// blameBrief makes failures of the pods that were selected and ended before anything
// of them could be captured. Whether their collector has noticed, or never heard of
// them, makes no difference then.
func (r *captureRun) blameBrief() {
	var pods []string
	for _, n := range r.nodes {
		for id := range n.plan.pods {
			if n.brief(uint32(id)) {
				n.failed = append(n.failed, wire.TargetError{Target: uint32(id), Cause: endedBefore})
				pods = append(pods, n.plan.pods[id].String())
			}
		}
	}
	switch more := len(pods) - maxNamed; {
	case len(pods) == 1:
		r.warn("pod " + pods[0] + " " + endedBefore)
	case more > 0:
		r.warn(fmt.Sprintf("%s ended before they could be captured: %s and %s more", plural(len(pods), "pod"), strings.Join(pods[:maxNamed], ", "), comma(uint64(more))))
	case len(pods) > 1:
		r.warn(fmt.Sprintf("%s ended before they could be captured: %s", plural(len(pods), "pod"), strings.Join(pods, ", ")))
	}
}

// brief reports whether a pod came and ended without having been captured, under
// this ID or another. One that came when the capture ended has missed nothing.
func (n *nodeRun) brief(id uint32) bool {
	m := n.follow.members[id]
	if m == nil || m.left.IsZero() || !n.missed(id) {
		return false
	}
	for other := range n.plan.pods {
		if n.plan.pods[other].UID == n.plan.pods[id].UID && !n.missed(uint32(other)) && n.failure(uint32(other)) == "" {
			return false
		}
	}
	return true
}
