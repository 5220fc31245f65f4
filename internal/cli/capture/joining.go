package capture

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/dustin/go-humanize/english"

	"github.com/kubectl-retina/kubectl-retina/internal/capture"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/oneline"
	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
	"github.com/kubectl-retina/kubectl-retina/internal/target"
	"github.com/kubectl-retina/kubectl-retina/internal/target/follow"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// A joining keeps a running capture up to date with what is selected: pods that
// come are captured, on nodes that may have no collector yet, and pods that go
// are closed. A nil one does nothing.
type joining struct {
	run     *captureRun
	changes <-chan follow.Change
	limit   int // of nodes; 0: none
	merger  *capture.Merger
	stopper *stopper

	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	// mu guards the run's nodes. It is never held while the merger is called, which
	// may be waiting for it.
	mu    sync.Mutex
	nodes map[string]*nodeRun
	pods  map[string]place // by UID, those that have not ended
	// refused are the nodes and pods that are not captured, by node.
	refused map[string]*refusal
	hinted  map[string]bool // hints that were given
	relayed bool            // relayWarning was given
}

// place is where a pod is captured.
type place struct {
	node *nodeRun
	// targets are those of the pod: several when its network namespace was made anew.
	// None: it is one of node.plan.hostNetwork.
	targets []uint32
	host    int // in node.plan.hostNetwork
}

// following is what is told to a node, and what it has answered.
type following struct {
	wake    chan struct{} // has room for one; nil: nobody listens
	added   bool          // the node has joined
	first   int           // pods of the plan that were there at the beginning
	told    int           // pods of the plan that its collector knows
	node    bool          // its collector knows that the node is a target
	wanted  bool          // the node is to be a target
	remove  []uint32      // targets that its collector is to forget
	over    bool          // its collector has ended
	comment string        // on its clock
	members map[uint32]*member
	hosts   []member // by nodePlan.hostNetwork
}

// member is when a target was captured.
type member struct{ joined, left time.Time }

// following reports whether the capture keeps up with pods that come and go. One
// that nodes store has its files' heads written before it begins, and nobody who
// watches: its targets are fixed.
func (r *captureRun) following() bool { return !r.noFollow && !r.config.stored }

// newJoining begins to watch, before the collectors start: what changes meanwhile
// is not missed.
func newJoining(ctx context.Context, r *captureRun) *joining {
	j := joiningOf(ctx, r)
	j.changes = follow.Watch(j.ctx, r.cluster.Client, r.config.selection, r.resolved)
	return j
}

// joiningOf knows what is captured at the beginning.
func joiningOf(ctx context.Context, r *captureRun) *joining {
	j := &joining{run: r, nodes: map[string]*nodeRun{}, pods: map[string]place{}, refused: map[string]*refusal{}, hinted: map[string]bool{}}
	j.relayed = relayWarning(r.resolved.Nodes) != ""
	if r.maxNodes > 0 {
		j.limit = max(r.maxNodes, len(r.nodes)) // the user has agreed to those
	}
	j.ctx, j.cancel = context.WithCancel(context.WithoutCancel(ctx))
	for _, n := range r.nodes {
		name := n.plan.node.Name
		j.nodes[name] = n
		n.follow = newFollowing(n)
		for id := range n.plan.pods {
			j.pods[n.plan.pods[id].UID] = place{node: n, targets: []uint32{uint32(id)}}
		}
		for k := range n.plan.hostNetwork {
			j.pods[n.plan.hostNetwork[k].UID] = place{node: n, host: k}
		}
	}
	return j
}

func newFollowing(n *nodeRun) following {
	whole := len(n.plan.packets.Targets) > len(n.plan.pods)
	return following{
		wake: make(chan struct{}, 1), first: len(n.plan.pods), told: len(n.plan.pods), node: whole, wanted: whole,
		members: map[uint32]*member{}, hosts: make([]member, len(n.plan.hostNetwork)),
	}
}

// begin keeps the capture up to date from now on, until end or until it stops. names
// are those that the file begins with.
func (j *joining) begin(merger *capture.Merger, stopper *stopper, names []pcapng.Name) {
	if j == nil {
		return
	}
	j.merger, j.stopper = merger, stopper
	j.tasks.Go(func() {
		select {
		case <-stopper.stopped:
			j.cancel()
		case <-j.ctx.Done():
		}
	})
	j.mu.Lock()
	for _, n := range j.nodes {
		if n.session == nil {
			n.follow.over = true
			continue
		}
		j.tasks.Go(func() { j.serve(n) })
	}
	j.mu.Unlock()
	j.tasks.Go(func() { j.followNames(names) })
	j.tasks.Go(func() {
		for change := range j.changes {
			j.take(change)
		}
	})
}

// end returns when nothing changes any more. It may be called twice.
func (j *joining) end() {
	if j == nil {
		return
	}
	j.cancel()
	for range j.changes {
		// Until what watches has ended.
	}
	j.tasks.Wait()
}

