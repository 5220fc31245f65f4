package metrics

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dustin/go-humanize/english"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
	"github.com/kubectl-retina/kubectl-retina/internal/oneline"
	"github.com/kubectl-retina/kubectl-retina/internal/session"
	"github.com/kubectl-retina/kubectl-retina/internal/target"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

const (
	// finishTime bounds the wait for a collector's last sample.
	finishTime = 20 * time.Second
	// firstRetry and lastRetry bound the time between two attempts to start a
	// collector again.
	firstRetry = 2 * time.Second
	lastRetry  = time.Minute
	// targetsPerFrame is how many targets are told at once: each may take a
	// collector some milliseconds.
	targetsPerFrame = 256
)

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
	failed bool // the collector could not attach to it: nothing is known of it
}

// name is for messages.
func (w *wanted) name(node string) string {
	if w.pod == nil {
		return "node " + node
	}
	return "pod " + w.pod.String()
}

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

// connect starts the collector. What becomes of it is in n.session and n.err.
func (n *nodeState) connect(ctx context.Context) {
	o := n.observer
	o.starting <- struct{}{}
	defer func() { <-o.starting }()
	n.mu.Lock()
	n.tried = true
	first := make([]wire.Target, 0, len(n.wanted))
	told := map[uint32]bool{}
	pods := 0
	for _, w := range n.wanted {
		if len(first) < targetsPerFrame {
			first = append(first, n.wireTarget(w))
			told[w.id] = true
			if w.pod != nil {
				pods++
			}
			n.again(w)
		}
	}
	n.mu.Unlock()
	s, err := o.sessions.Start(ctx, n.name, wire.Spec{Metrics: &wire.MetricsSpec{
		Plugins: o.plugins, IntervalMS: uint32(o.interval / time.Millisecond), Targets: first,
		EventsPerSecond: o.events, TableEntries: uint32(o.entries), APIServers: o.servers, Hook: o.hook,
	}})
	n.mu.Lock()
	n.session, n.err, n.told, n.left = s, err, told, make(chan struct{})
	n.mu.Unlock()
	if err != nil {
		if ctx.Err() == nil {
			o.fold.SetNode(n.name, "", nil, err)
			o.narrator.Failed(n.name, err)
		}
		return
	}
	n.ready(s, pods)
}

// ready takes in what a new collector says of itself.
func (n *nodeState) ready(s *session.Session, pods int) {
	o, ready := n.observer, s.Ready()
	o.fold.SetNode(n.name, s.Hello().Kernel, ready.Unsupported, nil)
	o.fold.SetInterfaces(n.name, ready.Interfaces)
	o.narrator.Info(fmt.Sprintf("%s: ready in %.1fs  %s, %s", n.name, s.ReadyAfter().Seconds(),
		english.Plural(pods, "pod", ""), english.Plural(len(ready.Interfaces), "interface", "")))
	for _, u := range ready.Unsupported {
		verb := "does not work"
		if u.Partial {
			verb = "works in part"
		}
		o.warn(fmt.Sprintf("node %s: plugin %s %s: %s", n.name, u.Plugin, verb, u.Cause))
	}
	n.failed(ready.Failed)
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
		w.failed = true
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

// loop measures until the command ends, with one collector after the other if
// need be.
func (n *nodeState) loop() {
	o := n.observer
	retry := firstRetry
	for {
		n.mu.Lock()
		s, tried := n.session, n.tried
		n.mu.Unlock()
		if s == nil {
			if tried && (!o.live || !n.pause(&retry)) || n.idle() {
				return
			}
			if tried {
				o.fold.Restart(n.name)
			}
			n.connect(o.ctx)
			continue
		}
		began := o.now()
		err := s.Go(o.ctx)
		if err == nil {
			n.sync()
			err = n.read(s)
		}
		n.mu.Lock()
		n.session = nil
		close(n.left)
		n.mu.Unlock()
		if o.ctx.Err() != nil || o.isStopping() && err == nil {
			return
		}
		if err == nil {
			err = errors.New("the collector has ended by itself")
		}
		o.fold.SetNode(n.name, s.Hello().Kernel, s.Ready().Unsupported, err)
		o.narrator.Failed(n.name, fmt.Errorf("node %s: %w", n.name, trimNode(err, n.name)))
		_ = s.Discard(o.ctx) // its pod ends with the run at the latest
		if o.now().Sub(began) > lastRetry {
			retry = firstRetry
		}
	}
}

// trimNode takes the node's name off an error that begins with it.
func trimNode(err error, node string) error {
	prefix := "node " + node + ": "
	if text := err.Error(); len(text) > len(prefix) && text[:len(prefix)] == prefix {
		return hint.Wrap(errors.New(text[len(prefix):]), hint.Of(err))
	}
	return err
}

// pause waits before the next attempt, longer each time. It reports false when the
// command has ended.
func (n *nodeState) pause(retry *time.Duration) bool {
	select {
	case <-n.observer.ctx.Done():
		return false
	case <-time.After(*retry):
	}
	*retry = min(*retry*2, lastRetry)
	return !n.observer.isStopping()
}

// idle ends the loop of a node that nothing is wanted of.
func (n *nodeState) idle() bool {
	o := n.observer
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.wanted) > 0 {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	n.looping = false
	return true
}

func (o *observer) isStopping() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.stopping
}

