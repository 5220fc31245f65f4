package capture

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/capture"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/destination"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/kube"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/oneline"
	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
	"github.com/kubectl-retina/kubectl-retina/internal/session"
	"github.com/kubectl-retina/kubectl-retina/internal/target"
	"github.com/kubectl-retina/kubectl-retina/internal/target/follow"
	"github.com/kubectl-retina/kubectl-retina/internal/version"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

const (
	// startSlack is what a collector may live longer than its capture: until
	// the slowest node is ready, and until the last packet is sent.
	startSlack = 5 * time.Minute
	// finishTime is how long nothing may arrive of what collectors hold when the
	// capture ends. One that is dead is noticed sooner, by its silence.
	finishTime = time.Minute
	// maxParallel is how many collectors start at once.
	maxParallel = 64
	// pipePatience is how long a named pipe may be without a reader before that
	// is worth a line.
	pipePatience = 300 * time.Millisecond
)

// A captureRun is one execution of capture create.
type captureRun struct {
	*createOptions
	config   *config
	narrator *narrator

	warningsMu sync.Mutex // several goroutines warn
	warnings   []string

	uniqueName string // of the capture
	began      time.Time
	merging    string // directory of archives that will be merged
	storage    *session.Storage
	stores     *destination.Resolved // of a stored capture
	cluster    *kube.Cluster
	resolved   *target.Resolved
	plans      []nodePlan
	clock      session.Clock // that the nodes' are corrected to
	linkType   uint16        // of the first interface
	sessions   *session.Run
	nodes      []*nodeRun // by plan, then those that joined
	joining    *joining   // nil: nobody is followed
	output     *output

	wiresharkPath string // with --wireshark
	// addresses are those of the objects that the filter names; nil: it names none.
	// They are followed until watching ends.
	addresses *follow.Addresses
	watching  context.Context
	// manyAddresses has it told once that there are more than a filter can know.
	manyAddresses sync.Once
}

// A nodeRun is what became of one node. While pods are followed, joining.mu guards
// all of it.
type nodeRun struct {
	plan    *nodePlan
	session *session.Session // nil when it did not start
	failed  []wire.TargetError
	err     error // why it has no session, or did not end in order
	index   int   // among the merger's sources; noSource: it is none
	source  *capture.SourceResult
	buf     []byte // for frames of a stored capture
	follow  following
	// addresses are what its collector knows of the filter's objects.
	addresses map[netip.Addr]uint32
}

// noSource is the index of a node whose packets are not merged.
const noSource = -1

func newNodeRun(plan *nodePlan) *nodeRun { return &nodeRun{plan: plan, index: noSource} }

func newRun(o *createOptions, c *config) *captureRun {
	r := &captureRun{createOptions: o, config: c, began: o.now(), narrator: newNarrator(o.streams.ErrOut, o.quiet)}
	if o.print != "" {
		r.narrator.besidePackets()
	}
	return r
}

// run captures. ctx ends when the user interrupts; whatever happens, nothing
// stays in the cluster.
func (r *captureRun) run(ctx context.Context) error {
	defer r.narrator.Close()
	watching, unwatch := context.WithCancel(ctx)
	defer unwatch()
	r.watching = watching
	if err := r.prepare(ctx); err != nil {
		return interrupted(ctx, kube.Explain(err))
	}
	err := r.capture(ctx)
	r.narrator.Status("cleaning up")
	if closeErr := r.sessions.Close(ctx); closeErr != nil {
		r.warn("clean up: " + closeErr.Error())
	}
	if r.output != nil {
		err = errors.Join(err, r.output.Close())
	}
	return err
}

