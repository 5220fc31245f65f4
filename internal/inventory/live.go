package inventory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"k8s.io/client-go/kubernetes"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/session"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// A Live asks collectors that run, and goes on listening to them, so that asking
// again costs nothing. It may be used concurrently. Close it.
type Live struct {
	ctx      context.Context
	client   kubernetes.Interface
	executor session.Executor

	mu        sync.Mutex
	closed    bool
	runs      map[string]*session.Run // by namespace and ID
	listeners map[string]*listener    // by namespace and pod
	tasks     sync.WaitGroup
}

var _ Prober = (*Live)(nil)

// NewLive returns a Live whose conversations end with ctx or with Close.
func NewLive(ctx context.Context, client kubernetes.Interface, executor session.Executor) *Live {
	return &Live{
		ctx: ctx, client: client, executor: executor,
		runs: make(map[string]*session.Run), listeners: make(map[string]*listener),
	}
}

// A listener hears one collector.
type listener struct {
	heard chan struct{} // closed at the first status, and when there will be none

	mu     sync.Mutex
	known  bool
	status wire.Status
	err    error // why it hears nothing more; io.EOF in order
}

// Status returns what the collector in a pod says, waiting for its first word as
// long as ctx allows. One that has ended in order has said its last.
func (l *Live) Status(ctx context.Context, namespace, run, node, pod string) (wire.Status, error) {
	listener, err := l.listen(ctx, namespace, run, node, pod)
	if err != nil {
		return wire.Status{}, err
	}
	select {
	case <-listener.heard:
	case <-ctx.Done():
		return wire.Status{}, context.Cause(ctx)
	}
	listener.mu.Lock()
	defer listener.mu.Unlock()
	if listener.err != nil && !errors.Is(listener.err, io.EOF) {
		l.forget(namespace, pod, listener)
		return wire.Status{}, listener.err
	}
	return listener.status, nil
}

// Close ends all conversations.
func (l *Live) Close() {
	l.mu.Lock()
	l.closed = true
	runs := l.runs
	l.runs = nil
	l.mu.Unlock()
	for _, run := range runs {
		_ = run.Close(l.ctx) // it owns nothing
	}
	l.tasks.Wait()
}

// listen returns the listener of a pod; there is one.
func (l *Live) listen(ctx context.Context, namespace, run, node, pod string) (*listener, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errors.New("closed")
	}
	key := namespace + "/" + pod
	if known := l.listeners[key]; known != nil {
		return known, nil
	}
	joined := l.runs[namespace+"/"+run]
	if joined == nil {
		joined = session.Join(l.ctx, l.client, l.executor, namespace, run)
		l.runs[namespace+"/"+run] = joined
	}
	s := &listener{heard: make(chan struct{})}
	l.listeners[key] = s
	l.tasks.Go(func() { s.hear(ctx, joined, node, pod) })
	return s, nil
}

// forget lets the next question begin anew.
func (l *Live) forget(namespace, pod string, s *listener) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if key := namespace + "/" + pod; l.listeners[key] == s {
		delete(l.listeners, key)
	}
}

// hear attaches, within ctx, and takes every status until the collector ends.
func (s *listener) hear(ctx context.Context, run *session.Run, node, pod string) {
	first := sync.OnceFunc(func() { close(s.heard) })
	defer first()
	err := s.hearAll(ctx, run, node, pod, first)
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(err, io.EOF) && !s.known {
		err = fmt.Errorf("node %s: collector has said nothing", node)
	}
	s.err = err
}

func (s *listener) hearAll(ctx context.Context, run *session.Run, node, pod string, first func()) error {
	conversation, err := run.Attach(ctx, node, pod)
	if err != nil {
		return err
	}
	defer conversation.Close()
	buf := make([]byte, 16<<10)
	for {
		kind, payload, err := conversation.ReadFrame(buf)
		if err != nil {
			return err
		}
		switch kind {
		case wire.KindStatus:
			var status wire.Status
			if err := json.Unmarshal(payload, &status); err != nil {
				return fmt.Errorf("node %s: status: %w", node, err)
			}
			s.mu.Lock()
			s.status, s.known = status, true
			s.mu.Unlock()
			first()
		case wire.KindFailure:
			var failure wire.Failure
			if err := json.Unmarshal(payload, &failure); err != nil {
				return fmt.Errorf("node %s: failure: %w", node, err)
			}
			return hint.Wrap(fmt.Errorf("node %s: %s", node, failure.Cause), failure.Hint)
		}
	}
}
