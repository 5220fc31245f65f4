package capture

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

func TestSourcesThatDoNotEndInOrder(t *testing.T) {
	packet := testPacket{0, epoch, 1, 60}
	stats := func(s ...wire.InterfaceStats) wire.End { return wire.End{Reason: wire.EndStop, Interfaces: s} }
	end := func(e wire.End) *recording {
		r := newRecording(1).packets(epoch, packet)
		if err := r.w.WriteEnd(e); err != nil {
			panic(err)
		}
		return r
	}
	tests := []struct {
		name        string
		recording   *recording
		wantErr     string
		wantCut     bool
		wantCounted bool
		wantHint    string
	}{
		{"no end frame", newRecording(1).packets(epoch, packet), "no end frame", true, false, ""},
		{"cut in a frame", func() *recording {
			r := newRecording(1).packets(epoch, packet).packets(epoch, packet)
			r.Truncate(r.Len() - 3)
			return r
		}(), "no end frame", true, false, ""},
		{"failure", newRecording(1).packets(epoch, packet).json(wire.KindFailure, wire.Failure{Cause: "ring buffer is gone", Hint: "try again"}).end(wire.EndFailure),
			"ring buffer is gone", false, true, "try again"},
		{"failure, then cut", newRecording(1).packets(epoch, packet).json(wire.KindFailure, wire.Failure{Cause: "ring buffer is gone"}),
			"ring buffer is gone: no end frame", true, false, ""},
		{"deadline", newRecording(1).packets(epoch, packet).end(wire.EndDeadline), "deadline", false, true, ""},
		{"signal", newRecording(1).packets(epoch, packet).end(wire.EndSignal), "being deleted", false, true, ""},
		{"unknown reason", newRecording(1).packets(epoch, packet).end("\x1b[2J"), `"\x1b[2J"`, false, true, ""},
		{"fewer packets than sent", end(stats(wire.InterfaceStats{Seen: 2, Captured: 2})), "sent 2 packets of shop/web-a/eth0, 1 arrived", false, false, ""},
		{"more packets than sent", end(stats(wire.InterfaceStats{})), "sent 0 packets of shop/web-a/eth0, 1 arrived", false, false, ""},
		{"sum is wrong", end(stats(wire.InterfaceStats{Seen: 3, Captured: 1, Lost: 1})), "saw 3 packets", false, false, ""},
		{"no counts", end(stats()), "counted on 0 interfaces of 1", false, false, ""},
		{"counts of another interface", end(stats(wire.InterfaceStats{ID: 1, Seen: 1, Captured: 1})), "interface 1 are in the place of 0", false, false, ""},
		{"packet on unknown interface", newRecording(2).packets(epoch, testPacket{1, epoch, 2, 60}), "interface 1 of 1", false, false, ""},
		{"damaged block", newRecording(1).packets(epoch, packet).frame(wire.KindPackets, make([]byte, 100)), "packet block", false, false, ""},
		{"short packets frame", newRecording(1).packets(epoch, packet).frame(wire.KindPackets, make([]byte, 10)), "no header", false, false, ""},
		{"gone frame is no JSON", newRecording(1).packets(epoch, packet).frame(wire.KindGone, []byte("x")), "gone frame", false, false, ""},
		{"unknown interface is gone", newRecording(1).packets(epoch, packet).json(wire.KindGone, wire.Gone{Interface: 1}), "interface 1 of 1", false, false, ""},
		{"failure frame is no JSON", newRecording(1).packets(epoch, packet).frame(wire.KindFailure, []byte("x")), "failure frame", false, false, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			source := tt.recording.source("a")
			source.Interfaces = source.Interfaces[:1]
			var ended []error
			result, f := merge(t, Options{Ended: func(_ int, err error) { ended = append(ended, err) }}, source)
			got := result.Sources[0]
			if result.Complete || got.Err == nil || !strings.Contains(got.Err.Error(), tt.wantErr) || strings.ContainsAny(got.Err.Error(), "\n\x1b") {
				t.Errorf("complete %v, error %v, want %q", result.Complete, got.Err, tt.wantErr)
			}
			if errors.Is(got.Err, wire.ErrCut) != tt.wantCut || got.Interfaces[0].Counted != tt.wantCounted || hint.Of(got.Err) != tt.wantHint {
				t.Errorf("cut %v, counted %v, hint %q", errors.Is(got.Err, wire.ErrCut), got.Interfaces[0].Counted, hint.Of(got.Err))
			}
			if len(ended) != 1 {
				t.Errorf("ended %d times", len(ended))
			}
			// What came before is kept, and the file says that it is not all.
			if want := map[bool]int{false: 1}[tt.name == "packet on unknown interface"]; len(f.packets) != want {
				t.Errorf("%d packets", len(f.packets))
			}
			if len(f.comments) != 2 || !strings.HasPrefix(f.comments[0], "incomplete: node a: ") || !strings.HasPrefix(f.comments[1], "incomplete: node a: ") {
				t.Errorf("comments are %q", f.comments)
			}
			if _, counted := f.counts[0][pcapng.IfRecv]; counted != tt.wantCounted {
				t.Errorf("statistics are %v", f.counts)
			}
		})
	}
}

