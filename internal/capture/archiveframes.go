package capture

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

const (
	// disorder is how much older than the packets before it a packet of a file may
	// be. Packets are written as the CPUs bring them, milliseconds apart at most.
	disorder = time.Second
	// frameBytes is how long the frames of an archive are, and framesAhead how many
	// are unpacked before their turn: what all sources have there must be small
	// beside the window.
	frameBytes  = 64 << 10
	framesAhead = 2
)

// archiveFrames makes the frames that a collector would have sent of an archive.
// The archive is unpacked in a goroutine of its own, so that several archives are
// at the same time; see pacer for the order.
type archiveFrames struct {
	archive *ArchiveSource
	pace    *pacer
	index   int // in pace

	ready   chan unpacked
	spare   chan []byte   // memory of frames
	closed  chan struct{} // by close
	closing sync.Once
	done    sync.WaitGroup // the goroutine that unpacks

	sent  []uint64    // packets, by interface ID
	early atomic.Bool // set by endSoon
	ended bool
}

// unpacked is one frame, or the error that there are no more.
type unpacked struct {
	payload []byte
	lastNS  int64 // the youngest packet so far, corrected
	err     error // io.EOF: all is there
}

// newArchiveFrames begins to unpack. close ends that.
func newArchiveFrames(a *ArchiveSource, pace *pacer, index int) *archiveFrames {
	f := &archiveFrames{
		archive: a, pace: pace, index: index, sent: make([]uint64, len(a.interfaces)),
		ready: make(chan unpacked, framesAhead), spare: make(chan []byte, framesAhead+2), closed: make(chan struct{}),
	}
	for range cap(f.spare) {
		f.spare <- nil
	}
	f.done.Go(f.unpack)
	return f
}

// ReadFrame implements FrameReader.
func (f *archiveFrames) ReadFrame(buf []byte) (wire.Kind, []byte, error) {
	if f.ended {
		return 0, nil, io.EOF
	}
	f.pace.wait(f.index)
	if f.early.Load() {
		return f.endFrame(f.endSoFar())
	}
	select {
	case <-f.closed:
		return 0, nil, f.archive.named(errors.New("closed while it was read"))
	case next := <-f.ready:
		if next.err != nil {
			f.pace.pass(f.index, maxTime)
			if errors.Is(next.err, io.EOF) {
				return f.endFrame(f.archive.end())
			}
			return 0, nil, f.archive.named(next.err)
		}
		payload := append(buf[:0], next.payload...)
		f.spare <- next.payload
		f.count(payload)
		f.pace.pass(f.index, next.lastNS)
		return wire.KindPackets, payload, nil
	}
}

// endSoFar is the end of an archive that nobody wants to read further: as if no
// more packets had come.
func (f *archiveFrames) endSoFar() wire.End {
	f.pace.pass(f.index, maxTime)
	end := f.archive.end()
	end.Reason = wire.EndStop
	for id := range end.Interfaces {
		s := &end.Interfaces[id]
		s.Captured = f.sent[id]
		s.Seen = s.Captured + s.Lost
	}
	return end
}

func (f *archiveFrames) endFrame(end wire.End) (wire.Kind, []byte, error) {
	f.ended = true
	payload, err := json.Marshal(end)
	return wire.KindEnd, payload, err
}

// count counts the packets of a frame, whose blocks are ours.
func (f *archiveFrames) count(payload []byte) {
	for b := payload[wire.PacketsHeaderLen:]; len(b) > 0; b = b[binary.LittleEndian.Uint32(b[4:]):] {
		f.sent[binary.LittleEndian.Uint32(b[8:])]++
	}
}

// unpack sends frames until the archive ends or nobody wants them.
func (f *archiveFrames) unpack() {
	lastNS, counts := noTime, f.counts()
	for {
		var payload []byte
		select {
		case payload = <-f.spare:
		case <-f.closed:
			return
		}
		payload, youngest, err := f.fill(payload, lastNS, counts)
		lastNS = youngest
		if len(payload) > wire.PacketsHeaderLen && !f.send(unpacked{payload: payload, lastNS: saturatingAdd(lastNS, f.offset())}) {
			return
		}
		if err != nil {
			f.send(unpacked{err: err})
			return
		}
	}
}

func (f *archiveFrames) offset() int64 { return f.archive.Record().ClockCorrectionNS }

func (f *archiveFrames) send(u unpacked) bool {
	select {
	case f.ready <- u:
		return true
	case <-f.closed:
		return false
	}
}

// counts is a header with the counts as they will be at the end, so that what is
// missing of an archive that is cut is known to be lost.
func (f *archiveFrames) counts() (h wire.PacketsHeader) {
	for _, i := range f.archive.end().Interfaces {
		h.Seen += i.Seen
		h.Lost += i.Lost
	}
	return h
}

// fill makes one frame in the memory of payload. It goes on to the next packet
// file where one ends.
func (f *archiveFrames) fill(payload []byte, lastNS int64, counts wire.PacketsHeader) ([]byte, int64, error) {
	if payload == nil {
		payload = make([]byte, 0, frameBytes+4<<10)
	}
	payload = append(payload[:0], make([]byte, wire.PacketsHeaderLen)...)
	var err error
	for err == nil && len(payload) < frameBytes {
		p, nextErr := f.archive.packets.next()
		switch {
		case nextErr == nil && uint64(p.Interface()) >= uint64(len(f.sent)):
			err = fmt.Errorf("packet on interface %d of %d", p.Interface(), len(f.sent))
		case nextErr == nil:
			payload = append(payload, p...)
			lastNS = max(lastNS, p.TimeNS())
		case errors.Is(nextErr, io.EOF):
			err = f.archive.nextFile()
		default:
			err = fmt.Errorf("packet file: %w", nextErr)
		}
	}
	counts.CompleteNS = saturatingAdd(lastNS, -int64(disorder))
	counts.Put(payload)
	return payload, lastNS, err
}

// endSoon has the archive read no further: the next frame is the end, which says
// that all is well. The pacer must be freed too.
func (f *archiveFrames) endSoon() { f.early.Store(true) }

// close ends the goroutine that unpacks, and waits for it.
func (f *archiveFrames) close() {
	f.closing.Do(func() { close(f.closed) })
	f.done.Wait()
}
