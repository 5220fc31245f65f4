package metrics

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/oneline"
	"github.com/kubectl-retina/kubectl-retina/internal/session"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// finishTime bounds the wait for a collector's last sample.
const finishTime = 20 * time.Second

// read takes in what a collector sends until it has ended in order.
func (n *nodeState) read(s *session.Session) error {
	o := n.observer
	buf := make([]byte, 64<<10)
	var failure error
	for {
		kind, payload, err := s.ReadFrame(buf)
		if errors.Is(err, io.EOF) {
			return failure
		}
		if err != nil {
			return err
		}
		switch kind {
		case wire.KindSample:
			var sample wire.Sample
			if err = json.Unmarshal(payload, &sample); err == nil {
				o.fold.Add(n.name, &sample)
				if o.onSample != nil && !sample.More {
					o.onSample(n.name, o.measuring())
				}
			}
		case wire.KindEvents:
			var events wire.Events
			if err = json.Unmarshal(payload, &events); err == nil && o.onEvent != nil {
				o.onEvent(n, &events)
			}
		case wire.KindAttached:
			var attached wire.Attached
			if err = json.Unmarshal(payload, &attached); err == nil {
				n.attached(attached.Interfaces)
				n.failed(attached.Failed)
				n.sync() // there may be more than fit into one frame
			}
		case wire.KindFailure:
			var f wire.Failure
			if err = json.Unmarshal(payload, &f); err == nil {
				failure = hint.Wrap(errors.New(oneline.Text(f.Cause)), oneline.Text(f.Hint))
			}
		case wire.KindEnd:
			var end wire.End
			if err = json.Unmarshal(payload, &end); err == nil && failure == nil {
				failure = endError(s, end.Reason)
			}
		}
		if err != nil {
			return fmt.Errorf("collector's frame of kind %d: %w", kind, err)
		}
	}
}

// endError says why an end that was not asked for came.
func endError(s *session.Session, reason string) error {
	switch reason {
	case wire.EndStop:
		return nil
	case wire.EndDeadline:
		return errors.New("the collector has reached its time limit")
	}
	if cause := s.Cause(); cause != nil {
		return fmt.Errorf("the collector was ended: %w", cause)
	}
	return fmt.Errorf("the collector was ended (%s)", oneline.Text(reason))
}

// stop ends the collector in order and waits for its last sample.
func (n *nodeState) stop(ctx context.Context) {
	n.mu.Lock()
	s, left := n.session, n.left
	n.mu.Unlock()
	if s == nil || s.Stop(context.WithoutCancel(ctx)) != nil {
		return
	}
	select {
	case <-left:
	case <-time.After(finishTime):
		_ = s.Close()
	}
}