// prepare does everything that can fail before something is created: it finds
// the targets, asks whether collectors may run, and opens the output.
func (r *captureRun) prepare(ctx context.Context) (err error) {
	if r.wireshark {
		if r.wiresharkPath, err = findWireshark(); err != nil {
			return err
		}
	}
	if err := r.aim(ctx); err != nil {
		return err
	}
	executor, err := session.NewRemoteExecutor(r.cluster.REST)
	if err != nil {
		return err
	}
	r.narrator.Status("looking for " + r.config.selection.String())
	// Both ask the API server only, so neither waits for the other.
	var resolveErr, openErr error
	var both sync.WaitGroup
	both.Go(func() { r.resolved, resolveErr = r.resolve(ctx) })
	both.Go(func() {
		config := r.sessionConfig()
		config.Executor, config.Events = executor, r.narrator.Starting
		r.sessions, openErr = session.Open(ctx, config)
	})
	both.Wait()
	err = errors.Join(resolveErr, openErr)
	if resolveErr != nil {
		err = resolveErr // the first thing to put right
	}
	if err == nil {
		err = r.confirmNodes(len(r.resolved.Nodes))
	}
	if err == nil {
		err = r.watchAddresses(r.watching)
	}
	if err == nil {
		r.plan()
		r.tellFilter()
		r.tellFixed()
		if !r.config.stored || r.write != "" {
			r.output, err = r.open(ctx)
		}
	}
	if err != nil && r.sessions != nil {
		err = errors.Join(err, r.sessions.Close(ctx))
	}
	return err
}

// aim finds the cluster and what to look for there, the capture's name and where
// it is stored. It creates nothing.
func (r *captureRun) aim(ctx context.Context) (err error) {
	if r.cluster, err = r.kube.Cluster(); err != nil {
		return err
	}
	if r.request.Namespace = r.namespace; r.namespace == "" {
		r.request.Namespace = r.cluster.Namespace
	}
	if r.config.selection, err = r.request.Selection(); err != nil {
		return exit.With(exit.Usage, r.inManifest(err))
	}
	if r.collectors.Namespace == "" {
		r.collectors.Namespace = r.cluster.ContextNamespace
	}
	return r.inManifest(r.prepareStorage(ctx))
}

// sessionConfig says what the collectors are.
func (r *captureRun) sessionConfig() session.Config {
	return session.Config{
		Client: r.cluster.Client, Namespace: r.collectors.Namespace,
		Image: r.config.image, PullSecrets: r.collectors.PullSecrets, MaxRun: r.lifetime(),
		Capture: r.uniqueName, Annotations: r.annotations(), Storage: r.storage,
	}
}

// planFor plans one node, whether it is there at the beginning or joins.
func (r *captureRun) planFor(node target.Node) nodePlan {
	p := planNode(node, r.config.snapLen, r.hook)
	p.packets.HeadersOnly, p.packets.Interfaces, p.packets.Follow = r.redact, r.config.interfaces, r.following()
	p.from(r.config.vantages)
	return p
}

func (r *captureRun) plan() {
	r.plans = make([]nodePlan, len(r.resolved.Nodes))
	for i, node := range r.resolved.Nodes {
		r.plans[i] = r.planFor(node)
		for _, warning := range r.plans[i].warnings() {
			r.warn(warning)
		}
		r.nodes = append(r.nodes, newNodeRun(&r.plans[i]))
	}
	if warning := relayWarning(r.resolved.Nodes); warning != "" {
		r.warn(warning)
	}
	for _, skipped := range r.resolved.Skipped {
		r.warn(skipped.Target + " is skipped: " + skipped.Reason)
	}
}

// firstTarget is what a capture is called that was given no name.
func (o *createOptions) firstTarget() string {
	args := o.request.Args
	if o.nameBase != "" {
		return o.nameBase
	}
	if len(args) == 0 {
		return "capture"
	}
	name := args[0][strings.LastIndexByte(args[0], '/')+1:]
	if name == args[0] && len(args) > 1 { // TYPE NAME
		name = args[1]
	}
	return name
}

// warn tells the user and the summary. It may be called concurrently.
func (r *captureRun) warn(text string) {
	text = oneline.Text(text)
	r.warningsMu.Lock()
	r.warnings = append(r.warnings, text)
	r.warningsMu.Unlock()
	r.narrator.Warn(text)
}

