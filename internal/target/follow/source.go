package follow

import (
	"context"

	"k8s.io/apimachinery/pkg/types"
)

// A spec says what a source reads and what it makes of that: pods, nodes, or
// more sources.
type spec struct {
	reading
	owner types.UID // of pods: their controller; "" is any
	named bool      // of pods: asked for by name
	names []string  // of nodes: the only ones; empty is all
	// grow, if set, says what an object stands for. Its keys tell whether that has
	// changed.
	grow func(object any) map[string]spec
	// sticky objects keep what they stood for when that becomes nothing.
	sticky bool
}

// A source is one feed of a follower with what it has found. Sources are a tree:
// a Deployment's has the source of its ReplicaSets, and each of them its pods'.
// All of it is guarded by the follower's lock.
type source struct {
	spec
	follower *follower
	ctx      context.Context // of this source and what grows from it
	stop     context.CancelFunc
	state    sourceState
	// held are the UIDs of the pods or nodes that it claims, by name.
	held map[string]string
	// grown are the sources of each object, by its name and then by their keys.
	grown map[string]map[string]*source
}

type sourceState int

const (
	stateNew     sourceState = iota // not listed yet
	stateRefused                    // may not be listed, and never was
	stateSynced
	stateStopped
)

// sourceCount counts the sources in each state.
type sourceCount [stateStopped + 1]int

// start begins to read. The lock is held.
func (f *follower) start(ctx context.Context, s spec) *source {
	ctx, stop := context.WithCancel(ctx)
	src := &source{
		spec: s, follower: f, ctx: ctx, stop: stop,
		held:  make(map[string]string),
		grown: make(map[string]map[string]*source),
	}
	f.sources[stateNew]++
	feed, err := newFeed(f.client, s.reading, src.sink(), f.warn)
	if err != nil { // not with the resources of specOf
		panic(err)
	}
	f.running.Go(func() { feed.run(ctx) })
	return src
}

func (s *source) sink() sink {
	switch {
	case s.grow != nil:
		return branch{s}
	case s.resource == "nodes":
		return s.nodeLeaf()
	}
	return s.podLeaf()
}

// setState also settles what depends on the states of all sources. The lock is
// held.
func (s *source) setState(state sourceState) {
	f := s.follower
	f.sources[s.state]--
	s.state = state
	f.sources[state]++
	if f.sources[stateNew] > 0 {
		return
	}
	// Whatever a source that has ended had would have been claimed by another by now,
	// and what was resolved at first as well if nothing is hidden.
	f.pods.releaseAll(claimGrace)
	f.nodes.releaseAll(claimGrace)
	if f.sources[stateRefused] == 0 {
		f.pods.releaseAll(claimFirst)
		f.nodes.releaseAll(claimFirst)
	}
	f.poke()
}

// end stops a source and all that grew from it. What they hold stays until it is
// known whether another source has it. The lock is held.
func (s *source) end() {
	for _, sources := range s.grown {
		for _, child := range sources {
			child.end()
		}
	}
	for _, uid := range s.held {
		s.follower.pods.pass(uid, s)
		s.follower.nodes.pass(uid, s)
	}
	s.stop()
	s.setState(stateStopped)
}

// update runs do with the lock unless s has ended, then lets the changes be told.
func (s *source) update(do func()) {
	s.follower.mu.Lock()
	defer s.follower.mu.Unlock()
	if s.state == stateStopped {
		return
	}
	do()
	s.follower.poke()
}

func (s *source) refused() {
	s.update(func() {
		if s.state == stateNew {
			s.setState(stateRefused)
		}
	})
}

// synced takes note that a list was read. The lock is held.
func (s *source) synced() {
	if s.state != stateSynced {
		s.setState(stateSynced)
	}
}

// missing returns the keys of before that are not among items.
func missing[V any](before map[string]V, items []item) []string {
	there := make(map[string]bool, len(items))
	for _, it := range items {
		there[it.key()] = true
	}
	var keys []string
	for key := range before {
		if !there[key] {
			keys = append(keys, key)
		}
	}
	return keys
}
