package capture

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubectl-retina/kubectl-retina/internal/capture"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/clusterinfo"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
	"github.com/kubectl-retina/kubectl-retina/internal/session"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

const (
	// attendedTime is what an archive may take that the command waits for. It is no
	// dead man's switch: the lease is.
	attendedTime = 24 * time.Hour
	// storeTime is what an archive may take at least that nobody waits for, and
	// storeRate the bytes a second at which it should go at least.
	storeTime = 30 * time.Minute
	storeRate = 1 << 20
	// unlimitedTime is what one may take that has no limit.
	unlimitedTime = 6 * time.Hour
	// stateTime is how long the cluster's state after the capture is waited for: the
	// collectors wait little longer.
	stateTime = 8 * time.Second
	// beginning is how long collectors have to begin once they are ready.
	beginning = 30 * time.Second
	// reconnecting is how long a stream that was cut is tried to be had again; a
	// keeper waits for wire.Silence.
	reconnecting = 12 * time.Second
	reconnectGap = time.Second
)

// store has the nodes capture into files of their own and store them.
func (r *captureRun) store(ctx context.Context) (err error) {
	var names []pcapng.Name
	var before []clusterinfo.Document
	var asking sync.WaitGroup // while the pods start
	asking.Go(func() { names = r.names(ctx) })
	asking.Go(func() { before = r.clusterState(ctx) })
	started := r.start(ctx)
	asking.Wait()
	if len(started) == 0 || ctx.Err() != nil {
		if err = interrupted(ctx, nil); err == nil {
			err = r.nothingStarted()
		}
		if r.output != nil {
			err = errors.Join(err, r.output.Discard())
		}
		return err
	}
	clocks := make([]session.Clock, len(started))
	for i, n := range started {
		clocks[i] = n.session.Clock()
	}
	corrections := session.ClockCorrections(clocks)
	r.forEach(started, func(i int, n *nodeRun) {
		n.err = errors.Join(n.err, r.equip(ctx, n, corrections[i], names))
		if n.err != nil {
			_ = n.session.Close()
		}
	})
	if r.output != nil {
		if r.merging, err = mergeDir(r.write); err != nil {
			return errors.Join(fmt.Errorf("save archives: %w", err), r.output.Discard())
		}
	}
	began := time.Now()
	s := newStoring(r, started)
	s.before = before
	if r.noWait {
		return s.leave(ctx)
	}
	return s.attend(ctx, began)
}

func (r *captureRun) forEach(nodes []*nodeRun, f func(int, *nodeRun)) {
	var all sync.WaitGroup
	for i, n := range nodes {
		all.Go(func() { f(i, n) })
	}
	all.Wait()
}

// equip sends a collector what it does not know: the head of its packet files and
// the record of the capture.
func (r *captureRun) equip(ctx context.Context, n *nodeRun, correction time.Duration, names []pcapng.Name) error {
	interfaces, err := n.plan.interfaces(n.session.Hello(), n.session.Ready())
	if err != nil {
		return fmt.Errorf("node %s: %w", n.plan.node.Name, err)
	}
	head, err := capture.Head(r.config.format, r.section([]*nodeRun{n}), interfaces, names)
	if err != nil {
		return fmt.Errorf("node %s: %w", n.plan.node.Name, err)
	}
	if len(head) > wire.MaxHeadBytes {
		if head, err = capture.Head(r.config.format, r.section([]*nodeRun{n}), interfaces, nil); err != nil {
			return err
		}
		r.warn("the cluster has too many names for the packet files: they have none")
	}
	for len(head) > 0 {
		part := head[:min(len(head), wire.MaxPayload)]
		head = head[len(part):]
		if err := n.session.Tell(ctx, wire.KindHead, part); err != nil {
			return err
		}
	}
	return n.session.TellJSON(ctx, wire.KindRecord, r.record(n, interfaces, correction))
}

// sendDocuments sends the state of the cluster into a node's archive.
func (r *captureRun) sendDocuments(ctx context.Context, n *nodeRun, when string, documents []clusterinfo.Document) error {
	const part = 1 << 20
	for _, d := range documents {
		for rest := d.YAML; len(rest) > 0; {
			some := rest[:min(len(rest), part)]
			rest = rest[len(some):]
			payload := wire.AppendExtra(nil, "cluster/"+when+"/"+d.Name, some)
			if err := n.session.Tell(ctx, wire.KindExtra, payload); err != nil {
				return err
			}
		}
	}
	return nil
}

