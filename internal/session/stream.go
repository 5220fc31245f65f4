package session

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

const (
	// silence is how long nothing may arrive from a collector, which answers a
	// ping every wire.PingInterval.
	silence = 20 * time.Second
	// sendQueue is room for every go and stop that a sensible caller sends.
	sendQueue = 4
	// readBuffer holds several of the 32 KiB messages that exec streams carry.
	readBuffer = 256 << 10
)

var (
	errSilent = fmt.Errorf("no sign of life from the collector for %s", silence)
	// errClosed is why streams end that are open when their session or run is closed.
	errClosed = errors.New("closed by the command")
	errEnded  = errors.New("stream has ended")
)

// A stream is the command's end of one exec of a collector. Frames are read by
// one goroutine at a time; they may be written by many.
type stream struct {
	ctx    context.Context // ends with the stream; its cause says why
	cancel context.CancelCauseFunc
	done   chan struct{} // closed when the exec has ended
	tasks  sync.WaitGroup

	stdin  *io.PipeWriter
	send   chan frame
	again  chan struct{} // asks for one more ping soon
	clocks *clockEstimate

	arrivals *arrivals
	frames   *wire.Reader
	stderr   tail
}

// openStream executes a collector's program in pod, sends it the first frame and
// begins to ping it. The stream ends with ctx. Close it.
func openStream(ctx context.Context, executor Executor, pod types.NamespacedName, argument string, first frame) *stream {
	stdin, stdinWriter := io.Pipe()
	stdout, stdoutWriter := io.Pipe()
	s := &stream{
		done:     make(chan struct{}),
		stdin:    stdinWriter,
		send:     make(chan frame, sendQueue),
		again:    make(chan struct{}, 1),
		clocks:   newClockEstimate(),
		arrivals: newArrivals(stdoutWriter),
		frames:   wire.NewReader(bufio.NewReaderSize(stdout, readBuffer)),
	}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	s.tasks.Go(func() {
		command := []string{collectorProgram, argument}
		err := executor.Exec(s.ctx, pod, command, stdin, s.arrivals, &s.stderr)
		_ = stdin.Close() // lets go of a writer: nobody reads it any more
		close(s.done)
		s.arrivals.end(ended(s.ctx, err))
	})
	s.tasks.Go(func() { s.write(first) })
	s.tasks.Go(s.watch)
	context.AfterFunc(s.ctx, func() {
		s.arrivals.end(context.Cause(s.ctx))
		_ = s.stdin.Close() // the collector's end of file, if it still listens
	})
	return s
}

// close ends the stream and waits until nothing uses it.
func (s *stream) close() {
	s.cancel(errClosed)
	s.tasks.Wait()
}

// write is the only writer of the collector's standard input. It sends the
// first frame without waiting for the hello, which saves a round trip: the collector
// reads it when it can, and a hello of the wrong version is an error all the
// same. An error ends it silently, since the reading side says why.
func (s *stream) write(first frame) {
	// Buffered, so that a frame is one message of the exec stream.
	buffer := bufio.NewWriter(s.stdin)
	frames := wire.NewWriter(buffer)
	err := frames.WriteFrame(first.kind, first.payload)
	if err == nil {
		err = buffer.Flush() // returns when the stream is open
	}
	if err == nil {
		err = s.ping(frames, buffer)
	}
	heartbeat := time.NewTicker(wire.PingInterval)
	defer heartbeat.Stop()
	for err == nil {
		select {
		case <-s.done:
			return
		case <-heartbeat.C:
			err = s.ping(frames, buffer)
		case <-s.again:
			err = s.ping(frames, buffer)
		case f := <-s.send:
			if err = frames.WriteFrame(f.kind, f.payload); err == nil {
				err = buffer.Flush()
			}
		}
	}
}

func (s *stream) ping(frames *wire.Writer, buffer *bufio.Writer) error {
	if err := frames.WriteJSON(wire.KindPing, wire.Ping{Seq: s.clocks.ping(time.Now())}); err != nil {
		return err
	}
	return buffer.Flush()
}

// sendFrame sends a frame, whose payload is not changed afterwards. It does not
// wait until the frame is on its way, which may take a reader of what the
// collector sends first.
func (s *stream) sendFrame(ctx context.Context, f frame) error {
	select {
	case <-s.done:
		return errEnded
	default:
	}
	select {
	case s.send <- f:
		return nil
	case <-s.done:
		return errEnded
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// watch ends the stream when nothing has arrived for too long.
func (s *stream) watch() {
	ticker := time.NewTicker(wire.PingInterval)
	defer ticker.Stop()
	for {
		select {
		case <-s.done:
			return
		case <-ticker.C:
			if s.arrivals.quiet() >= silence {
				s.cancel(errSilent)
			}
		}
	}
}

// readFrame returns the next frame that is for the caller: all but pongs and
// bursts. See [wire.Reader.ReadFrame].
func (s *stream) readFrame(buf []byte) (wire.Kind, []byte, error) {
	for {
		kind, payload, err := s.frames.ReadFrame(buf)
		switch {
		case err != nil:
			return 0, nil, err
		case kind == wire.KindBurst:
		case kind == wire.KindPong:
			if err := s.pong(payload); err != nil {
				return 0, nil, err
			}
		default:
			return kind, payload, nil
		}
	}
}

func (s *stream) pong(payload []byte) error {
	var pong wire.Pong
	if err := json.Unmarshal(payload, &pong); err != nil {
		return fmt.Errorf("pong: %w: %w", err, wire.ErrCut)
	}
	if s.clocks.pong(pong.Seq, pong.TimeNS, time.Now()) < quickPings {
		select {
		case s.again <- struct{}{}:
		default:
		}
	}
	return nil
}

// arrivals is the collector's standard output. It notes when something came,
// and it takes everything: an executor has nothing useful to do with an error.
type arrivals struct {
	pipe *io.PipeWriter

	mu      sync.Mutex
	waiting bool // for the reader to take what has come
	last    time.Time
}

func newArrivals(pipe *io.PipeWriter) *arrivals {
	return &arrivals{pipe: pipe, last: time.Now()}
}

func (a *arrivals) Write(b []byte) (int, error) {
	a.note(true)
	_, _ = a.pipe.Write(b)
	a.note(false)
	return len(b), nil
}

func (a *arrivals) note(waiting bool) {
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waiting, a.last = waiting, now
}

// quiet returns for how long nothing has come. While the reader is behind,
// that is not known, and no fault of the collector's.
func (a *arrivals) quiet() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waiting {
		return 0
	}
	return time.Since(a.last)
}

// end makes the reader see err, or the end of file, after what has come. Only
// the first call counts.
func (a *arrivals) end(err error) { _ = a.pipe.CloseWithError(err) }
