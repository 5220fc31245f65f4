// Package follow keeps what is selected, and the names of addresses, up to date.
//
// [Watch] tells what comes to and goes from a [target.Selection], and a
// [Directory] knows whose an address is. Both watch with the user's own rights,
// ask the server for no more than they need, and go on after a lost connection.
// What may not be watched is listed again and again; what may not even be listed
// is a warning, never an error.
package follow

import (
	"context"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/kubectl-retina/kubectl-retina/internal/target"
)

// gathering is how long changes are gathered before they are told: a rollout
// changes many pods at once.
const gathering = 50 * time.Millisecond

// Change is what has come and gone since the Change before. At least one of its
// fields is not empty. A pod or node is in one of them at most, except that one
// which was replaced by another of the same name is in Ended with the old UID
// and in Added with the new one.
type Change struct {
	// Added pods can be measured from now on.
	Added []target.Pod
	// Changed pods were added before and have another network namespace now: the
	// same UID, most likely with other addresses.
	Changed []target.Pod
	// Ended pods have ended, are gone or are not selected any more.
	Ended []target.Pod
	// NodesAdded and NodesEnded are whole nodes; Object is set in those added.
	NodesAdded, NodesEnded []target.Node
	// Warnings say, once each, what cannot be followed as it should. Those that the
	// user can do something about have a hint.
	Warnings []error
}

func (c *Change) empty() bool {
	return len(c.Added)+len(c.Changed)+len(c.Ended)+len(c.NodesAdded)+len(c.NodesEnded)+len(c.Warnings) == 0
}

// Watch reports how what selection selects differs from first, which came from
// its Resolve or ResolveAny, and from then on each change.
//
// A pod is added when it is Running on a Linux node and not being deleted. It
// stays while it is being deleted, for as long as one of its containers runs:
// its last seconds are of interest. Of workloads the owners are followed as in
// Resolve, so the new ReplicaSet of a rollout, the next Job of a CronJob, a
// service's new selector, a namespace that gets the label and a pod that comes
// back under its name are all noticed. Where something cannot be listed, nothing
// is said to have ended because of that.
//
// Changes are not lost when the receiver is slow: they add up to fewer. The
// channel is closed when ctx has ended and nothing is left running.
func Watch(ctx context.Context, client kubernetes.Interface, selection target.Selection, first *target.Resolved) <-chan Change {
	f := &follower{
		client:  client,
		changes: make(chan Change),
		wake:    make(chan struct{}, 1),
		pods:    newLedger[podItem](),
		nodes:   newLedger[nodeItem](),
		warned:  make(map[string]bool),
	}
	f.seed(first)
	f.mu.Lock()
	for _, part := range selection.Parts() {
		f.start(ctx, specOf(part))
	}
	f.mu.Unlock()
	f.running.Go(func() { f.tell(ctx) })
	go func() {
		f.running.Wait()
		close(f.changes)
	}()
	return f.changes
}

// A follower is one Watch.
type follower struct {
	client  kubernetes.Interface
	changes chan Change
	wake    chan struct{}  // has room for one
	running sync.WaitGroup // every goroutine

	mu       sync.Mutex // guards what follows, and every source
	pods     *ledger[podItem]
	nodes    *ledger[nodeItem]
	sources  sourceCount
	warnings []error
	warned   map[string]bool // by text
}

// seed enters what was resolved at first as already told.
func (f *follower) seed(first *target.Resolved) {
	for i := range first.Nodes {
		node := &first.Nodes[i]
		for _, pod := range node.Pods {
			f.pods.seed(podItem{pod: pod})
		}
		if node.Whole && node.Object != nil {
			f.nodes.seed(nodeItem{uid: string(node.Object.UID), node: target.Node{Name: node.Name, Whole: true}})
		}
	}
}

// tell sends changes until ctx ends.
func (f *follower) tell(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.wake:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(gathering):
		}
		change := f.take()
		if change.empty() {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case f.changes <- change:
		}
	}
}

func (f *follower) take() Change {
	f.mu.Lock()
	defer f.mu.Unlock()
	var c Change
	added, changed, ended := f.pods.take()
	for _, list := range []struct {
		from []podItem
		to   *[]target.Pod
	}{{added, &c.Added}, {changed, &c.Changed}, {ended, &c.Ended}} {
		for i := range list.from {
			*list.to = append(*list.to, list.from[i].pod)
		}
	}
	nodesAdded, _, nodesEnded := f.nodes.take()
	for i := range nodesAdded {
		c.NodesAdded = append(c.NodesAdded, nodesAdded[i].node)
	}
	for i := range nodesEnded {
		c.NodesEnded = append(c.NodesEnded, nodesEnded[i].node)
	}
	c.Warnings, f.warnings = f.warnings, nil
	return c
}

// poke lets tell look. It is called with the lock or without.
func (f *follower) poke() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// warn tells a warning, once.
func (f *follower) warn(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.warned[err.Error()] {
		f.warned[err.Error()] = true
		f.warnings = append(f.warnings, err)
		f.poke()
	}
}
