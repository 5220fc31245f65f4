package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

const (
	// helloTimeout bounds the time from opening the exec stream to the
	// collector's first frame.
	helloTimeout = 15 * time.Second
	// explainTimeout is how long a stream that was cut waits for Kubernetes to
	// say why. The kubelet needs a second or two to report a killed container.
	explainTimeout = 3 * time.Second
	// heldFrames are as many frames as may wait for the other nodes.
	heldFrames = 2 * wire.MaxTargets
)

// A Session is the command's handle on one collector that is attached and
// ready. Close it.
type Session struct {
	run        *Run
	node       string
	pod        string
	stream     *stream
	hello      wire.Hello
	ready      wire.Ready
	readyAfter time.Duration

	held chan frame // frames that came after the ready; closed after the last
	err  error      // what ended ReadFrame
}

type frame struct {
	kind    wire.Kind
	payload []byte
	err     error
}

// newSession opens the stream of a session that is not ready yet.
func (r *Run) newSession(node string, pod types.NamespacedName, argument string, first frame) *Session {
	session := &Session{
		run:    r,
		node:   node,
		pod:    pod.Name,
		stream: openStream(r.ctx, r.cfg.Executor, pod, argument, first),
		held:   make(chan frame, heldFrames),
	}
	r.tasks.Go(session.stream.tasks.Wait)
	return session
}

// firstFrame is what a stream begins with: a spec, or for a pod that has one
// already only the wish to see what it does.
func firstFrame(spec *wire.Spec) (frame, error) {
	if spec == nil {
		return frame{kind: wire.KindOpen}, nil
	}
	payload, err := json.Marshal(spec)
	return frame{kind: wire.KindSpec, payload: payload}, err
}

// connect brings the collector to ready, or closes the stream.
func (s *Session) connect(ctx context.Context, start *start, spec *wire.Spec) error {
	unlink := context.AfterFunc(ctx, func() { s.stream.cancel(context.Cause(ctx)) })
	err := s.handshake(start, spec)
	switch {
	case err != nil:
	case !attaches(spec):
		close(s.held) // nobody waits for other nodes: ReadFrame reads at once
	default:
		s.run.tasks.Go(s.hold)
		err = s.firstPong()
	}
	unlink()
	if err = ended(ctx, err); err != nil {
		err = s.explain(err)
		s.stream.close()
		return err
	}
	s.readyAfter = time.Since(start.began)
	return nil
}

// firstPong waits until something is known of the node's clock. The first ping
// was sent before the collector began to attach, so it rarely waits.
func (s *Session) firstPong() error {
	select {
	case <-s.stream.clocks.measured:
		return nil
	case <-s.stream.done:
		for f := range s.held {
			if f.err != nil && !errors.Is(f.err, io.EOF) {
				return f.err
			}
		}
		return errors.New("collector ended as soon as it was ready")
	}
}

// handshake reads until the collector is ready, or without a spec until it has
// said hello.
func (s *Session) handshake(start *start, spec *wire.Spec) error {
	late := time.AfterFunc(helloTimeout, func() {
		s.stream.cancel(fmt.Errorf("collector has not said hello after %s", helloTimeout))
	})
	defer late.Stop()
	if err := s.expect(wire.KindHello, &s.hello); err != nil {
		return err
	}
	late.Stop()
	h := &s.hello
	h.Collector, h.Kernel, h.Arch = oneLine(h.Collector), oneLine(h.Kernel), oneLine(h.Arch)
	if h.Version != wire.Version {
		err := fmt.Errorf("collector %s speaks version %d, this command version %d", h.Collector, h.Version, wire.Version)
		return hint.Wrap(err, "image and command must be of one release; check --image")
	}
	if !attaches(spec) {
		return nil
	}
	start.emit(PhaseAttaching)
	if err := s.expect(wire.KindReady, &s.ready); err != nil {
		return err
	}
	return checkReady(&s.ready, *spec)
}

// expect reads one JSON frame of this kind into message.
func (s *Session) expect(want wire.Kind, message any) error {
	kind, payload, err := s.stream.readFrame(nil)
	if err != nil {
		return err
	}
	switch kind {
	case want:
		if err := json.Unmarshal(payload, message); err != nil {
			return fmt.Errorf("collector's frame of kind %d: %w", kind, err)
		}
		return nil
	case wire.KindFailure:
		return failure(payload)
	case wire.KindEnd:
		return errors.New("collector ended before it was ready")
	}
	return fmt.Errorf("collector sent a frame of kind %d instead of %d", kind, want)
}

// failure turns the collector's own account of what is wrong into an error.
func failure(payload []byte) error {
	var f wire.Failure
	if err := json.Unmarshal(payload, &f); err != nil {
		return fmt.Errorf("collector's failure: %w", err)
	}
	err := errors.New(oneLine(f.Cause))
	if h := oneLine(f.Hint); h != "" {
		return hint.Wrap(err, h)
	}
	return err
}

