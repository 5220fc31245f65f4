package metrics

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/kube"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/narration"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/prompt"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
	"github.com/kubectl-retina/kubectl-retina/internal/session"
	"github.com/kubectl-retina/kubectl-retina/internal/target"
	"github.com/kubectl-retina/kubectl-retina/internal/target/follow"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

const (
	// directoryTime is how long a beginning waits for the names of addresses.
	directoryTime = 10 * time.Second
	// refreshInterval is how often what is known of targets is looked up again: their
	// service, their policies.
	refreshInterval = 3 * time.Second
	// startSlack is what a collector may live longer than what it measures.
	startSlack = 5 * time.Minute
)

// An observer measures what is selected: it has a collector on every node with
// targets, follows pods that come and go, and folds all samples.
type observer struct {
	*options
	narrator *narration.Narrator
	interval time.Duration // between samples
	lasts    time.Duration // how long; 0: until stopped
	events   uint32        // a second and node; 0: none
	// eventKinds are those that are wanted; none: all.
	eventKinds []string
	// live commands start a collector again when its stream was cut.
	live    bool
	onEvent func(node *nodeState, events *wire.Events)
	// onCollector is told that a node has a new collector, before it sends anything.
	onCollector func(node string)
	// onSample is told when a node's sample is in the fold, and how many nodes send any.
	onSample func(node string, nodes int)
	// forget is how long a target that has ended stays; 0: for good.
	forget time.Duration

	cluster   *kube.Cluster
	resolved  *target.Resolved
	selection target.Selection
	sessions  *session.Run
	directory *follow.Directory
	fold      *metrics.Fold
	servers   *serverList // of the API server

	ctx     context.Context // of everything that goes on until stop
	cancel  context.CancelFunc
	running sync.WaitGroup // node loops, follower, refresher

	limit int // of nodes, for those that come later; 0: none

	mu       sync.Mutex
	nodes    map[string]*nodeState
	skipped  []metrics.Skipped
	warned   map[string]bool
	starting chan struct{} // slots
	going    bool          // go has been said
	stopping bool
}

// run measures: it prepares and starts, lets during go on until it returns, and ends
// everything in order. What it returns can be told to the user as it is. The fold has
// the last samples when it has returned.
func (o *observer) run(ctx context.Context, during func(context.Context) error) error {
	if err := o.prepare(ctx); err != nil {
		o.narrator.Close()
		if ctx.Err() != nil {
			return interruptedEarly()
		}
		return kube.Explain(err)
	}
	err := o.start(ctx)
	if err == nil {
		err = during(ctx)
	}
	o.stop(ctx)
	o.close(ctx)
	return err
}

func interruptedEarly() error {
	return exit.With(exit.Interrupted, errors.New("interrupted before anything was measured"))
}

// newObserver returns an observer that has done nothing yet.
func newObserver(o *options, interval time.Duration) *observer {
	return &observer{
		options: o, narrator: narration.New(o.streams.ErrOut, o.quiet), interval: interval,
		nodes: map[string]*nodeState{}, warned: map[string]bool{}, starting: make(chan struct{}, maxParallel),
	}
}

// prepare does everything that can fail before something is created.
func (o *observer) prepare(ctx context.Context) (err error) {
	if o.cluster, err = o.kube.Cluster(); err != nil {
		return err
	}
	o.request.Namespace = o.cluster.Namespace
	if o.selection, err = o.request.Selection(); err != nil {
		return exit.With(exit.Usage, err)
	}
	if o.withNodes {
		nodes, err := target.Request{AllNodes: true}.Selection()
		if err != nil {
			return err
		}
		o.selection = target.Join(o.selection, nodes)
	}
	executor, err := session.NewRemoteExecutor(o.cluster.REST)
	if err != nil {
		return err
	}
	if o.collectors.Namespace == "" {
		o.collectors.Namespace = o.cluster.ContextNamespace
	}
	o.ctx, o.cancel = context.WithCancel(context.WithoutCancel(ctx))
	o.narrator.Status("looking for " + o.selection.String())
	var resolveErr, openErr, serversErr error
	var all sync.WaitGroup
	all.Go(func() { resolveErr = o.resolve(ctx) })
	all.Go(func() {
		o.sessions, openErr = session.Open(ctx, session.Config{
			Client: o.cluster.Client, Executor: executor, Namespace: o.collectors.Namespace,
			Image: o.image, PullSecrets: o.collectors.PullSecrets, MaxRun: o.lifetime(), Events: o.narrator.Starting,
		})
	})
	o.servers = newServerList(o.cluster.Client, o.now)
	all.Go(func() { serversErr = o.readServers(ctx) })
	all.Wait()
	if err = resolveErr; err == nil { // the first thing to put right
		err = openErr
	}
	if err == nil {
		err = o.confirmNodes(len(o.resolved.Nodes))
	}
	if err != nil {
		if o.sessions != nil {
			err = errors.Join(err, o.sessions.Close(ctx))
		}
		o.cancel()
		return err
	}
	if serversErr != nil {
		o.warnOfServers(serversErr)
	}
	o.open()
	return nil
}

