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
	index int
	ids   []uint32 // in the file, by wire.Interface.ID
	pool  *sync.Pool

	slab    *slab
	largest int // frame so far, in bytes

	// What the collector has counted so far; written by the reading goroutine.
	seen, lost atomic.Uint64

	// known are the interfaces by wire.Interface.ID; the merger's goroutine has them.
	known []known
}

// known is an interface and where it is in the file.
type known struct {
	Interface
	id uint32
}

// An event is what a stream tells the merger: one of its fields but stream is set,
// packets and promise together.
type event struct {
	stream  *stream
	packets *chunk
	promise *int64 // wire.PacketsHeader.CompleteNS, corrected
	gone    *goneInterface
	join    *joinRequest
	ending  *ending
}

// goneInterface is an interface that has vanished.
type goneInterface struct {
	id     uint32 // in the file
	timeNS int64  // corrected; 0: unknown
}

// A joinRequest asks the merger to make interfaces part of the file. It answers
// with their IDs there.
type joinRequest struct {
	Joined
	answer chan []uint32 // has room for one
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
		if e.packets != nil || e.promise != nil || e.gone != nil || e.join != nil {
			if !send(ctx, events, e) {
				return
			}
		}
		if e.join != nil {
			select {
			case ids := <-e.join.answer:
				s.ids = append(s.ids, ids...)
			case <-ctx.Done():
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
		if uint64(gone.Interface) >= uint64(len(s.ids)) {
			return e, fmt.Errorf("gone frame names interface %d of %d", gone.Interface, len(s.ids))
		}
		e.gone = &goneInterface{id: s.ids[gone.Interface], timeNS: s.corrected(gone.TimeNS)}
	case wire.KindAttached:
		if s.Attached == nil {
			break
		}
		var attached wire.Attached
		if err := json.Unmarshal(payload, &attached); err != nil {
			return e, fmt.Errorf("attached frame: %w", err)
		}
		e.join, err = s.join(attached)
		return e, err
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

// join checks what a collector says that it has attached.
func (s *stream) join(attached wire.Attached) (*joinRequest, error) {
	for n, i := range attached.Interfaces {
		if want := len(s.ids) + n; uint64(i.ID) != uint64(want) {
			return nil, fmt.Errorf("collector has attached interface %d in the place of %d", i.ID, want)
		}
		if i.LinkType != wire.LinkTypeEthernet && i.LinkType != wire.LinkTypeRaw {
			return nil, fmt.Errorf("collector's interface %d has the unknown link type %d", i.ID, i.LinkType)
		}
	}
	joined := s.Attached(attached)
	if len(joined.Interfaces) != len(attached.Interfaces) {
		return nil, fmt.Errorf("%d interfaces of %d are described", len(joined.Interfaces), len(attached.Interfaces))
	}
	for n := range joined.Interfaces {
		joined.Interfaces[n].JoinedNS = s.corrected(attached.TimeNS)
	}
	return &joinRequest{Joined: joined, answer: make(chan []uint32, 1)}, nil
}

// corrected returns a time of the node by the file's clock; 0 stays 0.
func (s *stream) corrected(timeNS int64) int64 {
	if timeNS == 0 {
		return 0
	}
	return saturatingAdd(timeNS, s.ClockOffsetNS)
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
	chunk, err := newChunk(s.slab, blocks, s.ids, s.ClockOffsetNS)
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