// clusterState is what archives tell of the cluster, as far as the user may see it.
func (r *captureRun) clusterState(ctx context.Context) []clusterinfo.Document {
	if !r.includeMetadata {
		return nil
	}
	namespaces, nodes := map[string]bool{}, []string{}
	for _, node := range r.resolved.Nodes {
		nodes = append(nodes, node.Name)
		for _, pod := range node.Pods {
			namespaces[pod.Namespace] = true
		}
	}
	scope := clusterinfo.Scope{Nodes: nodes, Namespaces: sortedKeys(namespaces)}
	documents, errs := clusterinfo.Collect(ctx, r.cluster.Client, scope, clusterinfo.Options{HeadersOnly: r.redact})
	if err := errors.Join(errs...); err != nil && ctx.Err() == nil {
		r.warn("archives lack some of the cluster's state: " + err.Error())
	}
	return documents
}

// A storing is a stored capture that runs.
type storing struct {
	run   *captureRun
	nodes []*nodeRun

	mu      sync.Mutex // guards the nodes' sessions, too
	states  map[*nodeRun]*storeState
	begun   sync.WaitGroup // of the nodes that do not capture yet
	stopped bool           // the user wants an end
	before  []clusterinfo.Document
	after   func() []clusterinfo.Document // asks once
}

// A storeState is what became of one node's archive. The file is that of who
// follows the node.
type storeState struct {
	wire.Status
	began    func() // called when the node captures, or will not
	sealed   bool
	fetch    *fetchedArchive
	fetched  string // path of the archive on this machine
	detached bool
}

func newStoring(r *captureRun, nodes []*nodeRun) *storing {
	s := &storing{run: r, states: map[*nodeRun]*storeState{}}
	for _, n := range nodes {
		if n.err == nil {
			s.nodes = append(s.nodes, n)
			s.begun.Add(1)
			s.states[n] = &storeState{began: sync.OnceFunc(s.begun.Done)}
		}
	}
	return s
}

// state returns a copy of what is known of n.
func (s *storing) state(n *nodeRun) wire.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.states[n].Status
}

func (s *storing) set(n *nodeRun, status wire.Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := s.states[n]
	if state.Status = status; status.Phase != wire.PhaseReady {
		state.began()
	}
}

// each does f for all nodes at once and adds what goes wrong to the node's error.
func (s *storing) each(f func(*nodeRun) error) {
	s.run.forEach(s.nodes, func(_ int, n *nodeRun) { n.err = errors.Join(n.err, f(n)) })
}

// attend stays until every node is done.
func (s *storing) attend(ctx context.Context, began time.Time) error {
	r := s.run
	keep := context.WithoutCancel(ctx)
	s.after = sync.OnceValue(func() []clusterinfo.Document {
		soon, cancel := context.WithTimeout(keep, stateTime)
		defer cancel()
		return r.clusterState(soon)
	})
	s.each(func(n *nodeRun) error { return s.start(keep, n) })
	var telling sync.WaitGroup
	telling.Go(func() {
		s.begun.Wait()
		r.narrator.began(r.config.duration)
	})
	told := r.narrator.progress(s.text)
	interrupted := context.AfterFunc(ctx, func() {
		r.narrator.status("finishing")
		s.stop(keep)
	})
	s.each(func(n *nodeRun) error { return s.follow(keep, n) })
	interrupted()
	telling.Wait()
	told()
	return s.finish(ctx, time.Since(began))
}

// start says go, and then what is of use but not worth waiting for.
func (s *storing) start(ctx context.Context, n *nodeRun) error {
	if err := n.session.Go(ctx); err != nil {
		return err
	}
	return s.run.sendDocuments(ctx, n, "before", s.before)
}

// stop asks all nodes to finish. One whose stream is cut just now hears it when
// it is connected again.
func (s *storing) stop(ctx context.Context) {
	s.mu.Lock()
	s.stopped = true
	sessions := make([]*session.Session, len(s.nodes))
	for i, n := range s.nodes {
		sessions[i] = n.session
	}
	s.mu.Unlock()
	s.run.forEach(s.nodes, func(i int, _ *nodeRun) { _ = sessions[i].Stop(ctx) })
}

