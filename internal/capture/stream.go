package capture

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// A stream reads one source in a goroutine of its own.
type stream struct {
	Source
	index   int
	firstID uint32 // in the file, of the source's interface 0
	pool    *sync.Pool

	slab    *slab
	largest int // frame so far, in bytes

	// What the collector has counted so far; written by the reading goroutine.
	seen, lost atomic.Uint64
}

// An event is what a stream tells the merger: one of its fields but stream is set,
// packets and promise together.
type event struct {
	stream  *stream
	packets *chunk
	promise *int64 // wire.PacketsHeader.CompleteNS, corrected
	gone    *wire.Gone
	ending  *ending
}

// An ending is how a stream ended.
type ending struct {
	end     *wire.End // nil: it was cut
	failure *wire.Failure
	err     error // of the stream itself
}

// run sends the stream's events until it ends, the ending last, or until ctx is
// done.
func (s *stream) run(ctx context.Context, events chan<- event) {
	s.slab = newSlab(s.pool, 0)
	defer func() { s.slab.release() }()
	var ending ending
	for {
		e, err := s.next(&ending)
		if e.packets != nil || e.promise != nil || e.gone != nil {
			if !send(ctx, events, e) {
				return
			}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				ending.err, ending.end = err, nil
			}
			send(ctx, events, event{stream: s, ending: &ending})
			return
		}
	}
}

func send(ctx context.Context, events chan<- event, e event) bool {
	select {
	case events <- e:
		return true
	case <-ctx.Done():
		return false
	}
}

// next reads one frame.
func (s *stream) next(ending *ending) (event, error) {
	e := event{stream: s}
	kind, payload, err := s.Frames.ReadFrame(s.free())
	if err != nil {
		return e, err
	}
	switch kind {
	case wire.KindPackets:
		return s.packets(payload)
	case wire.KindGone:
		var gone wire.Gone
		if err := json.Unmarshal(payload, &gone); err != nil {
			return e, fmt.Errorf("gone frame: %w", err)
		}
		if uint64(gone.Interface) >= uint64(len(s.Interfaces)) {
			return e, fmt.Errorf("gone frame names interface %d of %d", gone.Interface, len(s.Interfaces))
		}
		e.gone = &gone
	case wire.KindFailure:
		ending.failure = new(wire.Failure)
		if err := json.Unmarshal(payload, ending.failure); err != nil {
			return e, fmt.Errorf("failure frame: %w", err)
		}
	case wire.KindEnd:
		ending.end = new(wire.End)
		if err := json.Unmarshal(payload, ending.end); err != nil {
			return e, fmt.Errorf("end frame: %w", err)
		}
		s.total(ending.end.Interfaces)
	}
	return e, nil
}

// free returns the rest of the slab, of a new one when a frame like those so far
// would not fit.
func (s *stream) free() []byte {
	if len(s.slab.buf)-s.slab.used < s.largest {
		s.slab.release()
		s.slab = newSlab(s.pool, s.largest)
	}
	return s.slab.buf[s.slab.used:]
}

func (s *stream) packets(payload []byte) (event, error) {
	header, blocks, err := wire.ParsePackets(payload)
	if err != nil {
		return event{stream: s}, err
	}
	s.seen.Store(header.Seen)
	s.lost.Store(header.Lost)
	s.keep(payload)
	promise := saturatingAdd(header.CompleteNS, s.ClockOffsetNS)
	chunk, err := newChunk(s.slab, blocks, s.firstID, len(s.Interfaces), s.ClockOffsetNS)
	if chunk != nil {
		chunk.arrived = time.Now()
	}
	return event{stream: s, packets: chunk, promise: &promise}, err
}

// keep makes payload, which ReadFrame has returned, part of the slab.
func (s *stream) keep(payload []byte) {
	s.largest = max(s.largest, len(payload))
	if len(payload) <= len(s.slab.buf)-s.slab.used {
		s.slab.used += len(payload)
		return
	}
	// It did not fit, so it is in a slice of its own.
	s.slab.release()
	s.slab = &slab{pool: s.pool, buf: payload, used: len(payload)}
	s.slab.users.Store(1)
}

// total takes over the collector's last counts.
func (s *stream) total(stats []wire.InterfaceStats) {
	var seen, lost uint64
	for _, i := range stats {
		seen += i.Seen
		lost += i.Lost
	}
	s.seen.Store(seen)
	s.lost.Store(lost)
}