// What a cut stream has lost is at least what its collector had seen and never
// arrived, and at least what the collector had counted.
func TestLossOfACutStreamIsALowerBound(t *testing.T) {
	packet := testPacket{0, epoch, 1, 60}
	for _, tt := range []struct {
		name       string
		seen, lost uint64
		opts       Options
		want       uint64
	}{
		{name: "all arrived", seen: 2},
		{name: "some never arrived", seen: 5814, lost: 3, want: 5812},
		{name: "counted as lost", seen: 9, lost: 20, want: 20},
		{name: "beyond the limit", seen: 5814, opts: Options{MaxPackets: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRecording(1).packets(epoch, packet)
			r.seen, r.lost = tt.seen-1, tt.lost
			result, f := merge(t, tt.opts, r.packets(epoch, packet).source("a"))
			if result.Complete || result.Lost != tt.want || result.Sources[0].Lost != tt.want {
				t.Errorf("complete %v, lost %d, of the source %d, want %d", result.Complete, result.Lost, result.Sources[0].Lost, tt.want)
			}
			for _, comment := range f.comments { // of the interface, and of the file
				said := strings.HasSuffix(comment, fmt.Sprintf("at least %d packets of the node are lost", tt.want))
				if said != (tt.want > 0) {
					t.Errorf("comments are %q", f.comments)
				}
			}
		})
	}
}

// The packet after which a node's are missing says so.
func TestCutIsNotedAtNextPacket(t *testing.T) {
	cut := newRecording(1).packets(epoch+1, testPacket{0, epoch, 1, 60})
	b := newRecording(1).packets(epoch, testPacket{0, epoch + 5, 2, 60}, testPacket{0, epoch + 6, 3, 60}).end(wire.EndStop)
	source := b.source("b")
	ended := make(chan struct{})
	source.Frames = waiting{ended, source.Frames}
	var once bool
	result, f := merge(t, Options{Ended: func(i int, err error) {
		if !once {
			once = true
			close(ended)
		}
	}}, cut.source("a"), source)
	if result.Complete || result.Sources[1].Err != nil || result.Packets != 3 || result.Seen != 3 {
		t.Errorf("result is %+v", result)
	}
	options, err := pcapng.Block(f.packets[1]).Options()
	if err != nil || len(options) != 2 || !strings.HasPrefix(string(options[0].Value), "packets are missing from here on: node a: ") {
		t.Errorf("options of the second packet are %v, %v", options, err)
	}
	if len(f.comments) != 3 {
		t.Errorf("comments are %q", f.comments)
	}
}

// waiting is a FrameReader that waits before its first frame.
type waiting struct {
	until <-chan struct{}
	FrameReader
}

func (w waiting) ReadFrame(buf []byte) (wire.Kind, []byte, error) {
	<-w.until
	return w.FrameReader.ReadFrame(buf)
}

func (f *then) ReadFrame(buf []byte) (wire.Kind, []byte, error) {
	for {
		kind, payload, err := (*f)[0].ReadFrame(buf)
		if err == nil || len(*f) == 1 {
			return kind, payload, err
		}
		*f = (*f)[1:]
	}
}

func (e endless) ReadFrame([]byte) (wire.Kind, []byte, error) {
	<-e.ctx.Done()
	return 0, nil, fmt.Errorf("given up: %w", wire.ErrCut)
}

// then is a FrameReader that reads all of its readers, one after another.
type then []FrameReader

// endless is a FrameReader that waits until it is given up.
type endless struct{ ctx context.Context }

func TestGoneInterface(t *testing.T) {
	a := newRecording(2).packets(epoch, testPacket{0, epoch, 1, 60}).json(wire.KindGone, wire.Gone{Interface: 1}).end(wire.EndStop)
	result, f := merge(t, Options{}, newRecording(1).end(wire.EndStop).source("x"), a.source("a"))
	if i := result.Sources[1].Interfaces; i[0].Gone || !i[1].Gone || !result.Complete {
		t.Errorf("interfaces are %+v", i)
	}
	if len(f.comments) != 1 || !strings.Contains(f.comments[0], "vanished") {
		t.Errorf("comments are %q", f.comments)
	}
}
