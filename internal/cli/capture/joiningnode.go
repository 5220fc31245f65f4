package capture

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/capture"
	"github.com/kubectl-retina/kubectl-retina/internal/oneline"
	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
	"github.com/kubectl-retina/kubectl-retina/internal/session"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// targetsPerFrame is how many targets are told at once: each takes a collector some
// milliseconds.
const targetsPerFrame = 256

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

// firstSpec is what a node that joins begins with.
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

func (n *nodeRun) news() (change wire.Targets, more bool) {
	f := &n.follow
	for f.told < len(n.plan.pods) && len(change.Add) < targetsPerFrame {
		change.Add = append(change.Add, n.plan.wireTarget(uint32(f.told)))
		f.told++
	}
	if f.wanted && !f.node {
		change.Add = append(change.Add, n.plan.wholeNode())
		f.node = true
	}
	change.Remove, f.remove = f.remove, nil
	return change, len(change.Add)+len(change.Remove) > 0
}

// leave ends the capture of a target.
func (n *nodeRun) leave(target uint32, now time.Time) {
	f := &n.follow
	f.remove = append(f.remove, target)
	n.member(target).left = now
	if target == nodeTarget {
		f.wanted, f.node = false, false
	}
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

// attached returns what describes to the merger what a node's collector has attached
// to during the capture.
func (j *joining) attached(n *nodeRun) func(wire.Attached) capture.Joined {
	if j == nil {
		return nil
	}
	return func(a wire.Attached) capture.Joined {
		j.mu.Lock()
		defer j.mu.Unlock()
		for _, warning := range a.Warnings {
			j.run.warn("node " + n.plan.node.Name + ": " + oneline.Text(warning))
		}
		for i := range a.Interfaces {
			one := &a.Interfaces[i]
			one.Name, one.MAC, one.Hook = oneline.Text(one.Name), oneline.Text(one.MAC), oneline.Text(one.Hook)
			if !n.plan.isPod(one.Target) && one.Target != nodeTarget {
				return capture.Joined{} // which the merger takes for a mistake of the collector
			}
		}
		j.answer(n, a.Interfaces, a.Failed)
		return j.describe(n, a.Interfaces)
	}
}

// answer takes in what a collector has attached to, and what not; mu is held.
func (j *joining) answer(n *nodeRun, interfaces []wire.Interface, failed []wire.TargetError) {
	names := map[uint32][]string{}
	var order []uint32
	for _, i := range interfaces {
		if names[i.Target] == nil {
			order = append(order, i.Target)
		}
		names[i.Target] = append(names[i.Target], i.Name)
	}
	for _, id := range order {
		n.member(id).joined = j.run.now()
		j.run.narrator.Info(fmt.Sprintf("%s: joined  %s (%s)", n.plan.node.Name, n.plan.target(id), strings.Join(names[id], " ")))
	}
	for _, f := range failed {
		if !n.plan.isPod(f.Target) && f.Target != nodeTarget || !n.member(f.Target).left.IsZero() {
			continue // it has ended meanwhile
		}
		f.Cause = oneline.Text(f.Cause)
		n.failed = append(n.failed, f)
		j.run.warn(n.plan.target(f.Target) + " is not captured: " + f.Cause)
	}
}

// describe says what new interfaces are called, and their pods' addresses; mu is
// held. A pcap file cannot have another link type than that it began with.
func (j *joining) describe(n *nodeRun, interfaces []wire.Interface) capture.Joined {
	var joined capture.Joined
	named := map[uint32]bool{}
	for _, i := range interfaces {
		one := n.plan.describe(n.session.Hello(), i)
		one.Filter = j.run.config.filterText()
		if n.follow.comment != "" {
			one.Comments = append(one.Comments, n.follow.comment)
		}
		joined.Interfaces = append(joined.Interfaces, one)
		if j.run.config.format == capture.Pcap && i.LinkType != j.run.linkType {
			n.failed = append(n.failed, wire.TargetError{Target: i.Target, Cause: "its link type is not that of the pcap file"})
			j.run.warn(one.Name + " is not captured: its link type is not that of the pcap file; pcapng holds both")
		}
		if n.plan.isPod(i.Target) && !named[i.Target] {
			named[i.Target] = true
			pod := &n.plan.pods[i.Target]
			for _, ip := range pod.IPs {
				joined.Names = append(joined.Names, pcapng.Name{Addr: ip, Name: pod.Name + "." + pod.Namespace})
			}
		}
	}
	return joined
}