// leave returns when every node has begun, and leaves the capture to itself.
func (s *storing) leave(ctx context.Context) error {
	r := s.run
	s.each(func(n *nodeRun) error {
		if err := s.start(ctx, n); err != nil {
			return err
		}
		return s.awaitBeginning(ctx, n)
	})
	if ctx.Err() != nil {
		return interrupted(ctx, ctx.Err())
	}
	s.each(func(n *nodeRun) error {
		if n.err != nil {
			return nil
		}
		return s.detach(ctx, n)
	})
	var left []*nodeRun
	for _, n := range s.nodes {
		if n.err == nil {
			left = append(left, n)
		}
	}
	if len(left) == 0 {
		s.tellErrors()
		return r.nothingStarted()
	}
	// They are on their own now, so this is not left undone.
	if err := r.sessions.Release(context.WithoutCancel(ctx), r.lifetime()); err != nil {
		return err
	}
	s.tellErrors()
	return s.left(left)
}

// awaitBeginning reads until the collector captures.
func (s *storing) awaitBeginning(ctx context.Context, n *nodeRun) error {
	ctx, cancel := context.WithTimeoutCause(ctx, beginning, fmt.Errorf("collector has not begun after %s", beginning))
	defer cancel()
	unlink := context.AfterFunc(ctx, func() { _ = n.session.Close() })
	defer unlink()
	for {
		if err := s.read(ctx, n); err != nil {
			if ctx.Err() != nil {
				return fmt.Errorf("node %s: %w", n.plan.node.Name, context.Cause(ctx))
			}
			return err
		}
		switch status := s.state(n); status.Phase {
		case "", wire.PhaseReady:
		case wire.PhaseFailed:
			return nodeFailure(n, status)
		default:
			return nil
		}
	}
}

// detach has the collector go on alone.
func (s *storing) detach(ctx context.Context, n *nodeRun) error {
	if err := n.session.Tell(ctx, wire.KindDetach, nil); err != nil {
		return err
	}
	for {
		if err := s.read(ctx, n); errors.Is(err, io.EOF) {
			return n.session.Close()
		} else if err != nil {
			return err
		}
	}
}

// follow reads what a node says until it is done, and fetches what it could not
// store.
func (s *storing) follow(ctx context.Context, n *nodeRun) error {
	state := s.states[n]
	defer func() { state.fetch.discard() }()
	defer state.began()
	for {
		err := s.read(ctx, n)
		switch {
		case errors.Is(err, io.EOF):
			if status := s.state(n); status.Phase == wire.PhaseFailed {
				return nodeFailure(n, status)
			}
			return nil
		case errors.Is(err, wire.ErrCut):
			if again := s.reconnect(ctx, n); again == nil {
				continue
			}
			return s.lastWord(ctx, n, err)
		case err != nil:
			return err
		}
		if err := s.react(ctx, n, state); err != nil {
			return err
		}
	}
}

// react does what the phase of a node asks for.
func (s *storing) react(ctx context.Context, n *nodeRun, state *storeState) error {
	status := s.state(n)
	if status.Phase == wire.PhaseFinishing && !state.sealed {
		state.sealed = true
		// What cannot be told is left out; the archive is completed all the same.
		if err := s.run.sendDocuments(ctx, n, "after", s.after()); err != nil {
			return err
		}
		return n.session.Tell(ctx, wire.KindSeal, nil)
	}
	if status.Phase == wire.PhaseKept && state.fetch == nil && state.fetched == "" {
		var err error
		if state.fetch, err = s.run.newFetch(status.Archive); err != nil {
			return err
		}
		return n.session.TellJSON(ctx, wire.KindFetch, wire.Fetch{})
	}
	return nil
}

// reconnect connects to a node's keeper again.
func (s *storing) reconnect(ctx context.Context, n *nodeRun) error {
	state := s.states[n]
	for deadline := time.Now().Add(reconnecting); ; time.Sleep(reconnectGap) {
		again, err := s.run.sessions.Attach(ctx, n.plan.node.Name, n.session.Pod())
		if err == nil {
			_ = n.session.Close()
			s.mu.Lock()
			n.session = again
			stopped := s.stopped
			s.mu.Unlock()
			if stopped {
				err = again.Stop(ctx)
			}
			if state.fetch != nil {
				err = errors.Join(err, again.TellJSON(ctx, wire.KindFetch, wire.Fetch{Offset: state.fetch.bytes}))
			}
			return err
		}
		if time.Now().After(deadline) {
			return err
		}
	}
}