// measuring is how many nodes have a collector.
func (o *observer) measuring() int {
	count := 0
	for _, n := range o.allNodes() {
		n.mu.Lock()
		if n.session != nil {
			count++
		}
		n.mu.Unlock()
	}
	return count
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

// read takes in what a collector sends until it has ended in order.
func (n *nodeState) read(s *session.Session) error {
	o := n.observer
	buf := make([]byte, 64<<10)
	var failure error
	for {
		kind, payload, err := s.ReadFrame(buf)
		if errors.Is(err, io.EOF) {
			return failure
		}
		if err != nil {
			return err
		}
		switch kind {
		case wire.KindSample:
			var sample wire.Sample
			if err = json.Unmarshal(payload, &sample); err == nil {
				o.fold.Add(n.name, &sample)
				if o.onSample != nil && !sample.More {
					o.onSample(n.name, o.measuring())
				}
			}
		case wire.KindEvents:
			var events wire.Events
			if err = json.Unmarshal(payload, &events); err == nil && o.onEvent != nil {
				o.onEvent(n, &events)
			}
		case wire.KindAttached:
			var attached wire.Attached
			if err = json.Unmarshal(payload, &attached); err == nil {
				o.fold.SetInterfaces(n.name, attached.Interfaces)
				n.failed(attached.Failed)
				n.sync() // there may be more than fit into one frame
			}
		case wire.KindFailure:
			var f wire.Failure
			if err = json.Unmarshal(payload, &f); err == nil {
				failure = hint.Wrap(errors.New(oneline.Text(f.Cause)), oneline.Text(f.Hint))
			}
		case wire.KindEnd:
			var end wire.End
			if err = json.Unmarshal(payload, &end); err == nil && failure == nil {
				failure = endError(s, end.Reason)
			}
		}
		if err != nil {
			return fmt.Errorf("collector's frame of kind %d: %w", kind, err)
		}
	}
}

// endError says why an end that was not asked for came.
func endError(s *session.Session, reason string) error {
	switch reason {
	case wire.EndStop:
		return nil
	case wire.EndDeadline:
		return errors.New("the collector has reached its time limit")
	}
	if cause := s.Cause(); cause != nil {
		return fmt.Errorf("the collector was ended: %w", cause)
	}
	return fmt.Errorf("the collector was ended (%s)", oneline.Text(reason))
}

// stop ends the collector in order and waits for its last sample.
func (n *nodeState) stop(ctx context.Context) {
	n.mu.Lock()
	s, left := n.session, n.left
	n.mu.Unlock()
	if s == nil || s.Stop(context.WithoutCancel(ctx)) != nil {
		return
	}
	select {
	case <-left:
	case <-time.After(finishTime):
		_ = s.Close()
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
