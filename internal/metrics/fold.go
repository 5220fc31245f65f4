package metrics

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/oneline"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// DefaultSeriesLimit is Options.FlowLimit when it is 0.
const DefaultSeriesLimit = 1 << 16

// Options of a [Fold].
type Options struct {
	// Directory names the other sides. Nil: they stay "unknown".
	Directory Directory
	// Plugins are those that the collectors were asked for.
	Plugins []string
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// FlowLimit is how many flows of one node are kept, and how many entries of each
	// other kind; at least the collectors' TableEntries, or live ones find no room.
	// Flows that have ended are summed up by target and protocol when there are more;
	// what then still has no room is counted in Report.Lost. 0: DefaultSeriesLimit.
	FlowLimit int
}

// A Fold knows the present state of all numbers that collectors have sent.
//
// Nothing that comes from a collector is trusted: what concerns no target that
// the caller has set is ignored, text is cleaned, and the number of series per
// node is bounded. Its methods may be called concurrently.
type Fold struct {
	opts Options

	mu      sync.Mutex
	began   time.Time
	ended   time.Time // when the last sample came; zero before
	nodes   map[string]*nodeState
	targets uint64 // that were ever set
	skipped []Skipped
	parties parties
}

// NewFold returns an empty fold, which begins now.
func NewFold(o Options) *Fold {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.FlowLimit <= 0 {
		o.FlowLimit = DefaultSeriesLimit
	}
	o.Plugins = slices.Compact(slices.Sorted(slices.Values(o.Plugins)))
	return &Fold{opts: o, began: o.Now(), nodes: make(map[string]*nodeState)}
}

// Begin says that the collectors have begun to count now. Without it they began
// with the fold.
func (f *Fold) Begin() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.began = f.opts.Now()
}

// SetNode says what is known about a node: the kernel of its hello, what its
// kernel cannot give, and why its numbers are missing or end early. It may be
// called again when more is known.
func (f *Fold) SetNode(name, kernel string, unsupported []wire.PluginError, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.node(name)
	n.about.Kernel = clean(kernel, maxText)
	n.about.Unsupported = nil
	for _, u := range unsupported[:min(len(unsupported), maxUnsupported)] {
		n.about.Unsupported = append(n.about.Unsupported, wire.PluginError{
			Plugin: clean(u.Plugin, maxWord), Cause: clean(u.Cause, maxText), Hint: clean(u.Hint, maxText), Partial: u.Partial,
		})
	}
	n.about.Error = ""
	if err != nil {
		n.about.Error = oneline.Text(err.Error())
		n.flush() // the rest of a sample that came in parts will not come
	}
}

// SetTarget says who a target of a node's collector is. Its party may change;
// an ID that was ended is a target again.
func (f *Fold) SetTarget(node string, id uint32, party Party) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.node(node)
	if party.Kind == KindPod && party.Node == "" {
		party.Node = node
	}
	f.targets++
	n.targets[id] = &target{party: party, order: f.targets}
}

// EndTarget says that a target is gone. Its numbers stay until Forget.
func (f *Fold) EndTarget(node string, id uint32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if t := f.node(node).targets[id]; t != nil && t.ended.IsZero() {
		t.ended = f.opts.Now()
	}
}

// RemoveTarget says that a target cannot be measured: it is in no report until
// SetTarget.
func (f *Fold) RemoveTarget(node string, id uint32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.node(node)
	doomed := n.targets[id]
	n.forget(func(t *target) bool { return t == doomed })
}

// Forget removes the targets that have ended that long ago, with their numbers, and
// nodes that have no target left and fail, or never had a collector.
// The numbers of groups that they were in go down by that.
func (f *Fold) Forget(after time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.opts.Now()
	for name, n := range f.nodes {
		n.forget(func(t *target) bool { return !t.ended.IsZero() && now.Sub(t.ended) >= after })
		if len(n.targets) == 0 && (n.about.Error != "" || n.about.Kernel == "") {
			delete(f.nodes, name) // nothing is wanted of it any more
		}
	}
}

// SetInterfaces says which interfaces of targets a node's collector has attached
// to, in addition to those before.
func (f *Fold) SetInterfaces(node string, interfaces []wire.Interface) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.node(node)
	for _, i := range interfaces {
		if n.targets[i.Target] != nil && (len(n.interfaces) < f.opts.FlowLimit || n.interfaces[i.ID] != (attached{})) {
			n.interfaces[i.ID] = attached{target: i.Target, name: clean(i.Name, maxWord), uplink: i.Uplink, set: true}
		}
	}
}

// Restart says that a node has a new collector, whose numbers begin at 0 and are
// added to what there is. It has no interfaces until SetInterfaces; targets stay.
// Nobody has counted between the two, which is in Report.Lost.
func (f *Fold) Restart(node string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.node(node).restart()
}

// Nodes returns all nodes, sorted by name, as [Fold.Report] does with more work.
func (f *Fold) Nodes() []Node {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.abouts()
}

// abouts is Nodes; mu is held.
func (f *Fold) abouts() []Node {
	nodes := make([]Node, 0, len(f.nodes))
	for _, n := range f.nodes {
		nodes = append(nodes, n.about)
	}
	slices.SortFunc(nodes, func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
	return nodes
}

// SetSkipped says which targets are not measured.
func (f *Fold) SetSkipped(skipped []Skipped) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.skipped = slices.Clone(skipped)
}

// Add takes in a sample of a node's collector, and keeps parts of it: the caller
// must not change s any more. A sample with More waits for the rest of it.
func (f *Fold) Add(node string, s *wire.Sample) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.nodes[node]
	if n == nil {
		return
	}
	n.add(s)
	f.ended = f.opts.Now()
}

// node returns the state of a node, which is made when it is new.
func (f *Fold) node(name string) *nodeState {
	n := f.nodes[name]
	if n == nil {
		n = newNodeState(name, f.opts.FlowLimit)
		f.nodes[name] = n
	}
	return n
}
