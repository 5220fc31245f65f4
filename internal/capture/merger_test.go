package capture

import (
	"bytes"
	"errors"
	"io"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

func TestMergeInOrderOfTime(t *testing.T) {
	a := newRecording(2).
		packets(epoch+20, testPacket{0, epoch + 10, 1, 60}, testPacket{1, epoch + 30, 3, 60}, testPacket{0, epoch + 15, 2, 60}).
		packets(epoch+60, testPacket{1, epoch + 25, 4, 60}, testPacket{0, epoch + 50, 5, 60}).
		end(wire.EndStop)
	b := newRecording(1). // its clock is 100 behind
				packets(epoch-90, testPacket{0, epoch - 88, 6, 60}, testPacket{0, epoch - 72, 7, 60}).
				frame(wire.KindBurst, make([]byte, 100)).
				packets(epoch, testPacket{0, epoch - 60, 8, 60}).
				end(wire.EndGone, 2)
	sb := b.source("b")
	sb.ClockOffsetNS = 100
	result, f := merge(t, Options{}, a.source("a"), sb)

	if diff := gocmp.Diff([]uint32{1, 6, 2, 4, 7, 3, 8, 5}, f.numbers()); diff != "" {
		t.Errorf("order differs (-want +got):\n%s", diff)
	}
	for i, want := range []struct {
		id uint32
		at int64
	}{{0, 10}, {2, 12}, {0, 15}, {1, 25}, {2, 28}, {1, 30}, {2, 40}, {0, 50}} {
		if p := f.packets[i]; p.Interface() != want.id || p.TimeNS() != epoch+want.at {
			t.Errorf("packet %d: interface %d at %d, want %d at %d", i, p.Interface(), p.TimeNS()-epoch, want.id, want.at)
		}
	}
	if !result.Complete || result.Late != 0 || result.Seen != 10 || result.Lost != 2 || result.Discarded != 0 || result.Limit != NoLimit {
		t.Errorf("result is %+v", result)
	}
	if result.FirstNS != epoch+10 || result.LastNS != epoch+50 {
		t.Errorf("times are %d..%d", result.FirstNS-epoch, result.LastNS-epoch)
	}
	if s := result.Sources[1]; s.Node != "b" || s.Reason != wire.EndGone || s.Err != nil || s.Seen != 5 || s.Lost != 2 ||
		s.Interfaces[0].ID != 2 || s.Interfaces[0].Packets != 3 || s.Interfaces[0].Lost != 2 {
		t.Errorf("source b is %+v", s)
	}
	if target := result.Sources[0].Interfaces[1].Target; target != 10 {
		t.Errorf("target is %d", target)
	}
	if len(f.comments) != 0 {
		t.Errorf("comments: %q", f.comments)
	}
}

func TestNothingCaptured(t *testing.T) {
	result, f := merge(t, Options{}, newRecording(2).packets(epoch).end(wire.EndStop).source("a"), newRecording(0).end(wire.EndStop).source("b"))
	if !result.Complete || result.Packets != 0 || result.FirstNS != 0 || result.LastNS != 0 || f.interfaces != 2 || len(f.counts) != 2 {
		t.Errorf("result is %+v, file is %+v", result, f)
	}
	if result, _ := merge(t, Options{}); !result.Complete {
		t.Errorf("without sources: %+v", result)
	}
}

// Totals are read while the capture runs.
func TestTotalsWhileRunning(t *testing.T) {
	a := newRecording(1)
	for i := range 500 {
		a.packets(epoch+int64(i), testPacket{0, epoch + int64(i), uint32(i), 100})
	}
	var b bytes.Buffer
	out, _ := OpenOutput(t.Context(), Stdout, &b, Pcapng)
	m := NewMerger([]Source{a.end(wire.EndStop, 3).source("a")}, out, Options{})
	done, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		last := Totals{}
		for {
			now := m.Totals()
			if now.Packets < last.Packets || now.Bytes < last.Bytes || now.FileBytes < last.FileBytes || now.Seen < last.Seen {
				t.Errorf("%+v after %+v", now, last)
			}
			last = now
			select {
			case <-done:
				return
			default:
			}
		}
	}()
	if _, err := m.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	close(done)
	<-watched
	if got, want := m.Totals(), (Totals{Packets: 500, Bytes: 50000, FileBytes: int64(b.Len()), Seen: 503, Lost: 3}); got != want {
		t.Errorf("totals are %+v, want %+v", got, want)
	}
}

// A writer that nobody reads ends the capture at once, and that is no loss.
func TestReaderClosed(t *testing.T) {
	r, w := io.Pipe()
	go func() {
		_, _ = io.CopyN(io.Discard, r, 2000)
		r.Close()
	}()
	a := newRecording(1)
	for i := range 2000 {
		a.packets(epoch+int64(i), testPacket{0, epoch + int64(i), uint32(i), 1000})
	}
	stops := 0
	out, _ := OpenOutput(t.Context(), Stdout, w, Pcapng)
	result, err := NewMerger([]Source{a.end(wire.EndStop).source("a")}, out, Options{Stop: func() { stops++ }}).Run(t.Context())
	if !errors.Is(err, ErrReaderClosed) || stops != 1 {
		t.Errorf("error is %v, stopped %d times", err, stops)
	}
	if result.Lost != 0 || result.Packets+result.Discarded != 2000 || result.Packets > 1 {
		t.Errorf("%d packets, %d discarded, %d lost", result.Packets, result.Discarded, result.Lost)
	}
}
