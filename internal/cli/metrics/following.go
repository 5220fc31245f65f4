package metrics

import (
	"fmt"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
	"github.com/kubectl-retina/kubectl-retina/internal/oneline"
	"github.com/kubectl-retina/kubectl-retina/internal/session"
	"github.com/kubectl-retina/kubectl-retina/internal/target"
	"github.com/kubectl-retina/kubectl-retina/internal/target/follow"
)

// node returns the state of a node, made if it is new.
func (o *observer) node(name string) *nodeState {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := o.nodes[name]
	if n == nil {
		n = newNodeState(o, name)
		o.nodes[name] = n
	}
	return n
}

// allNodes are the nodes at this moment.
func (o *observer) allNodes() []*nodeState {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := make([]*nodeState, 0, len(o.nodes))
	for _, n := range o.nodes {
		all = append(all, n)
	}
	return all
}

// addPod makes a pod a target. One on its node's network has no interfaces of its
// own: if it was asked for, its node is measured.
func (o *observer) addPod(pod *target.Pod) {
	if o.everything && pod.HostNetwork && pod.ManagedBy == session.ProgramName {
		return // a collector: nobody asks for it
	}
	n := o.node(pod.Node)
	switch {
	case !pod.HostNetwork:
		o.unskip("pod " + pod.String()) // it may have been pending
		n.add(*pod)
	case o.withNodes: // measured anyway
	case o.everything:
		o.skip(metrics.Skipped{Target: "pod " + pod.String(), Reason: "uses the node's network: measure node/" + pod.Node})
	default:
		o.warn(fmt.Sprintf("pod %s uses the network of node %s: the node is measured, with everybody's packets", pod, pod.Node))
		n.wholeNode()
	}
}

// follow adds and removes targets as pods come and go.
func (o *observer) follow() {
	for change := range follow.Watch(o.ctx, o.cluster.Client, o.selection, o.resolved) {
		for _, err := range change.Warnings {
			o.warn(err.Error())
			if h := hint.Of(err); h != "" {
				o.narrator.Info("hint: " + oneline.Text(h))
			}
		}
		touched := map[*nodeState]bool{}
		for _, ended := range [][]target.Pod{change.Ended, change.Changed} {
			for i := range ended {
				n := o.node(ended[i].Node)
				n.remove(ended[i].UID)
				o.unskip("pod " + ended[i].String()) // there is nothing more to measure
				touched[n] = true
			}
		}
		for _, added := range [][]target.Pod{change.Added, change.Changed} {
			for i := range added {
				o.addPod(&added[i])
				touched[o.node(added[i].Node)] = true
			}
		}
		for _, node := range change.NodesAdded {
			o.node(node.Name).wholeNode()
			touched[o.node(node.Name)] = true
		}
		for _, node := range change.NodesEnded {
			o.node(node.Name).remove("")
			touched[o.node(node.Name)] = true
		}
		for n := range touched {
			o.touched(n)
		}
	}
}

// touched sees that a node's collector hears of its new targets, or that there is
// one.
func (o *observer) touched(n *nodeState) {
	o.mu.Lock()
	if !n.looping && !o.stopping {
		n.looping = true
		o.running.Go(n.loop)
	}
	o.mu.Unlock()
	n.sync()
}

// refreshing looks up again, now and then, what is known of targets, and forgets
// those that are long gone.
func (o *observer) refreshing() {
	ticker := time.NewTicker(refreshInterval)
	defer ticker.Stop()
	for {
		select {
		case <-o.ctx.Done():
			return
		case <-ticker.C:
			o.refresh()
			if o.forget > 0 {
				o.fold.Forget(o.forget)
			}
		}
	}
}

func (o *observer) refresh() {
	for _, n := range o.allNodes() {
		n.refresh()
	}
}
