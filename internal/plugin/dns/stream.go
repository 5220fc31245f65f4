//go:build linux

package dns

import "encoding/binary"

const (
	// keptBytes is what is kept of a message that comes in several segments: its
	// header and question, and in most cases all of it.
	keptBytes = 512
	// A stream is forgotten when nothing has come for so long. One that has ended
	// stays a little, so that what is sent again is known.
	streamIdleNS  = 60e9
	streamEndedNS = 5e9
)

// segment is a part of a TCP stream: length bytes, of which data has the first.
type segment struct {
	at         uint64 // monotonic ns
	sequence   uint32
	length     int
	data       []byte
	begin, end bool // with SYN; with FIN or RST
}

// A stream is one direction of a TCP connection: messages, each after its length
// in two bytes (RFC 1035, section 4.2.2). The order of segments is not repaired. What
// comes out of order, after a gap, or from before we looked, is followed again from
// the next segment that begins with a message, as nearly all do.
type stream struct {
	next   uint32 // sequence number
	synced bool
	gap    bool // not synced because of a segment that could not be followed
	ended  bool
	last   uint64 // monotonic ns

	prefix []byte // of the length that is still incomplete
	left   int    // bytes of the present message that are to come
	kept   []byte // of the present message, when its end was not in the same segment
}

// progress is what became of a segment.
type progress uint8

const (
	followed   progress = iota // all of it
	unfollowed                 // what it has is lost: there is a gap in what we have
	unbegun                    // it is part of what began before we looked
)

// take reads a segment and hands over each message that it completes.
func (s *stream) take(g segment, message func([]byte)) progress {
	s.last = g.at
	s.ended = s.ended || g.end
	if g.begin {
		*s = stream{next: g.sequence + 1, synced: true, ended: g.end, last: g.at}
		g.sequence++
	}
	if g.length == 0 {
		return followed
	}
	now := followed
	if s.synced {
		ahead := int(int32(g.sequence - s.next))
		switch {
		case ahead <= -g.length:
			return followed // sent again
		case ahead < 0:
			g.data = g.data[min(-ahead, len(g.data)):]
			g.length += ahead
			g.sequence = s.next
		case ahead > 0:
			s.synced, s.gap, now = false, true, unfollowed
		}
	}
	if !s.synced {
		switch {
		case beginsMessage(g.data):
		case s.gap:
			return unfollowed
		default:
			return unbegun
		}
		*s = stream{synced: true, ended: s.ended, last: s.last}
	}
	s.next = g.sequence + uint32(g.length)
	if !s.consume(g.data, g.length, message) {
		s.synced, s.gap, now = false, true, unfollowed
	}
	return now
}

// consume goes on with the next bytes of the stream. It fails when they do not tell
// where the next message begins.
func (s *stream) consume(data []byte, length int, message func([]byte)) bool {
	for length > 0 {
		if s.left == 0 {
			if len(data) == 0 {
				return false // not copied
			}
			s.prefix = append(s.prefix, data[0])
			data, length = data[1:], length-1
			if len(s.prefix) == 2 {
				s.left = int(binary.BigEndian.Uint16(s.prefix))
				s.prefix = s.prefix[:0]
			}
			continue
		}
		n := min(s.left, length)
		here := data[:min(n, len(data))]
		data, length = data[len(here):], length-n
		if s.kept == nil && n == s.left { // all of it is here
			message(here)
			s.left = 0
			continue
		}
		s.keep(here)
		if s.left -= n; s.left == 0 {
			message(s.kept)
			s.kept = nil
		}
	}
	return true
}

// keep keeps the beginning of a message that comes in several segments.
func (s *stream) keep(b []byte) {
	if s.kept == nil {
		s.kept = make([]byte, 0, min(s.left, keptBytes))
	}
	s.kept = append(s.kept, b[:min(len(b), cap(s.kept)-len(s.kept))]...)
}

// beginsMessage tells whether a segment begins with the length of a message and then
// a message.
func beginsMessage(data []byte) bool {
	if len(data) < 2+headerLen {
		return false
	}
	length := int(binary.BigEndian.Uint16(data))
	data = data[2:]
	_, ok := parse(data[:min(length, len(data))])
	return ok
}

// idle reports whether the stream may be forgotten.
func (s *stream) idle(now uint64) bool {
	limit := uint64(streamIdleNS)
	if s.ended {
		limit = streamEndedNS
	}
	return now > s.last && now-s.last > limit
}
