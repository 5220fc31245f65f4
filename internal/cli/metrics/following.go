package metrics

import (
	"fmt"
	"time"

	"github.com/dustin/go-humanize/english"

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
	name := "pod " + pod.String()
	switch {
	case pod.HostNetwork && o.withNodes: // its node is a target itself
	case pod.HostNetwork && o.everything:
		o.node(pod.Node)
		o.skip(metrics.Skipped{Target: name, Reason: "uses the node's network: measure node/" + pod.Node})
	case !o.room(pod.Node):
		o.oneTooMany(pod.Node, name, o.directory.PodParty(*pod))
	case pod.HostNetwork:
		o.warn(fmt.Sprintf("pod %s uses the network of node %s: the node is measured, with everybody's packets", pod, pod.Node))
		o.node(pod.Node).wholeNode()
	default:
		o.unskip(name) // it may have been pending
		o.node(pod.Node).add(*pod)
	}
}

// addNode makes a node that has come a target.
func (o *observer) addNode(name string) {
	if !o.room(name) {
		o.oneTooMany(name, "node "+name, o.directory.NodeParty(name))
		return
	}
	o.node(name).wholeNode()
}

// agreed takes the nodes of the beginning for those that the user has agreed to.
func (o *observer) agreed() {
	if o.maxNodes > 0 {
		o.limit = max(o.maxNodes, len(o.nodes))
	}
}

// room tells whether a node has a collector, or may have one.
func (o *observer) room(name string) bool {
	if o.limit == 0 {
		return true
	}
	others := 0
	for _, n := range o.allNodes() {
		switch occupied := n.occupied(); {
		case occupied && n.name == name:
			return true
		case occupied:
			others++
		}
	}
	return others < o.limit
}

// oneTooMany notes a target on a node that the user has not agreed to.
func (o *observer) oneTooMany(node, name string, party metrics.Party) {
	reason := fmt.Sprintf("%s measured already (--max-nodes)", english.PluralWord(o.limit, "1 node is", fmt.Sprintf("%d nodes are", o.limit)))
	o.warn(fmt.Sprintf("what comes to node %s is not measured: %s", node, reason))
	o.skip(metrics.Skipped{Target: name, Reason: reason, Party: &party})
}

// follow adds and removes targets as pods come and go.
func (o *observer) follow() {
	for change := range follow.Watch(o.ctx, o.cluster.Client, o.selection, o.resolved) {
		o.take(&change)
	}
}

// take takes in what has changed.
func (o *observer) take(change *follow.Change) {
	for _, err := range change.Warnings {
		o.warn(err.Error())
		if h := hint.Of(err); h != "" {
			o.narrator.Info("hint: " + oneline.Text(h))
		}
	}
	touched := map[string]bool{}
	for _, ended := range [][]target.Pod{change.Ended, change.Changed} {
		for i := range ended {
			o.node(ended[i].Node).remove(ended[i].UID)
			o.unskip("pod " + ended[i].String()) // there is nothing more to measure
			touched[ended[i].Node] = true
		}
	}
	for _, node := range change.NodesEnded {
		o.node(node.Name).remove(nodeKey)
		o.unskip("node " + node.Name)
		touched[node.Name] = true
	}
	for _, added := range [][]target.Pod{change.Added, change.Changed} {
		for i := range added {
			o.addPod(&added[i])
			touched[added[i].Node] = true
		}
	}
	for _, node := range change.NodesAdded {
		o.addNode(node.Name)
		touched[node.Name] = true
	}
	for name := range touched {
		o.touched(name)
	}
}

// touched sees that a node's collector hears of its new targets, or that there is
// one.
func (o *observer) touched(name string) {
	n := o.node(name)
	occupied := n.occupied()
	o.mu.Lock()
	if occupied && !n.looping && !o.stopping {
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
		if o.live { // else the report would not tell of the time without it
			n.retry()
		}
	}
}
