package capture

import (
	"errors"
	"fmt"
	"slices"

	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
)

// flushBytes is how much is written at once when packets come fast.
const flushBytes = 256 << 10

// errLimit says that a packet would make the file longer than it may be.
var errLimit = errors.New("file is at its limit")

// A tally counts one interface's packets by where they ended.
type tally struct {
	packets   uint64 // in the file
	capBytes  uint64 // of those
	wireBytes uint64 // of those
	unwritten uint64 // packets that the output did not take
	discarded uint64 // packets beyond the limit

	begin  int64 // offset of the end of the interface's own block
	absent bool  // the file does not have that, and no packet of the interface
}

// A mark is the end of a block in the file.
type mark struct {
	end    int64  // offset of the byte after it
	lastNS int64  // greatest timestamp up to it
	late   uint64 // packets up to it that are older than one before them
}

// A record remembers a packet near the end of the file, to take it back.
type record struct {
	mark
	id              uint32
	capLen, wireLen uint32
}

// A writer encodes packets into an output. It knows at any time which packets
// are in it: each write is of whole blocks, and when one fails the file is cut at
// the end of the last whole block. Not safe for concurrent use.
type writer struct {
	out      *Output
	encoder  encoder
	maxBytes int64 // 0: no limit
	room     int64 // kept free for the trailer

	buf    []byte
	offset int64 // of the end of what the output has taken
	// tail are the packets after boundary, which is at least room bytes before
	// offset unless it is the end of the header.
	tail     []record
	boundary mark

	tallies []tally // by interface ID
	firstNS int64   // of the first packet; -1: there was none
	err     error   // why no more is written
}

func newWriter(out *Output, interfaces []Interface, opts Options) *writer {
	e := newEncoder(out.format, interfaces, opts)
	return &writer{
		out: out, encoder: e, maxBytes: opts.MaxBytes, room: e.room(),
		buf:     make([]byte, 0, flushBytes+pcapng.EPBLen(pcapng.MaxPacketLen, 1)),
		tallies: make([]tally, len(interfaces)),
		firstNS: -1,
	}
}

// begin writes the file's header.
func (w *writer) begin() error {
	header, err := w.encoder.header()
	if err != nil {
		return err
	}
	need := int64(len(header)) + w.room
	if w.maxBytes > 0 && need > w.maxBytes {
		return fmt.Errorf("file may have %d bytes, but its own header and statistics need %d", w.maxBytes, need)
	}
	if w.out.undo != nil {
		if err := w.out.truncate(0); err != nil {
			return err
		}
	}
	w.boundary = mark{end: int64(len(header)), lastNS: -1}
	w.buf = append(w.buf[:0], header...)
	return w.flush()
}

// join makes room in the file for packets of one more interface. It returns
// errLimit when the file would grow too long. An interface that the file cannot
// have is absent from it.
func (w *writer) join(i Interface) error {
	w.tallies = append(w.tallies, tally{absent: true})
	t := &w.tallies[len(w.tallies)-1]
	block, ok := w.encoder.join(i)
	if !ok || w.err != nil {
		return w.err
	}
	room, end := w.encoder.room(), w.size()+int64(len(block))
	if w.maxBytes > 0 && end+room > w.maxBytes {
		return errLimit
	}
	w.buf = append(w.buf, block...)
	w.room, t.begin, t.absent = room, end, false
	return nil
}

// name adds names, if there is room for them.
func (w *writer) name(names []pcapng.Name) {
	block := w.encoder.name(names)
	if w.err == nil && (w.maxBytes == 0 || w.size()+int64(len(block))+w.room <= w.maxBytes) {
		w.buf = append(w.buf, block...)
	}
}