// capture starts the collectors, merges what they send, and tells the result.
func (r *captureRun) capture(ctx context.Context) error {
	if r.config.stored {
		return r.store(ctx)
	}
	var names []pcapng.Name
	var naming sync.WaitGroup
	naming.Go(func() { names = r.names(ctx) }) // while the pods start
	if r.following() {
		r.joining = newJoining(ctx, r)
		defer r.joining.end()
	}
	started := r.start(ctx)
	naming.Wait()
	if len(started) == 0 || ctx.Err() != nil {
		err := interrupted(ctx, nil)
		if err == nil {
			err = r.nothingStarted()
		}
		return errors.Join(err, r.output.Discard())
	}
	sources, err := r.sources(started)
	if err == nil {
		err = r.checkInterfaces(started)
	}
	if err != nil {
		return errors.Join(err, r.output.Discard())
	}
	began := time.Now()
	stopper := newStopper(r, started)
	merger := capture.NewMerger(sources, r.output.Output, capture.Options{
		Section: r.section(started), Names: names,
		MaxPackets: r.config.packets, MaxBytes: r.config.maxBytes,
		Stop: func() { go stopper.stop(ctx) }, Ended: r.joining.ended,
	})
	stopper.totals = merger.Totals
	running := r.narrator.capturing(r.config.duration, merger.Totals)
	go stopper.start(ctx, r.config.duration)
	r.output.whenClosed(stopper, func() { stopper.stop(ctx) })
	r.joining.begin(merger, stopper, names)
	result, err := merger.Run(context.WithoutCancel(ctx))
	stopper.end()
	err = errors.Join(err, r.output.closeViews())
	running()
	r.joining.end()
	if err != nil && result.FileBytes == 0 {
		if errors.Is(err, capture.ErrReaderClosed) {
			r.narrator.Info(r.output.Name() + ": ended by the reader before it began")
			err = nil
		}
		return errors.Join(err, r.output.Discard()) // not even the header
	}
	for _, n := range r.nodes {
		if n.index == noSource {
			continue
		}
		n.source = &result.Sources[n.index]
		if n.source.Reason == wire.EndSignal {
			if cause := n.session.Cause(); cause != nil {
				n.source.Err = fmt.Errorf("%w (%w)", n.source.Err, cause)
			}
		}
		n.err = errors.Join(n.err, n.source.Err)
	}
	return r.finish(ctx, &result, err, time.Since(began))
}

// start starts a collector on each node, in parallel, and returns those that
// are ready.
func (r *captureRun) start(ctx context.Context) []*nodeRun {
	slots := make(chan struct{}, maxParallel)
	var wg sync.WaitGroup
	for _, n := range r.nodes {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			n.session, n.err = r.sessions.Start(ctx, n.plan.node.Name, r.spec(n))
			if n.err == nil {
				n.failed = n.session.Ready().Failed
				if s := n.session; !r.config.stored {
					go r.tellAddresses(r.watching, n.addresses, func() *session.Session { return s }, false)
				}
				r.narrator.ready(n)
			} else if ctx.Err() == nil {
				r.narrator.Failed(n.plan.node.Name, n.err)
			}
		})
	}
	wg.Wait()
	var started []*nodeRun
	for _, n := range r.nodes {
		if n.session == nil {
			continue
		}
		for _, warning := range n.session.Ready().Warnings {
			r.warn("node " + n.plan.node.Name + ": " + warning)
		}
		if r.following() || len(n.session.Ready().Interfaces) > 0 {
			started = append(started, n)
		}
	}
	if !slices.ContainsFunc(started, func(n *nodeRun) bool { return len(n.session.Ready().Interfaces) > 0 }) {
		r.giveUp(started)
		started = nil
	}
	for _, n := range r.nodes {
		for _, f := range n.failed {
			r.warn(n.plan.target(f.Target) + " is not captured: " + f.Cause)
		}
	}
	return started
}

