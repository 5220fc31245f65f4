package capture

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubectl-retina/kubectl-retina/internal/capture"
	"github.com/kubectl-retina/kubectl-retina/internal/session"
	"github.com/kubectl-retina/kubectl-retina/internal/target"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// targetsPerFrame is how many targets are told at once: each takes a collector some
// milliseconds.
const targetsPerFrame = 256

// lookTime is how long a node that joins waits for what the API server knows of it.
const lookTime = 2 * time.Second

// serve starts a node's collector, if it has none, and tells it of targets that come
// and go.
func (j *joining) serve(n *nodeRun) {
	if n.session == nil && !j.start(n) {
		return
	}
	for {
		select {
		case <-j.ctx.Done():
			return
		case <-n.follow.wake:
		}
		for {
			change, more := j.news(n)
			if !more {
				break
			}
			// A stream that has ended is noticed by who reads it.
			if n.session.TellJSON(j.ctx, wire.KindTargets, change) != nil {
				return
			}
		}
	}
}

// start starts the collector of a node that joins a capture, puts its clock right and
// tells it to go.
func (j *joining) start(n *nodeRun) bool {
	release, ok := j.merger.Hold()
	if !ok {
		return false
	}
	defer release()
	j.look(n)
	started, err := j.run.sessions.Start(j.ctx, n.plan.node.Name, j.firstSpec(n))
	if err != nil {
		j.fail(n, err)
		return false
	}
	go j.run.tellAddresses(j.run.watching, n.addresses, func() *session.Session { return started }, false)
	source, err := j.source(n, started)
	if err != nil {
		j.fail(n, err)
		return false
	}
	index, ok := j.merger.Add(source)
	if !ok {
		return false
	}
	j.mu.Lock()
	n.index = index
	j.mu.Unlock()
	if !j.stopper.add(started) {
		_ = started.Stop(context.WithoutCancel(j.ctx))
		return false
	}
	if err := started.Go(j.ctx); err != nil {
		_ = started.Close() // its stream then ends with an error that is told
		return false
	}
	return true
}

// look asks what the plan of a node that joins needs to know of it. Where that is
// not allowed, the plan stays as it is.
func (j *joining) look(n *nodeRun) {
	j.mu.Lock()
	known := n.plan.node.Object != nil
	j.mu.Unlock()
	if known {
		return
	}
	ctx, cancel := context.WithTimeout(j.ctx, lookTime)
	defer cancel()
	node, err := j.run.cluster.Client.CoreV1().Nodes().Get(ctx, n.plan.node.Name, metav1.GetOptions{})
	if err != nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	n.plan.know(node)
	j.warnOfRelays()
}

// warnOfRelays gives relayWarning once; mu is held.
func (j *joining) warnOfRelays() {
	var nodes []target.Node
	for _, n := range j.run.nodes {
		nodes = append(nodes, n.plan.node)
	}
	if warning := relayWarning(nodes); warning != "" && !j.relayed {
		j.relayed = true
		j.run.warn(warning)
	}
}

// firstSpec is what a node that joins begins with. There is nothing to remove: its
// collector knows of no target.
func (j *joining) firstSpec(n *nodeRun) wire.Spec {
	j.mu.Lock()
	defer j.mu.Unlock()
	first, _ := n.news()
	n.plan.packets.Targets = first.Add
	return j.run.spec(n)
}

// source makes a collector that has just become ready a source of the merger.
func (j *joining) source(n *nodeRun, started *session.Session) (capture.Source, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	n.session = started
	ready := started.Ready()
	for _, warning := range ready.Warnings {
		j.run.warn("node " + n.plan.node.Name + ": " + warning)
	}
	source, err := j.run.source(n)
	if err != nil {
		return source, err
	}
	j.answer(n, ready.Interfaces, ready.Failed)
	joined := j.describe(n, ready.Interfaces)
	source.Interfaces, source.Names = joined.Interfaces, joined.Names
	for i := range source.Interfaces {
		source.Interfaces[i].JoinedNS = j.run.now().UnixNano()
	}
	return source, nil
}

// fail notes why a node that joins has no collector. A capture that ends before it
// has one misses nothing that was asked for.
func (j *joining) fail(n *nodeRun, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	n.follow.over = true
	if j.ctx.Err() != nil {
		return
	}
	n.err = err
	j.run.narrator.Failed(n.plan.node.Name, err)
}

// ended is told by the merger that a source has ended.
func (j *joining) ended(source int, _ error) {
	if j == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, n := range j.run.nodes {
		if n.index == source {
			n.follow.over = true
		}
	}
}

// news returns what a node's collector does not know yet.
func (j *joining) news(n *nodeRun) (change wire.Targets, more bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return n.news()
}

// news leaves out what came and ended since the last time: a collector removes
// before it adds.
func (n *nodeRun) news() (change wire.Targets, more bool) {
	f := &n.follow
	for ; f.told < len(n.plan.pods) && len(change.Add) < targetsPerFrame; f.told++ {
		id := uint32(f.told)
		if m := f.members[id]; m == nil || m.left.IsZero() {
			change.Add = append(change.Add, n.plan.wireTarget(id))
		}
	}
	if f.wanted && !f.node {
		change.Add = append(change.Add, n.plan.wholeNode())
		f.node = true
	}
	change.Remove, f.remove = f.remove, nil
	return change, len(change.Add)+len(change.Remove) > 0
}

// want makes the node itself a target.
func (n *nodeRun) want() {
	if !n.follow.wanted {
		n.follow.wanted = true
		n.member(nodeTarget).left = time.Time{}
	}
}

// leave ends the capture of a target, which its collector may not know of yet.
func (n *nodeRun) leave(target uint32, now time.Time) {
	f := &n.follow
	known := int(target) < f.told
	if target == nodeTarget {
		known, f.wanted, f.node = f.node, false, false
	}
	if known {
		f.remove = append(f.remove, target)
	}
	n.member(target).left = now
}

func (n *nodeRun) member(target uint32) *member {
	m := n.follow.members[target]
	if m == nil {
		m = &member{}
		n.follow.members[target] = m
	}
	return m
}

// poke lets serve look.
func (n *nodeRun) poke() {
	select {
	case n.follow.wake <- struct{}{}:
	default:
	}
}
