package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/client-go/util/exec"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// exitKilled is the exit code of a process that was killed: by the kernel when
// its container is out of memory, and by the runtime with its container.
const exitKilled = 128 + 9

// explain adds to the error that cut a stream what Kubernetes knows of the pod
// and the node, and what the collector has said on its standard error. Other
// errors, and the end of the run, explain themselves.
func (s *Session) explain(err error) error {
	if !errors.Is(err, wire.ErrCut) || errors.Is(err, errClosed) || s.run.ctx.Err() != nil {
		return err
	}
	var why error
	var exit exec.CodeExitError
	if !errors.As(err, &exit) || exit.Code == exitKilled { // else it ended by itself
		why = s.cause()
	}
	hinted := hint.Of(why)
	if why != nil {
		err = fmt.Errorf("%w: %w", why, err)
	}
	if said := s.stream.stderr.String(); said != "" {
		err = fmt.Errorf("%w; collector's standard error: %s", err, said)
	}
	if hinted != "" {
		return hint.Wrap(err, hinted)
	}
	return err
}

// cause waits a moment for Kubernetes to say why the collector is no more.
// Nil: it does not know.
func (s *Session) cause() error {
	patience := time.NewTimer(explainTimeout)
	defer patience.Stop()
	for {
		state, changed := s.run.pods.state(s.pod)
		if _, err := judge(state); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-patience.C:
			view, _ := s.run.lookAt(s.run.ctx, s.node)
			if view.Fault != nil {
				return view.Fault
			}
			return view.complaint()
		case <-s.run.ctx.Done():
			return context.Cause(s.run.ctx)
		}
	}
}
