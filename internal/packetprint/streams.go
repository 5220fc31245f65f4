package packetprint

import "net/netip"

// maxStreams bounds the connections that are remembered: twice this many.
const maxStreams = 16384

// A streamKey is a connection as one interface sees it. The same addresses and
// ports at another interface may be another connection, as on two pods' loopback.
type streamKey struct {
	iface int
	low   netip.AddrPort // the lesser of both ends
	high  netip.AddrPort
}

// A stream is the numbers before the first byte, of the low end and the high one.
type stream struct {
	base  [2]uint32
	known [2]bool
}

// streams are the connections of late: when there are too many, those that were
// not seen for a while are forgotten.
type streams struct {
	young map[streamKey]*stream
	old   map[streamKey]*stream
}

func newStreams() *streams { return &streams{young: make(map[streamKey]*stream)} }

// find returns the connection, which is a new one if need be.
func (s *streams) find(key streamKey) *stream {
	if found := s.young[key]; found != nil {
		return found
	}
	if len(s.young) >= maxStreams {
		s.old, s.young = s.young, make(map[streamKey]*stream)
	}
	found := s.old[key]
	if found == nil {
		found = new(stream)
	}
	s.young[key] = found
	return found
}

// relative sets t.Seq and t.Ack, of a segment with these flags.
func (s *streams) relative(t *TCP, iface int, from, to netip.AddrPort, syn, ack bool) {
	key, sender := streamKey{iface, from, to}, 0
	if from.Compare(to) > 0 {
		key.low, key.high, sender = to, from, 1
	}
	c, receiver := s.find(key), 1-sender
	switch {
	case syn:
		if c.known[sender] && c.base[sender] != t.RawSeq { // the ports are used again
			c.known[receiver] = false
		}
		c.base[sender], c.known[sender] = t.RawSeq, true
	case !c.known[sender]:
		c.base[sender], c.known[sender] = t.RawSeq-1, true
	}
	t.Seq = t.RawSeq - c.base[sender]
	if !ack {
		return
	}
	if !c.known[receiver] {
		c.base[receiver], c.known[receiver] = t.RawAck-1, true
	}
	t.Ack = t.RawAck - c.base[receiver]
}