// giveUp ends collectors that have attached to nothing: why is the nodes' failure.
func (r *captureRun) giveUp(nodes []*nodeRun) {
	for _, n := range nodes {
		if len(n.failed) > 0 && !n.failed[0].HostNetwork {
			n.err = fmt.Errorf("node %s: %w", n.plan.node.Name, hint.Wrap(errors.New(n.failed[0].Cause), n.failed[0].Hint))
			r.narrator.Failed(n.plan.node.Name, n.err)
			n.failed = nil
		}
		_ = n.session.Close()
		n.session = nil
	}
}

// nothingStarted prints the summary, and is why no node captures; each node has
// been told about.
func (r *captureRun) nothingStarted() error {
	if err := r.printSummary(r.summary(&capture.Result{}, 0)); err != nil {
		return err
	}
	if len(r.nodes) == 1 && r.nodes[0].err != nil {
		return fmt.Errorf("nothing was captured: %w", exit.With(exit.Failed, exit.ErrSilent))
	}
	return errors.New("nothing was captured: no collector could start")
}

// names are the names of addresses for the file.
func (r *captureRun) names(ctx context.Context) []pcapng.Name {
	records, errs := target.Names(ctx, r.cluster.Client, r.resolved)
	if ctx.Err() == nil {
		if len(errs) > 0 {
			r.warn("some addresses will have no name: " + errors.Join(errs...).Error())
		}
	}
	var names []pcapng.Name
	for _, record := range records {
		for _, name := range record.Names {
			names = append(names, pcapng.Name{Addr: record.Addr, Name: name})
		}
	}
	return names
}

// sources connects the sessions to the merger, with their clocks put right.
func (r *captureRun) sources(started []*nodeRun) ([]capture.Source, error) {
	clocks := make([]session.Clock, len(started))
	for i, n := range started {
		clocks[i] = n.session.Clock()
	}
	r.clock = session.ClockReference(clocks)
	sources := make([]capture.Source, len(started))
	linkTypes := map[uint16]bool{}
	for i, n := range started {
		var err error
		if sources[i], err = r.source(n); err != nil {
			return nil, err
		}
		n.index = i
		for _, one := range sources[i].Interfaces {
			if len(linkTypes) == 0 {
				r.linkType = one.LinkType
			}
			linkTypes[one.LinkType] = true
		}
	}
	if r.config.format == capture.Pcap && len(linkTypes) > 1 {
		return nil, errors.New("the targets' interfaces have different link types, which a pcap file cannot hold: use --format pcapng")
	}
	return sources, nil
}

// source connects one session to the merger.
func (r *captureRun) source(n *nodeRun) (capture.Source, error) {
	node := n.plan.node.Name
	interfaces, err := n.plan.interfaces(n.session.Hello(), n.session.Ready())
	if err != nil {
		return capture.Source{}, fmt.Errorf("node %s: %w", node, err)
	}
	for k := range interfaces {
		interfaces[k].Filter = r.config.filterText()
	}
	correction := n.session.Clock().Correction(r.clock)
	if correction != 0 {
		n.follow.comment = fmt.Sprintf("clock of node %s corrected by %s", node, correction)
		r.warn(fmt.Sprintf("the clock of node %s is off by %s from the other nodes': corrected in the file", node, (-correction).Round(time.Millisecond)))
		for k := range interfaces {
			interfaces[k].Comments = append(interfaces[k].Comments, n.follow.comment)
		}
	}
	return capture.Source{
		Node: node, Interfaces: interfaces, ClockOffsetNS: correction.Nanoseconds(), Frames: n.session, Attached: r.joining.attached(n),
	}, nil
}

// section describes the program and the nodes.
func (r *captureRun) section(started []*nodeRun) pcapng.Section {
	var kernels, archs []string
	for _, n := range started {
		hello := n.session.Hello()
		kernels, archs = append(kernels, hello.Kernel), append(archs, hello.Arch)
	}
	slices.Sort(kernels)
	slices.Sort(archs)
	return pcapng.Section{
		Application: "kubectl-retina " + version.Get().Version,
		OS:          strings.Join(slices.Compact(kernels), ", "),
		Hardware:    strings.Join(slices.Compact(archs), ", "),
		Comments:    r.comments(),
	}
}
