package metrics

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
	"github.com/kubectl-retina/kubectl-retina/internal/session"
	"github.com/kubectl-retina/kubectl-retina/internal/target"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// targetsPerFrame is how many targets are told at once: each may take a collector
// some milliseconds.
const targetsPerFrame = 256

// nodeKey is the key of a node itself among its targets; a pod's is its UID.
const nodeKey = ""

// A nodeState is one node: what is wanted of it, and its collector.
type nodeState struct {
	observer *observer
	name     string
	looping  bool // guarded by observer.mu

	mu      sync.Mutex // the observer's may be taken while it is held, not the other way round
	wanted  map[string]*wanted
	gone    map[uint32]*wanted // ended a moment ago: what they did last may still be told
	lastID  uint32
	tried   bool // a collector was started, or could not be
	session *session.Session
	left    chan struct{}   // closed when the session has ended
	told    map[uint32]bool // targets that the session knows
	err     error           // why there is no session
}

// wanted is one target: a pod, or the node when pod is nil.
type wanted struct {
	id     uint32
	pod    *target.Pod
	failed bool      // the collector could not attach to it: nothing is known of it
	tried  time.Time // when it failed last
}

// name is for messages.
func (w *wanted) name(node string) string {
	if w.pod == nil {
		return "node " + node
	}
	return "pod " + w.pod.String()
}

// attachInterval is how long a target that could not be attached to waits until it is
// tried again.
const attachInterval = 30 * time.Second

// maxGone is how many targets that have ended are remembered.
const maxGone = 256

func newNodeState(o *observer, name string) *nodeState {
	return &nodeState{observer: o, name: name, wanted: map[string]*wanted{}, gone: map[uint32]*wanted{}}
}

// wholeNode makes the node itself a target.
func (n *nodeState) wholeNode() { n.want(nodeKey, nil) }

// add makes a pod a target.
func (n *nodeState) add(pod target.Pod) { n.want(pod.UID, &pod) }

func (n *nodeState) want(key string, pod *target.Pod) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ok := n.wanted[key]; ok {
		return
	}
	w := &wanted{id: n.lastID, pod: pod}
	n.lastID++
	n.wanted[key] = w
	n.introduce(w)
}

// occupied tells whether something is wanted of the node, or its collector is there.
func (n *nodeState) occupied() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.wanted) > 0 || n.session != nil
}

// introduce tells the fold who a target is.
func (n *nodeState) introduce(w *wanted) { n.observer.fold.SetTarget(n.name, w.id, n.partyOf(w)) }

func (n *nodeState) partyOf(w *wanted) metrics.Party {
	if w.pod == nil {
		return n.observer.directory.NodeParty(n.name)
	}
	return n.observer.directory.PodParty(*w.pod)
}

// remove ends a target.
func (n *nodeState) remove(key string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	w, ok := n.wanted[key]
	if !ok {
		return
	}
	delete(n.wanted, key)
	n.observer.fold.EndTarget(n.name, w.id)
	if w.failed {
		n.observer.unskip(w.name(n.name)) // there was nothing more to measure
	}
	if len(n.gone) >= maxGone {
		clear(n.gone)
	}
	n.gone[w.id] = w
}

// refresh looks up again who the targets are.
func (n *nodeState) refresh() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, w := range n.wanted {
		if !w.failed {
			n.introduce(w)
		}
	}
}

// target returns the target with an ID, also one that has just ended, or nil; mu is
// held.
func (n *nodeState) target(id uint32) *wanted {
	for _, w := range n.wanted {
		if w.id == id {
			return w
		}
	}
	return n.gone[id]
}

// wireTarget is w as a collector is told.
func (n *nodeState) wireTarget(w *wanted) wire.Target {
	if w.pod == nil {
		return wire.Target{ID: w.id, Name: w.name(n.name), Node: true}
	}
	return wire.Target{ID: w.id, Name: w.name(n.name), PodUID: w.pod.CgroupUID, Addrs: w.pod.IPs}
}

// failed notes targets that could not be attached to: they have no numbers, which
// is not the same as zeros.
func (n *nodeState) failed(targets []wire.TargetError) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, f := range targets {
		w := n.target(f.Target)
		if w == nil || n.gone[f.Target] != nil {
			continue // it has ended meanwhile
		}
		w.failed, w.tried = true, n.observer.now()
		n.observer.fold.RemoveTarget(n.name, w.id)
		name := w.name(n.name)
		cause := strings.TrimPrefix(f.Cause, name+": ")
		n.observer.warn(name + " is not measured: " + cause)
		party := n.partyOf(w)
		n.observer.skip(metrics.Skipped{Target: name, Reason: cause, Party: &party})
	}
}

// again makes a target whose collector has failed one that is tried anew; mu is
// held.
func (n *nodeState) again(w *wanted) {
	if w.failed {
		w.failed = false
		n.observer.unskip(w.name(n.name))
		n.introduce(w)
	}
}

// attached takes in that the collector has attached to interfaces: their targets are
// measured, also those that failed before.
func (n *nodeState) attached(interfaces []wire.Interface) {
	n.mu.Lock()
	for _, i := range interfaces {
		if w := n.target(i.Target); w != nil && n.gone[i.Target] == nil {
			n.again(w)
		}
	}
	n.mu.Unlock()
	n.observer.fold.SetInterfaces(n.name, interfaces)
}

// retry lets sync tell the collector once more of targets that failed a while ago: a
// namespace may be there by now, or room for one more. Until it has attached to them
// they stay among those that are not measured.
func (n *nodeState) retry() {
	n.mu.Lock()
	due := false
	for _, w := range n.wanted {
		if w.failed && n.observer.now().Sub(w.tried) >= attachInterval {
			w.tried = n.observer.now()
			delete(n.told, w.id)
			due = true
		}
	}
	n.mu.Unlock()
	if due {
		n.sync()
	}
}

// sync tells the collector which targets have come and gone.
func (n *nodeState) sync() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.session == nil {
		return
	}
	var change wire.Targets
	have := map[uint32]bool{}
	for _, key := range slices.Sorted(maps.Keys(n.wanted)) {
		w := n.wanted[key]
		have[w.id] = true
		if !n.told[w.id] && len(change.Add) < targetsPerFrame {
			change.Add = append(change.Add, n.wireTarget(w))
			n.told[w.id] = true
		}
	}
	for id := range n.told {
		if !have[id] {
			change.Remove = append(change.Remove, id)
			delete(n.told, id)
		}
	}
	if len(change.Add)+len(change.Remove) > 0 {
		_ = n.session.TellJSON(n.observer.ctx, wire.KindTargets, change) // read notices a stream that has ended
	}
}

// party is who a target is.
func (n *nodeState) party(id uint32) metrics.Party {
	n.mu.Lock()
	defer n.mu.Unlock()
	if w := n.target(id); w != nil {
		return n.partyOf(w)
	}
	return metrics.Party{Kind: metrics.KindUnknown}
}