// lastWord looks for what a collector that is gone has left: that it was done, for
// one, which came too late for its stream.
func (s *storing) lastWord(ctx context.Context, n *nodeRun, cut error) error {
	pod, err := s.run.cluster.Client.CoreV1().Pods(s.run.collectorNamespace).Get(ctx, n.session.Pod(), metav1.GetOptions{})
	if err != nil || len(pod.Status.ContainerStatuses) != 1 || pod.Status.ContainerStatuses[0].State.Terminated == nil {
		return cut
	}
	var status wire.Status
	if json.Unmarshal([]byte(pod.Status.ContainerStatuses[0].State.Terminated.Message), &status) != nil {
		return cut
	}
	s.set(n, cleanStatus(status))
	switch status.Phase {
	case wire.PhaseDone:
		return nil
	case wire.PhaseFailed:
		return nodeFailure(n, status)
	}
	return cut
}

// read reads one frame and takes it in.
func (s *storing) read(ctx context.Context, n *nodeRun) error {
	kind, payload, err := n.session.ReadFrame(n.buf)
	if err != nil {
		return err
	}
	state := s.states[n]
	switch kind {
	case wire.KindStatus:
		var status wire.Status
		if err := json.Unmarshal(payload, &status); err != nil {
			return fmt.Errorf("node %s: status: %w", n.plan.node.Name, err)
		}
		s.set(n, cleanStatus(status))
	case wire.KindData:
		if state.fetch != nil {
			return state.fetch.write(payload)
		}
	case wire.KindFetched:
		var done wire.Fetched
		if err := json.Unmarshal(payload, &done); err != nil {
			return fmt.Errorf("node %s: archive: %w", n.plan.node.Name, err)
		}
		if state.fetch == nil {
			return fmt.Errorf("node %s: collector sent an archive that nobody asked for", n.plan.node.Name)
		}
		path, err := state.fetch.done(done)
		if err != nil {
			return fmt.Errorf("node %s: %w", n.plan.node.Name, err)
		}
		state.fetch, state.fetched = nil, path
		return n.session.Tell(ctx, wire.KindRelease, nil)
	case wire.KindFailure:
		var f wire.Failure
		if err := json.Unmarshal(payload, &f); err != nil {
			return fmt.Errorf("node %s: failure: %w", n.plan.node.Name, err)
		}
		return failureOf(n, f.Cause, f.Hint)
	}
	return nil
}

func nodeFailure(n *nodeRun, status wire.Status) error {
	return failureOf(n, status.Error, status.Hint)
}

func failureOf(n *nodeRun, cause, advice string) error {
	err := fmt.Errorf("node %s: %s", n.plan.node.Name, clean(cause))
	if advice == "" {
		return err
	}
	return hint.Wrap(err, clean(advice))
}

// tellErrors tells what went wrong, node by node.
func (s *storing) tellErrors() {
	for _, n := range s.nodes {
		if n.err != nil {
			s.run.narrator.failed(n.plan.node.Name, n.err)
		}
	}
}

// left says what goes on, and how to see what becomes of it.
func (s *storing) left(nodes []*nodeRun) error {
	r := s.run
	pods := 0
	for _, n := range nodes {
		pods += n.capturedPods()
	}
	from := plural(len(nodes), "node")
	if pods > 0 {
		from = plural(pods, "pod") + " on " + from
	}
	r.narrator.info(fmt.Sprintf("capture %s has begun on %s", r.uniqueName, from))
	where := ""
	if r.collectorNamespace != r.cluster.ContextNamespace {
		where = " -n " + r.collectorNamespace
	}
	r.narrator.info(fmt.Sprintf("follow it:    kubectl retina capture list%s --watch", where))
	r.narrator.info(fmt.Sprintf("end it:       kubectl retina capture stop %s%s", r.uniqueName, where))
	r.narrator.info(fmt.Sprintf("download it:  kubectl retina capture download %s%s", r.uniqueName, where))
	if err := r.printSummary(r.storedSummary(s, 0)); err != nil {
		return err
	}
	for _, n := range r.nodes {
		if n.err != nil || len(n.failed) > 0 {
			return exit.With(exit.Partial, exit.ErrSilent)
		}
	}
	return nil
}
