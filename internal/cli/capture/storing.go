package capture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/clusterinfo"
	"github.com/kubectl-retina/kubectl-retina/internal/session"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

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
	began   func()        // called when the node captures, or will not
	told    chan struct{} // closed when what is to be told has been told; nil: nothing was
	sealed  bool
	fetch   *fetchedArchive
	fetched string // path of the archive on this machine
	sha256  string // of that
}

func newStoring(r *captureRun, nodes []*nodeRun) *storing {
	s := &storing{run: r, states: map[*nodeRun]*storeState{}}
	for _, n := range nodes {
		if n.err == nil {
			n.buf = make([]byte, frameBuffer)
			s.nodes = append(s.nodes, n)
			s.begun.Add(1)
			s.states[n] = &storeState{began: sync.OnceFunc(s.begun.Done)}
		}
	}
	return s
}

// stream is the stream of the moment of n.
func (s *storing) stream(n *nodeRun) *session.Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return n.session
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
	told := r.narrator.Progress(s.text)
	interrupted := context.AfterFunc(ctx, func() {
		r.narrator.Status("finishing")
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
	s.tell(n, func(to *session.Session) error { return sendDocuments(ctx, to, "before", s.before) })
	return nil
}

// tell says more to a node, after what it is told already, while its stream is
// read: one that nobody reads for long is lost. What cannot be told, because the
// stream is cut, the archive lacks.
func (s *storing) tell(n *nodeRun, say func(to *session.Session) error) {
	state, done := s.states[n], make(chan struct{})
	before := state.told
	state.told = done
	go func() {
		defer close(done)
		if before != nil {
			<-before
		}
		s.mu.Lock()
		to := n.session
		s.mu.Unlock()
		_ = say(to)
	}()
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

// awaitBeginning reads until the collector captures, and has been told of the
// cluster.
func (s *storing) awaitBeginning(ctx context.Context, n *nodeRun) error {
	if err := s.awaitPhase(ctx, n); err != nil {
		return err
	}
	for patience := time.Now().Add(tellingTime); time.Now().Before(patience); {
		select {
		case <-s.states[n].told:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		default:
		}
		if err := s.read(ctx, n); err != nil { // a status comes every second
			return err
		}
	}
	return nil
}

// awaitPhase reads until the collector captures.
func (s *storing) awaitPhase(ctx context.Context, n *nodeRun) error {
	ctx, cancel := context.WithTimeoutCause(ctx, beginning, fmt.Errorf("collector has not begun after %s", beginning))
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = n.session.Close() })()
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

// tellErrors tells what went wrong, node by node.
func (s *storing) tellErrors() {
	for _, n := range s.run.nodes {
		if n.err != nil && n.session != nil { // else it has been said
			s.run.narrator.Failed(n.plan.node.Name, n.err)
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
	r.narrator.Info(fmt.Sprintf("capture %s has begun on %s", r.uniqueName, from))
	where := ""
	if r.collectors.Namespace != r.cluster.ContextNamespace {
		where = " -n " + r.collectors.Namespace
	}
	r.narrator.Info(fmt.Sprintf("follow it:    kubectl retina capture list%s --watch", where))
	r.narrator.Info(fmt.Sprintf("end it:       kubectl retina capture stop %s%s", r.uniqueName, where))
	r.narrator.Info(fmt.Sprintf("download it:  kubectl retina capture download %s%s", r.uniqueName, where))
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
