//go:build linux

package dns

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// framed is messages as TCP has them.
func framed(messages ...[]byte) []byte {
	var b []byte
	for _, m := range messages {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(m))), m...)
	}
	return b
}

// heard feeds segments to a stream and returns the ids of its messages, and how many
// segments are lost or began before.
func heard(t *testing.T, s *stream, segments ...segment) (ids []uint16, lost, before int) {
	t.Helper()
	for _, g := range segments {
		if g.length == 0 {
			g.length = len(g.data)
		}
		switch s.take(g, func(b []byte) {
			m, ok := parse(b)
			if !ok {
				t.Errorf("not a message: %x", b)
			}
			ids = append(ids, m.id)
		}) {
		case unfollowed:
			lost++
		case unbegun:
			before++
		}
	}
	return ids, lost, before
}

func TestStream(t *testing.T) {
	query := func(id uint16) []byte { return build(t, id, false, "example.com.", dnsmessage.TypeA, 0) }
	all := framed(query(1), query(2), query(3))
	one := len(all) / 3
	syn := segment{sequence: 99, begin: true}
	part := func(from, to int) segment { return segment{sequence: 100 + uint32(from), data: all[from:to]} }
	big := append(query(4), make([]byte, 3000)...)
	bigBytes := framed(big, query(5))
	tests := []struct {
		name     string
		segments []segment
		ids      []uint16
		lost     int
	}{
		{"a message in a segment", []segment{syn, part(0, one), part(one, 2*one), part(2*one, 3*one)}, []uint16{1, 2, 3}, 0},
		{"all in one", []segment{syn, part(0, 3*one)}, []uint16{1, 2, 3}, 0},
		{"data with the SYN", []segment{{sequence: 99, begin: true, data: all}}, []uint16{1, 2, 3}, 0},
		{"the length alone", []segment{syn, part(0, 2), part(2, one)}, []uint16{1}, 0},
		{"half a length", []segment{syn, part(0, 1), part(1, one+1), part(one+1, 3*one)}, []uint16{1, 2, 3}, 0},
		{"sent again", []segment{syn, part(0, one), part(0, one), part(one, 2*one)}, []uint16{1, 2}, 0},
		{"sent again with more", []segment{syn, part(0, one+7), part(0, 3*one)}, []uint16{1, 2, 3}, 0},
		{"SYN again", []segment{syn, syn, part(0, one)}, []uint16{1}, 0},
		{"a gap, then a beginning", []segment{syn, part(0, one), part(2*one, 3*one)}, []uint16{1, 3}, 1},
		{"a gap, then no beginning", []segment{syn, part(0, one), part(one+5, 2*one), part(2*one, 3*one)}, []uint16{1, 3}, 1},
		{"out of order", []segment{syn, part(one, 2*one), part(0, one)}, []uint16{2}, 1},
		{"joined in the middle", []segment{part(one, 3*one)}, []uint16{2, 3}, 0},
		{"joined in a message", []segment{part(5, one), part(one, 2*one)}, []uint16{2}, 0},
		{"sequence numbers wrap around", []segment{{sequence: 1<<32 - 11, begin: true}, {sequence: 1<<32 - 10, data: all[:one]}, {sequence: uint32(one) - 10, data: all[one:]}}, []uint16{1, 2, 3}, 0},
		{"a large message", []segment{syn, {sequence: 100, data: bigBytes[:1400]}, {sequence: 1500, data: bigBytes[1400:2800]}, {sequence: 2900, data: bigBytes[2800:]}}, []uint16{4, 5}, 0},
		{"the end of a message was not copied", []segment{syn, {sequence: 100, data: bigBytes[:100], length: 2 + len(big)}, {sequence: 102 + uint32(len(big)), data: framed(query(5))}}, []uint16{4, 5}, 0},
		{"of the next length nothing was copied", []segment{syn, {sequence: 100, data: all[:one], length: 2 * one}, part(2*one, 3*one)}, []uint16{1, 3}, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			ids, lost, before := heard(t, &stream{}, test.segments...)
			if joined := test.name == "joined in a message"; joined != (before == 1) || before > 1 {
				t.Errorf("%d segments began before", before)
			}
			if !slices.Equal(ids, test.ids) || lost != test.lost {
				t.Errorf("heard %v and lost %d segments, want %v and %d", ids, lost, test.ids, test.lost)
			}
		})
	}
}

// However a stream is cut into segments, what is heard is the same.
func TestStreamCutAnywhere(t *testing.T) {
	var messages [][]byte
	var want []uint16
	for id := range uint16(20) {
		messages = append(messages, build(t, id, id%2 == 1, "example.com.", dnsmessage.TypeA, 0))
		want = append(want, id)
	}
	all := framed(messages...)
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		segments := []segment{{sequence: 0, begin: true}}
		for at := 0; at < len(all); {
			n := min(1+random.IntN(100), len(all)-at)
			segments = append(segments, segment{sequence: 1 + uint32(at), data: all[at : at+n]})
			at += n
		}
		if ids, lost, before := heard(t, &stream{}, segments...); !slices.Equal(ids, want) || lost+before != 0 {
			t.Fatalf("heard %v and lost %d segments", ids, lost)
		}
	}
}

func TestStreamIdle(t *testing.T) {
	s := stream{last: 1e9}
	if s.idle(60e9) || !s.idle(62e9) {
		t.Error("an open stream is to be forgotten after 60 s")
	}
	s.take(segment{at: 2e9, end: true}, nil)
	if s.idle(6e9) || !s.idle(8e9) {
		t.Error("one that has ended is to be forgotten after 5 s")
	}
}

func FuzzStream(f *testing.F) {
	f.Add([]byte{0, 3, 1, 2, 3, 0, 1, 9}, uint8(3), uint32(5))
	f.Fuzz(func(t *testing.T, data []byte, cut uint8, sequence uint32) {
		var s stream
		for _, part := range [][]byte{data[:min(int(cut), len(data))], data[min(int(cut), len(data)):], data} {
			s.take(segment{sequence: sequence, length: len(part) + int(cut)%3, data: part}, func(b []byte) { parse(b) })
			sequence += uint32(cut)
			if len(s.kept) > keptBytes || len(s.prefix) > 1 || s.left < 0 {
				t.Fatalf("%d bytes kept, %d of a length, %d left", len(s.kept), len(s.prefix), s.left)
			}
		}
	})
}
