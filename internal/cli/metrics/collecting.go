package metrics

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dustin/go-humanize/english"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/session"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// firstRetry and lastRetry bound the time between two attempts to start a collector
// again.
const (
	firstRetry = 2 * time.Second
	lastRetry  = time.Minute
)

// connect starts the collector. What becomes of it is in n.session and n.err.
func (n *nodeState) connect(ctx context.Context) {
	o := n.observer
	o.starting <- struct{}{}
	defer func() { <-o.starting }()
	servers := o.apiServers(ctx)
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
		EventsPerSecond: o.events, EventKinds: o.eventKinds, TableEntries: uint32(o.entries), APIServers: servers, Hook: o.hook,
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
	if o.onCollector != nil {
		o.onCollector(n.name)
	}
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
	clear(n.gone) // there is nobody left who could tell of them
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
