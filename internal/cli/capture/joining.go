package capture

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/dustin/go-humanize/english"

	"github.com/kubectl-retina/kubectl-retina/internal/capture"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/oneline"
	"github.com/kubectl-retina/kubectl-retina/internal/target"
	"github.com/kubectl-retina/kubectl-retina/internal/target/follow"
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
	full  map[string]bool  // nodes that were one too many
}

// place is where a pod is captured.
type place struct {
	node   *nodeRun
	target uint32
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
	j := &joining{run: r, nodes: map[string]*nodeRun{}, pods: map[string]place{}, full: map[string]bool{}}
	if r.maxNodes > 0 {
		j.limit = max(r.maxNodes, len(r.nodes)) // the user has agreed to those
	}
	j.ctx, j.cancel = context.WithCancel(context.WithoutCancel(ctx))
	for _, n := range r.nodes {
		name := n.plan.node.Name
		j.nodes[name] = n
		n.follow = newFollowing(n)
		for id := range n.plan.pods {
			j.pods[n.plan.pods[id].UID] = place{n, uint32(id)}
		}
	}
	j.changes = follow.Watch(j.ctx, r.cluster.Client, r.config.selection, r.resolved)
	return j
}

func newFollowing(n *nodeRun) following {
	whole := len(n.plan.packets.Targets) > len(n.plan.pods)
	return following{wake: make(chan struct{}, 1), first: len(n.plan.pods), told: len(n.plan.pods), node: whole, wanted: whole, members: map[uint32]*member{}}
}

// begin keeps the capture up to date from now on, until end or until it stops.
func (j *joining) begin(merger *capture.Merger, stopper *stopper) {
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
	for _, err := range change.Warnings {
		j.run.warn(err.Error())
		if h := hint.Of(err); h != "" {
			j.run.narrator.Info("hint: " + oneline.Text(h))
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
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
	for _, node := range change.NodesAdded {
		if n := j.node(node.Name, "node "+node.Name); n != nil {
			n.plan.node.Whole = true
			n.follow.wanted = true
		}
	}
	for _, node := range change.NodesEnded {
		if n := j.nodes[node.Name]; n != nil && len(n.plan.hostNetwork) == 0 {
			n.leave(nodeTarget, j.run.now())
		}
	}
	for _, n := range j.nodes {
		n.poke()
	}
}

// join makes a pod a target; mu is held.
func (j *joining) join(pod target.Pod) {
	n := j.node(pod.Node, "pod "+pod.String())
	if n == nil {
		return
	}
	if pod.HostNetwork {
		n.plan.hostNetwork = append(n.plan.hostNetwork, pod)
		if !n.follow.wanted {
			j.run.warn(fmt.Sprintf("pod %s uses the network of node %s: the interfaces of the node are captured, with everybody's packets", pod.String(), pod.Node))
		}
		n.follow.wanted = true
		return
	}
	t := n.plan.add(pod)
	j.pods[pod.UID] = place{n, t.ID}
}

// node returns the node that what is to be captured on, or nil and a warning when
// that cannot be; mu is held.
func (j *joining) node(name, what string) *nodeRun {
	n := j.nodes[name]
	switch {
	case n != nil && n.follow.over:
		j.run.warn(fmt.Sprintf("%s is not captured: the collector of node %s has ended", what, name))
		return nil
	case n != nil:
		return n
	case j.limit > 0 && len(j.nodes) >= j.limit:
		if !j.full[name] {
			j.full[name] = true
			j.run.warn(fmt.Sprintf("what comes to node %s is not captured: %s captured already (--max-nodes)", name, english.PluralWord(len(j.nodes), "1 node is", comma(uint64(len(j.nodes)))+" nodes are")))
		}
		return nil
	}
	plan := j.run.planFor(target.Node{Name: name})
	n = newNodeRun(&plan)
	n.follow = newFollowing(n)
	n.follow.added, n.follow.node = true, false
	j.nodes[name] = n
	j.run.nodes = append(j.run.nodes, n)
	j.tasks.Go(func() { j.serve(n) })
	return n
}

// leave ends the capture of a pod; mu is held.
func (j *joining) leave(pod *target.Pod) {
	at, ok := j.pods[pod.UID]
	if !ok {
		return
	}
	delete(j.pods, pod.UID)
	at.node.leave(at.target, j.run.now())
	j.run.narrator.Info(fmt.Sprintf("%s: left  pod %s", at.node.plan.node.Name, pod.String()))
}
