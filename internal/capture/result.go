package capture

import (
	"errors"
	"fmt"
	"strings"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// A Result says what became of every packet.
type Result struct {
	Sources []SourceResult // in the order in which they were given or added

	Packets   uint64 // in the file
	CapBytes  uint64 // captured bytes of those
	WireBytes uint64 // bytes that those had on the wire
	FileBytes int64  // length of the file
	Seen      uint64 // packets that matched, as far as is known
	// Lost are packets that matched and were lost: all of them if Complete, else
	// at least so many.
	Lost      uint64
	Discarded uint64 // packets that came after a limit was reached, or after the output's reader had gone
	Excluded  uint64 // packets of the command's own streams, never Seen
	Late      uint64 // packets that are in the file after a younger one

	// FirstNS is the timestamp of the file's first packet and LastNS the
	// greatest, in ns since 1970; both are 0 without a packet.
	FirstNS, LastNS int64
	// Complete says that every source has ended in order, so that each packet
	// is in the file or counted, and that the output has taken everything.
	Complete bool
	// Limit says which limit has ended the capture, if one has.
	Limit Limit

	unwritten uint64 // packets that the output did not take
	writeErr  error
}

// A Limit names one of Options' limits.
type Limit string

// The limits.
const (
	NoLimit     Limit = ""
	PacketLimit Limit = "packets"
	SizeLimit   Limit = "size"
)

// A SourceResult is the part of a Result for one source.
type SourceResult struct {
	Node       string
	Interfaces []InterfaceResult // by wire.Interface.ID
	Reason     string            // of wire.End; empty when the stream was cut
	// Err is nil when the source ended in order. It names the node, may carry a
	// hint, and is wire.ErrCut when the stream was cut.
	Err error
	// Seen and Lost are the sums over the interfaces; Lost has those that the
	// output did not take. When Err is set, Seen is the last that was heard, and
	// at least Lost packets were lost: those that the collector has counted, or
	// those that it had seen and that never arrived, whichever are more.
	Seen, Lost uint64

	unwritten uint64
}

// An InterfaceResult is the part of a Result for one interface.
type InterfaceResult struct {
	Interface
	ID        uint32 // in the file
	Packets   uint64 // in the file
	CapBytes  uint64 // captured bytes of those
	WireBytes uint64 // bytes that those had on the wire
	Discarded uint64 // as in Result

	// Counted says that the collector has ended with its counts. Then Seen =
	// Packets + Lost + Discarded. Otherwise Seen, SeenBytes and Excluded are 0,
	// and Lost is only what reached us and not the output.
	Counted         bool
	Seen, SeenBytes uint64
	Lost            uint64
	Excluded        uint64
	// Gone says that the interface vanished, or was given up, during the capture, and
	// GoneNS when: in ns since 1970 by the file's clock, 0 if that is not known.
	Gone   bool
	GoneNS int64
	// Absent says that the file could not have the interface; its packets are
	// Discarded.
	Absent bool
}

// result sums up what is known now.
func (m *Merger) result() *Result {
	w := m.writer
	r := &Result{FileBytes: w.size(), Limit: m.limit, writeErr: w.err}
	if errors.Is(w.err, ErrReaderClosed) && !w.out.failed {
		r.writeErr = nil // somebody else has had enough: the file is whole
	}
	r.Complete = r.writeErr == nil
	for _, s := range m.streams {
		sr := m.sourceResult(s)
		r.Complete = r.Complete && sr.Err == nil
		r.Seen += sr.Seen
		r.Lost += sr.Lost
		r.unwritten += sr.unwritten
		for _, i := range sr.Interfaces {
			r.Packets += i.Packets
			r.CapBytes += i.CapBytes
			r.WireBytes += i.WireBytes
			r.Discarded += i.Discarded
			r.Excluded += i.Excluded
		}
		r.Sources = append(r.Sources, sr)
	}
	if r.Packets > 0 {
		last := w.last()
		r.FirstNS, r.LastNS, r.Late = w.firstNS, last.lastNS, last.late
	}
	return r
}

func (m *Merger) sourceResult(s *stream) SourceResult {
	sr := SourceResult{Node: s.Node, Seen: s.seen.Load(), Lost: s.lost.Load()}
	var arrived uint64
	readerLeft := errors.Is(m.writer.err, ErrReaderClosed)
	for _, i := range s.known {
		t, gone := m.writer.tallies[i.id], m.gone[i.id]
		arrived += t.packets + t.unwritten + t.discarded
		ir := InterfaceResult{
			Interface: i.Interface, ID: i.id, Gone: gone != nil, Absent: t.absent,
			Packets: t.packets, CapBytes: t.capBytes, WireBytes: t.wireBytes, Lost: t.unwritten, Discarded: t.discarded,
		}
		if gone != nil {
			ir.GoneNS = gone.timeNS
		}
		if readerLeft {
			// The reader has had enough: that is no loss.
			ir.Lost, ir.Discarded = 0, t.discarded+t.unwritten
		}
		sr.Lost += ir.Lost
		sr.unwritten += ir.Lost
		sr.Interfaces = append(sr.Interfaces, ir)
	}
	// In order these are the same. Behind the file's end nothing can be lost.
	if !m.discard && !readerLeft && sr.Seen > arrived {
		sr.Lost = max(sr.Lost, sr.Seen-arrived+sr.unwritten)
	}
	ending := m.endings[s.index]
	if ending == nil {
		sr.Err = s.named(errors.New("collector was still capturing"))
		return sr
	}
	sr.Err = s.named(ending.cause())
	if ending.end == nil {
		return sr
	}
	sr.Reason = ending.end.Reason
	if err := sr.count(ending.end.Interfaces); sr.Err == nil {
		sr.Err = s.named(err)
	}
	return sr
}

// named puts the node's name before err, unless its reader has done so.
func (s *stream) named(err error) error {
	prefix := "node " + s.Node + ": "
	if err == nil || strings.HasPrefix(err.Error(), prefix) {
		return err
	}
	return fmt.Errorf("%s%w", prefix, err)
}

// count takes over the collector's own counts, if they agree with what arrived.
func (s *SourceResult) count(stats []wire.InterfaceStats) error {
	if len(stats) != len(s.Interfaces) {
		return fmt.Errorf("collector counted on %d interfaces of %d", len(stats), len(s.Interfaces))
	}
	for id, c := range stats {
		i := s.Interfaces[id]
		arrived := i.Packets + i.Lost + i.Discarded
		switch {
		case c.ID != uint32(id):
			return fmt.Errorf("collector's counts of interface %d are in the place of %d", c.ID, id)
		case c.Captured != arrived:
			return fmt.Errorf("collector sent %d packets of %s, %d arrived", c.Captured, i.Name, arrived)
		case c.Seen != c.Captured+c.Lost:
			return fmt.Errorf("collector saw %d packets of %s, but captured %d and lost %d", c.Seen, i.Name, c.Captured, c.Lost)
		}
	}
	for id, c := range stats {
		i := &s.Interfaces[id]
		i.Counted = true
		i.Seen, i.SeenBytes, i.Excluded = c.Seen, c.SeenBytes, c.Excluded
		i.Lost += c.Lost
	}
	return nil
}

// cause says why a source did not end in order, or nil if it did.
func (e *ending) cause() error {
	switch {
	case e.failure != nil:
		err := errors.New(brief(e.failure.Cause, maxVerdict))
		if e.err != nil {
			err = fmt.Errorf("%w: %w", err, e.err)
		}
		if e.failure.Hint == "" {
			return err
		}
		return hint.Wrap(err, brief(e.failure.Hint, maxVerdict))
	case e.err != nil:
		return e.err
	case e.end == nil:
		return wire.ErrCut
	}
	switch e.end.Reason {
	case wire.EndStop, wire.EndGone, wire.EndDuration, wire.EndLimit:
		return nil
	case wire.EndDiskFull:
		return errors.New("the node's disk was nearly full, so its capture ended early")
	case wire.EndDeadline:
		return errors.New("collector reached its deadline before the capture ended")
	case wire.EndSignal:
		return errors.New("collector was told to terminate: its pod is being deleted")
	}
	return fmt.Errorf("collector ended early: %q", e.end.Reason)
}

// missing says what the file lacks of a source that failed; else it is empty.
func (s *SourceResult) missing() string {
	switch {
	case s.Err == nil:
		return ""
	case s.Lost == 0:
		return s.Err.Error()
	}
	return fmt.Sprintf("%v; at least %d packets of the node are lost", s.Err, s.Lost)
}

// missing says what an incomplete file lacks, a line each.
func (r *Result) missing() []string {
	var lines []string
	for _, s := range r.Sources {
		if s.Err != nil {
			lines = append(lines, s.missing())
		}
	}
	if r.writeErr != nil {
		lines = append(lines, fmt.Sprintf("%d packets were not written: %v", r.unwritten, r.writeErr))
	}
	return lines
}
