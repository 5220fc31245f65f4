package capture

import (
	"fmt"
	"strings"

	"github.com/kubectl-retina/kubectl-retina/internal/capture"
	"github.com/kubectl-retina/kubectl-retina/internal/oneline"
	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

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
			continue // it has ended meanwhile: blameBrief has the last word
		}
		f.Cause = oneline.Text(f.Cause)
		n.failed = append(n.failed, f)
		j.run.warn(n.plan.target(f.Target) + " is not captured: " + f.Cause)
		j.hint(f.Hint)
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
