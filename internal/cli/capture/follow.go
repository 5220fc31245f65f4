package capture

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/session"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

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
		s.tell(n, func(to *session.Session) error {
			return errors.Join(sendDocuments(ctx, to, "after", s.after()), to.Tell(ctx, wire.KindSeal, nil))
		})
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
	for deadline := time.Now().Add(reconnecting); ; {
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
		select {
		case <-ctx.Done():
			return err
		case <-time.After(reconnectGap):
		}
	}
}

// lastWord looks for what a collector that is gone has left: that it was done, for
// one, which came too late for its stream.
func (s *storing) lastWord(ctx context.Context, n *nodeRun, cut error) error {
	pod, err := s.run.cluster.Client.CoreV1().Pods(s.run.collectors.Namespace).Get(ctx, n.session.Pod(), metav1.GetOptions{})
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
		state.fetch, state.fetched, state.sha256 = nil, path, done.SHA256
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
