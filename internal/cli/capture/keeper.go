package capture

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/inventory"
	"github.com/kubectl-retina/kubectl-retina/internal/session"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// A keeper is a collector that stores, and which another invocation has started.
type keeper struct {
	run  *session.Run
	node string
	pod  string
}

func (e *existing) join(ctx context.Context, c *inventory.Capture) *session.Run {
	return session.Join(ctx, e.cluster.Client, e.executor, c.Namespace, c.Run)
}

// errSeen ends a conversation whose listener has heard what it wanted.
var errSeen = errors.New("seen")

// converse attaches, begins with say, and gives every frame to hear until that
// returns errSeen, which is no error, or another one. The end of the stream in
// order is none either. A stream that is cut is begun anew for a while; ctx ends
// the conversation at once.
func (k keeper) converse(ctx context.Context, say func(context.Context, *session.Session) error, hear func(wire.Kind, []byte) error) error {
	deadline := time.Now().Add(reconnecting)
	for {
		heard, err := k.converseOnce(ctx, say, hear)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err == nil, errors.Is(err, errSeen), errors.Is(err, io.EOF):
			return nil
		case !errors.Is(err, wire.ErrCut):
			return err
		case heard:
			deadline = time.Now().Add(reconnecting)
		case time.Now().After(deadline):
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(reconnectGap):
		}
	}
}

// converseOnce is converse with one stream. heard is whether anything came.
func (k keeper) converseOnce(ctx context.Context, say func(context.Context, *session.Session) error, hear func(wire.Kind, []byte) error) (heard bool, err error) {
	s, err := k.run.Attach(ctx, k.node, k.pod)
	if err != nil {
		return false, err
	}
	defer s.Close()
	defer context.AfterFunc(ctx, func() { _ = s.Close() })()
	if err := say(ctx, s); err != nil {
		return false, err
	}
	buf := make([]byte, frameBuffer)
	for {
		kind, payload, err := s.ReadFrame(buf)
		if err != nil {
			return heard, err
		}
		heard = true
		if kind == wire.KindFailure {
			return heard, failureFrame(k.node, payload)
		}
		if err := hear(kind, payload); err != nil {
			return heard, err
		}
	}
}

// frameBuffer holds the frames of an archive.
const frameBuffer = 512 << 10

// failureFrame is the error that a collector has sent.
func failureFrame(node string, payload []byte) error {
	var f wire.Failure
	if err := json.Unmarshal(payload, &f); err != nil {
		return fmt.Errorf("node %s: failure: %w", node, err)
	}
	return hint.Wrap(fmt.Errorf("node %s: %s", node, clean(f.Cause)), clean(f.Hint))
}

// follow tells see every status until that has seen enough.
func (k keeper) follow(ctx context.Context, say func(context.Context, *session.Session) error, see func(wire.Status) (enough bool)) error {
	return k.converse(ctx, say, func(kind wire.Kind, payload []byte) error {
		if kind != wire.KindStatus {
			return nil
		}
		var status wire.Status
		if err := json.Unmarshal(payload, &status); err != nil {
			return fmt.Errorf("node %s: status: %w", k.node, err)
		}
		if see(cleanStatus(status)) {
			return errSeen
		}
		return nil
	})
}

// release tells the collector that its archive is safe elsewhere.
func (k keeper) release(ctx context.Context) error {
	return k.converse(ctx, func(ctx context.Context, s *session.Session) error {
		return s.Tell(ctx, wire.KindRelease, nil)
	}, func(wire.Kind, []byte) error { return nil })
}