// add writes one packet. It returns errLimit, having done nothing, when the file
// would grow too long. When the output has failed it returns why and counts the
// packet as unwritten.
func (w *writer) add(p pcapng.Packet) error {
	t := &w.tallies[p.Interface()]
	if w.err != nil {
		t.unwritten++
		return w.err
	}
	start := len(w.buf)
	w.buf = w.encoder.packet(w.buf, p)
	end := w.offset + int64(len(w.buf))
	if w.maxBytes > 0 && end+w.room > w.maxBytes {
		w.buf = w.buf[:start]
		return errLimit
	}
	m := w.last()
	if timeNS := p.TimeNS(); timeNS < m.lastNS {
		m.late++
	} else {
		m.lastNS = timeNS
	}
	m.end = end
	if w.firstNS < 0 {
		w.firstNS = p.TimeNS()
	}
	t.packets++
	t.capBytes += uint64(p.CapLen())
	t.wireBytes += uint64(p.WireLen())
	w.tail = append(w.tail, record{mark: m, id: p.Interface(), capLen: p.CapLen(), wireLen: p.WireLen()})
	if len(w.buf) >= flushBytes {
		return w.flush()
	}
	return nil
}

// flush writes what is buffered. When the output fails, what it has not taken
// whole is counted as unwritten, and the file ends at a block's end.
func (w *writer) flush() error {
	if w.err != nil || len(w.buf) == 0 {
		return w.err
	}
	n, err := w.out.write(w.buf)
	w.buf = w.buf[:0]
	w.offset += int64(n)
	if err != nil {
		w.err = errors.Join(err, w.cut(w.offset))
		return w.err
	}
	done := 0
	for done < len(w.tail) && w.tail[done].end <= w.offset-w.room {
		w.boundary = w.tail[done].mark
		done++
	}
	w.tail = slices.Delete(w.tail, 0, done)
	return nil
}

// finish writes what is buffered and then the trailer, which trailer makes from
// the counts as they are at the time of the call. On a full disk packets make
// room for it.
func (w *writer) finish(trailer func() []byte) error {
	err := w.flush()
	if err != nil && w.out.undo == nil && w.out.failed {
		trailer() // for its counts
		return err
	}
	writeErr := w.writeTrailer(trailer())
	if writeErr == nil || w.out.undo == nil || !w.out.failed {
		return errors.Join(err, writeErr)
	}
	if err == nil {
		err, w.err = writeErr, writeErr
	}
	if cutErr := w.cut(w.offset - w.room); cutErr != nil {
		return errors.Join(err, cutErr)
	}
	if w.writeTrailer(trailer()) != nil {
		// The packets are there, only the statistics are not.
		return errors.Join(err, w.cut(w.offset))
	}
	return err
}

func (w *writer) writeTrailer(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	n, err := w.out.write(b)
	w.offset += int64(n)
	return err
}

// cut makes the file end at the last end of a block that is not after limit,
// and counts the packets behind it as unwritten. Where nothing can be taken back
// only the counting is done. The header is cut only when it is not whole.
func (w *writer) cut(limit int64) error {
	for len(w.tail) > 0 && w.tail[len(w.tail)-1].end > limit {
		r := w.tail[len(w.tail)-1]
		w.tail = w.tail[:len(w.tail)-1]
		t := &w.tallies[r.id]
		t.packets--
		t.capBytes -= uint64(r.capLen)
		t.wireBytes -= uint64(r.wireLen)
		t.unwritten++
	}
	if w.out.undo == nil {
		return nil
	}
	end := w.last().end
	if w.offset < end {
		end = 0
	}
	w.offset = end
	for i := range w.tallies {
		w.tallies[i].absent = w.tallies[i].absent || w.tallies[i].begin > end
	}
	return w.out.truncate(end)
}

// last is the end of the last packet, or of the header.
func (w *writer) last() mark {
	if len(w.tail) > 0 {
		return w.tail[len(w.tail)-1].mark
	}
	return w.boundary
}

// size is the length of the file so far.
func (w *writer) size() int64 { return w.offset + int64(len(w.buf)) }