// take takes in what has changed.
func (j *joining) take(change follow.Change) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, err := range change.Warnings {
		j.run.warn(err.Error())
		j.hint(hint.Of(err))
	}
	if j.ctx.Err() != nil {
		return // the capture is over: nothing comes to it any more
	}
	for i := range change.Ended {
		j.leave(&change.Ended[i])
	}
	// A pod with a new network namespace is one more target: the interface in the
	// old one vanishes by itself.
	for _, list := range [][]target.Pod{change.Added, change.Changed} {
		for i := range list {
			j.join(list[i])
		}
	}
	for i := range change.NodesAdded {
		j.joinNode(&change.NodesAdded[i])
	}
	for _, node := range change.NodesEnded {
		if n := j.nodes[node.Name]; n != nil {
			n.plan.node.Whole = false
			j.leaveNode(n)
		}
	}
	for _, n := range j.nodes {
		n.poke()
	}
}

// hint gives a hint that was not given yet; none if it is empty. mu is held.
func (j *joining) hint(text string) {
	if text = oneline.Text(text); text != "" && !j.hinted[text] {
		j.hinted[text] = true
		j.run.narrator.Info("hint: " + text)
	}
}

// join makes a pod a target; mu is held.
func (j *joining) join(pod target.Pod) {
	at, known := j.pods[pod.UID]
	if known && len(at.targets) == 0 {
		return // its node is captured, whatever has changed
	}
	n, cause := j.node(pod.Node, "pod "+pod.String())
	if n == nil {
		j.refuse(pod.Node, cause).add(pod)
		return
	}
	if pod.HostNetwork {
		j.joinHost(n, pod)
		return
	}
	t := n.plan.add(pod)
	j.pods[pod.UID] = place{node: n, targets: append(at.targets, t.ID)}
}

// joinHost makes the node of a pod on its network a target.
func (j *joining) joinHost(n *nodeRun, pod target.Pod) {
	j.pods[pod.UID] = place{node: n, host: len(n.plan.hostNetwork)}
	n.plan.hostNetwork = append(n.plan.hostNetwork, pod)
	n.follow.hosts = append(n.follow.hosts, member{joined: j.run.now()})
	if !n.follow.wanted {
		j.run.warn(fmt.Sprintf("pod %s uses the network of node %s: the interfaces of the node are captured, with everybody's packets", pod.String(), pod.Node))
	}
	n.want()
}

// joinNode makes a whole node a target.
func (j *joining) joinNode(node *target.Node) {
	n, cause := j.node(node.Name, "node "+node.Name)
	if n == nil {
		j.refuse(node.Name, cause)
		return
	}
	n.plan.node.Whole = true
	n.plan.know(node.Object)
	n.want()
	j.warnOfRelays()
}

// node returns the node that what is to be captured on, or nil and why that cannot be,
// which the user has been told; mu is held.
func (j *joining) node(name, what string) (n *nodeRun, cause string) {
	n = j.nodes[name]
	switch {
	case n != nil && n.follow.over:
		j.run.warn(fmt.Sprintf("%s is not captured: the collector of node %s has ended", what, name))
		return nil, "the node's collector had ended"
	case n != nil:
		return n, ""
	case j.limit > 0 && len(j.nodes) >= j.limit:
		cause = fmt.Sprintf("%s captured already (--max-nodes)", english.PluralWord(len(j.nodes), "1 node is", comma(uint64(len(j.nodes)))+" nodes are"))
		if j.refused[name] == nil {
			j.run.warn(fmt.Sprintf("what comes to node %s is not captured: %s", name, cause))
		}
		return nil, cause
	}
	plan := j.run.planFor(target.Node{Name: name})
	n = newNodeRun(&plan)
	n.follow = newFollowing(n)
	n.follow.added, n.follow.node = true, false
	j.nodes[name] = n
	j.run.nodes = append(j.run.nodes, n)
	j.tasks.Go(func() { j.serve(n) })
	return n, ""
}

// leave ends the capture of a pod; mu is held.
func (j *joining) leave(pod *target.Pod) {
	at, ok := j.pods[pod.UID]
	if !ok {
		return
	}
	delete(j.pods, pod.UID)
	// Of an earlier target there may still be an interface, when the pod has kept
	// its network namespace after all.
	for _, id := range at.targets {
		at.node.leave(id, j.run.now())
	}
	j.run.narrator.Info(fmt.Sprintf("%s: left  pod %s", at.node.plan.node.Name, pod.String()))
	if len(at.targets) == 0 {
		at.node.follow.hosts[at.host].left = j.run.now()
		j.leaveNode(at.node)
	}
}

// leaveNode ends the capture of a node's own interfaces if nothing needs them any
// more; mu is held.
func (j *joining) leaveNode(n *nodeRun) {
	needed := n.plan.node.Whole || slices.Contains(j.run.config.vantages, wire.VantageNode) ||
		slices.ContainsFunc(n.follow.hosts, func(pod member) bool { return pod.left.IsZero() })
	if n.follow.wanted && !needed {
		n.leave(nodeTarget, j.run.now())
		j.run.narrator.Info(fmt.Sprintf("%s: left  %s", n.plan.node.Name, n.plan.target(nodeTarget)))
	}
}