func (o *observer) resolve(ctx context.Context) (err error) {
	if o.live && !o.noFollow && o.patience == 0 {
		// What is not there yet may come.
		o.resolved, err = o.selection.ResolveAny(ctx, o.cluster.Client)
		return err
	}
	o.resolved, err = follow.Await(ctx, o.cluster.Client, o.selection, follow.Waiting{
		Patience: o.patience,
		Began:    func() { o.narrator.Info("waiting for a pod of " + o.selection.String()) },
		Warn:     func(err error) { o.warn(err.Error()) },
	})
	return err
}

// open makes what keeps the numbers and the names.
func (o *observer) open() {
	o.directory = follow.NewDirectory(o.ctx, o.cluster.Client, follow.Options{
		Fallback: o.namespaces(),
		Warn:     func(err error) { o.warn("some addresses will have no name: " + err.Error()) },
	})
	o.fold = metrics.NewFold(metrics.Options{Directory: o.directory, Plugins: o.plugins, FlowLimit: 4 * o.entries})
	for _, s := range o.resolved.Skipped {
		o.skip(metrics.Skipped{Target: s.Target, Reason: s.Reason})
		if !o.everything {
			o.warn(s.Target + " is skipped: " + s.Reason)
		}
	}
	for i := range o.resolved.Nodes {
		node := &o.resolved.Nodes[i]
		if node.Whole {
			o.node(node.Name).wholeNode()
		}
		for k := range node.Pods {
			o.addPod(&node.Pods[k])
		}
	}
	o.agreed()
}

// namespaces are those of the targets.
func (o *observer) namespaces() []string {
	seen := map[string]bool{}
	var all []string
	for i := range o.resolved.Nodes {
		for k := range o.resolved.Nodes[i].Pods {
			if ns := o.resolved.Nodes[i].Pods[k].Namespace; !seen[ns] {
				seen[ns], all = true, append(all, ns)
			}
		}
	}
	return all
}

// lifetime bounds every collector.
func (o *observer) lifetime() time.Duration {
	if o.lasts == 0 {
		return maxMeasuring
	}
	return o.lasts + startSlack
}

// confirmNodes asks before many nodes get a collector.
func (o *observer) confirmNodes(n int) error {
	if o.maxNodes == 0 || n <= o.maxNodes {
		return nil
	}
	question := fmt.Sprintf("%s is on %d nodes: measure on all of them?", o.selection, n)
	advice := fmt.Sprintf("to go on without being asked: --max-nodes %d", n)
	return prompt.Confirm(o.streams, question, hint.Wrap(exit.Usagef("%d nodes are more than --max-nodes %d", n, o.maxNodes), advice))
}

// start starts the collectors and says go. It fails when none has started, unless
// the command waits for targets.
func (o *observer) start(ctx context.Context) error {
	waiting := o.live && !o.noFollow
	names := make(chan struct{})
	go func() {
		defer close(names)
		patience, cancel := context.WithTimeout(ctx, directoryTime)
		defer cancel()
		_ = o.directory.WaitForSync(patience) // names come later then
	}()
	nodes := o.allNodes()
	var wg sync.WaitGroup
	for _, n := range nodes {
		wg.Go(func() { n.connect(ctx) })
	}
	wg.Wait()
	<-names
	if ctx.Err() != nil {
		return interruptedEarly()
	}
	started := 0
	for _, n := range nodes {
		if n.session != nil {
			started++
		}
	}
	if started == 0 && (len(nodes) > 0 || !waiting) {
		if len(nodes) == 1 {
			return fmt.Errorf("nothing was measured: %w", exit.With(exit.Failed, exit.ErrSilent)) // it has been told about
		}
		return errors.New("nothing was measured: no collector could start")
	}
	o.refresh()
	o.fold.Begin()
	o.mu.Lock()
	o.going = true
	for _, n := range nodes {
		n.looping = true
		o.running.Go(n.loop)
	}
	o.mu.Unlock()
	o.running.Go(o.refreshing)
	if !o.noFollow {
		o.running.Go(o.follow)
	}
	return nil
}

// stop ends all collectors in order and waits for their last samples.
func (o *observer) stop(ctx context.Context) {
	o.mu.Lock()
	o.stopping = true
	going := o.going
	o.mu.Unlock()
	var wg sync.WaitGroup
	for _, n := range o.allNodes() {
		if going { // else nobody reads what collectors send, and there is nothing to wait for
			wg.Go(func() { n.stop(ctx) })
		}
	}
	wg.Wait()
	if o.cancel != nil {
		o.cancel()
	}
	o.running.Wait()
}

// close deletes everything; it is to be called after prepare has succeeded.
func (o *observer) close(ctx context.Context) {
	o.narrator.Status("cleaning up")
	o.cancel()
	if err := o.sessions.Close(ctx); err != nil {
		o.warn("clean up: " + err.Error())
	}
	o.running.Wait()
	o.directory.Wait()
	o.narrator.Close()
}