// hold reads on after the ready, so that pongs are seen while other nodes are
// still starting, and keeps what is for the caller. It stops at the first frame
// that comes after go: from there on ReadFrame reads for itself.
func (s *Session) hold() {
	defer close(s.held)
	for {
		var f frame
		f.kind, f.payload, f.err = s.stream.readFrame(nil)
		select {
		case s.held <- f:
		case <-s.stream.ctx.Done():
			return
		}
		if f.err != nil {
			return
		}
		switch f.kind {
		case wire.KindPackets, wire.KindStatus, wire.KindSample, wire.KindEvents, wire.KindAttached:
			return
		}
	}
}

// Node returns the name of the collector's node.
func (s *Session) Node() string { return s.node }

// Pod returns the name of the collector's pod.
func (s *Session) Pod() string { return s.pod }

// Hello returns what the collector has said of itself and its node. Its texts
// print on one line.
func (s *Session) Hello() wire.Hello { return s.hello }

// Ready returns what the collector has attached to. Its interfaces have the
// indexes as IDs and targets of the spec, and its texts print on one line.
func (s *Session) Ready() wire.Ready { return s.ready }

// ReadyAfter returns the time from the call of Start until the collector was
// ready.
func (s *Session) ReadyAfter() time.Duration { return s.readyAfter }

// Clock returns the best measurement of the node's clock so far. It gets
// better while frames are read.
func (s *Session) Clock() Clock { return s.stream.clocks.clock() }

// Go makes the collector send what it captures from now on. It returns when
// that is about to be sent, and may be called concurrently with ReadFrame.
func (s *Session) Go(ctx context.Context) error { return s.tell(ctx, wire.KindGo) }

// Stop asks the collector to finish. The caller goes on reading frames until
// io.EOF. It returns when that is about to be sent, and may be called
// concurrently with ReadFrame.
func (s *Session) Stop(ctx context.Context) error { return s.tell(ctx, wire.KindStop) }

// Tell sends the collector a frame of this kind, whose payload is not changed
// afterwards. It returns when the frame is about to be sent, and may be called
// concurrently with ReadFrame. Frames arrive in the order of the calls.
func (s *Session) Tell(ctx context.Context, kind wire.Kind, payload []byte) error {
	return s.send(ctx, frame{kind: kind, payload: payload})
}

// TellJSON is Tell with message as the payload, in JSON.
func (s *Session) TellJSON(ctx context.Context, kind wire.Kind, message any) error {
	payload, err := json.Marshal(message)
	if err != nil {
		return err
	}
	return s.Tell(ctx, kind, payload)
}

func (s *Session) tell(ctx context.Context, kind wire.Kind) error {
	return s.send(ctx, frame{kind: kind})
}

func (s *Session) send(ctx context.Context, f frame) error {
	if err := s.stream.sendFrame(ctx, f); err != nil {
		return fmt.Errorf("node %s: tell collector: %w", s.node, err)
	}
	return nil
}

// ReadFrame returns the collector's next frame; pongs and bursts are dealt
// with inside. buf and the payload are those of [wire.Reader.ReadFrame]. It is
// not safe for concurrent use.
//
// After the End frame it returns io.EOF. A stream that ends in any other way
// is an error that is [wire.ErrCut], which says what Kubernetes and the
// collector's standard error know of the cause. A caller that takes no frame for
// a minute may lose the stream: client-go's patience with a connection ends there.
func (s *Session) ReadFrame(buf []byte) (wire.Kind, []byte, error) {
	if s.err != nil {
		return 0, nil, s.err
	}
	kind, payload, err := s.nextFrame(buf)
	if err != nil {
		s.err = err
		if !errors.Is(err, io.EOF) {
			s.err = fmt.Errorf("node %s: %w", s.node, s.explain(err))
		}
		return 0, nil, s.err
	}
	return kind, payload, nil
}

func (s *Session) nextFrame(buf []byte) (wire.Kind, []byte, error) {
	if f, ok := <-s.held; ok {
		return f.kind, f.payload, f.err
	}
	return s.stream.readFrame(buf)
}

// Cause returns what Kubernetes knows of why the collector ended without being
// asked to, as in an End with the reason signal: its pod was deleted, say. It
// waits a few seconds for an answer. Nil: nobody knows.
func (s *Session) Cause() error { return s.cause() }

// Close ends the exec stream, and with it the collector. A ReadFrame that
// waits returns an error. The pod stays until the run is closed.
func (s *Session) Close() error {
	s.stream.close()
	return nil
}

// Discard closes the session and deletes its pod, as Close of the run would do
// later: for a run that goes on without it.
func (s *Session) Discard(ctx context.Context) error {
	s.stream.close()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	return s.run.deletePod(ctx, s.pod)
}
