package capture

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
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

// A node whose promise is broken, as by a step of its clock, loses nothing.
func TestLatePacketsAreWritten(t *testing.T) {
	a := newRecording(1).packets(epoch+100, testPacket{0, epoch + 90, 1, 60}).
		packets(epoch+50, testPacket{0, epoch + 40, 2, 60}, testPacket{0, epoch + 50, 3, 60}).
		packets(epoch+200, testPacket{0, epoch + 90, 4, 60}).end(wire.EndStop)
	result, f := merge(t, Options{}, a.source("a"))
	if diff := gocmp.Diff([]uint32{1, 2, 3, 4}, f.numbers()); diff != "" || result.Late != 2 || !result.Complete {
		t.Errorf("late %d, complete %v, order (-want +got):\n%s", result.Late, result.Complete, diff)
	}
	if result.FirstNS != epoch+90 || result.LastNS != epoch+90 {
		t.Errorf("times are %d..%d", result.FirstNS-epoch, result.LastNS-epoch)
	}
}

func TestLimits(t *testing.T) {
	recording := func(node int) *recording {
		r := newRecording(1)
		for i := range 10 {
			r.packets(epoch+int64(i*20+node), testPacket{0, epoch + int64(i*20+node), uint32(2*i + node), 100})
		}
		return r.end(wire.EndStop)
	}
	full := 0
	{
		_, f := merge(t, Options{}, recording(0).source("a"), recording(1).source("b"))
		full = f.bytes
	}
	block := pcapng.EPBLen(100, pcapng.FlagInbound)
	empty := full - 20*block
	room := int(newEncoder(Pcapng, append(recording(0).source("a").Interfaces, recording(1).source("b").Interfaces...), Options{}).room())
	stats := 2 * len(pcapng.Statistics{StartNS: 1, EndNS: 1, Counts: make([]pcapng.Count, 3)}.Append(nil))
	tests := []struct {
		name        string
		opts        Options
		wantPackets int
		wantLimit   Limit
	}{
		{"none", Options{}, 20, NoLimit},
		{"packets", Options{MaxPackets: 7}, 7, PacketLimit},
		{"one packet", Options{MaxPackets: 1}, 1, PacketLimit},
		{"exactly as many packets", Options{MaxPackets: 20}, 20, PacketLimit},
		{"more packets", Options{MaxPackets: 21}, 20, NoLimit},
		{"size of 5 packets", Options{MaxBytes: int64(empty - stats + room + 5*block)}, 5, SizeLimit},
		{"one byte less", Options{MaxBytes: int64(empty - stats + room + 5*block - 1)}, 4, SizeLimit},
		{"no room for a packet", Options{MaxBytes: int64(empty - stats + room)}, 0, SizeLimit},
		{"size of all", Options{MaxBytes: int64(full - stats + room)}, 20, NoLimit},
		{"packets before size", Options{MaxPackets: 3, MaxBytes: int64(empty - stats + room + 5*block)}, 3, PacketLimit},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			stops := 0
			tt.opts.Stop = func() { stops++ }
			result, f := merge(t, tt.opts, recording(0).source("a"), recording(1).source("b"))
			if result.Limit != tt.wantLimit || len(f.packets) != tt.wantPackets {
				t.Fatalf("%d packets, limit %q, want %d, %q", len(f.packets), result.Limit, tt.wantPackets, tt.wantLimit)
			}
			for i, n := range f.numbers() {
				if int(n) != i {
					t.Errorf("packet %d of the file is %d", i, n)
				}
			}
			if tt.opts.MaxBytes > 0 && int64(f.bytes) > tt.opts.MaxBytes {
				t.Errorf("file has %d bytes, limit is %d", f.bytes, tt.opts.MaxBytes)
			}
			if int(result.Discarded) != 20-tt.wantPackets || result.Lost != 0 || !result.Complete {
				t.Errorf("%d discarded, %d lost, complete %v", result.Discarded, result.Lost, result.Complete)
			}
			if want := map[bool]int{true: 1}[tt.wantLimit != NoLimit]; stops != want {
				t.Errorf("stopped %d times, want %d", stops, want)
			}
		})
	}
}

// A file that has no room for its own header is refused before it begins.
func TestLimitBelowHeader(t *testing.T) {
	var b bytes.Buffer
	out, _ := OpenOutput(Stdout, &b, Pcapng)
	_, err := NewMerger([]Source{newRecording(1).source("a")}, out, Options{MaxBytes: 300}).Run(t.Context())
	if err == nil || b.Len() != 0 {
		t.Errorf("%d bytes were written, error is %v", b.Len(), err)
	}
}

// However long what is said about a source, the limit holds.
func TestLimitHoldsForIncompleteFile(t *testing.T) {
	long := strings.Repeat("\x00é\n", 5000)
	for limit := int64(4000); limit < 4200; limit += 7 {
		a := newRecording(1)
		for i := range 50 {
			a.packets(epoch+int64(i), testPacket{0, epoch + int64(i), uint32(i), 100})
		}
		a.json(wire.KindFailure, wire.Failure{Cause: long, Hint: long}).end(wire.EndFailure)
		cut := newRecording(1).packets(epoch, testPacket{0, epoch, 1000, 60})
		sa, sb := a.source("a"), cut.source("b")
		sb.Node = long
		result, f := merge(t, Options{MaxBytes: limit}, sa, sb)
		if int64(f.bytes) > limit || result.Limit != SizeLimit || result.Complete {
			t.Errorf("file has %d bytes, limit is %d: %q, %v", f.bytes, limit, result.Limit, result.Complete)
		}
	}
}

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
		{"input closed", newRecording(1).packets(epoch, packet).end(wire.EndEOF), "input was closed", false, true, ""},
		{"silence", newRecording(1).packets(epoch, packet).end(wire.EndSilence), "heard nothing", false, true, ""},
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
			if len(f.comments) != 2 || !strings.HasPrefix(f.comments[0], "incomplete: ") || !strings.HasPrefix(f.comments[1], "incomplete: node a: ") {
				t.Errorf("comments are %q", f.comments)
			}
			if _, counted := f.counts[0][pcapng.IfRecv]; counted != tt.wantCounted {
				t.Errorf("statistics are %v", f.counts)
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
	if err != nil || len(options) != 2 || !strings.HasPrefix(string(options[0].Value), "from here on packets of node a are missing: ") {
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

// then is a FrameReader that reads all of its readers, one after another.
type then []FrameReader

func (f *then) ReadFrame(buf []byte) (wire.Kind, []byte, error) {
	for {
		kind, payload, err := (*f)[0].ReadFrame(buf)
		if err == nil || len(*f) == 1 {
			return kind, payload, err
		}
		*f = (*f)[1:]
	}
}

// endless is a FrameReader that waits until it is given up.
type endless struct{ ctx context.Context }

func (e endless) ReadFrame([]byte) (wire.Kind, []byte, error) {
	<-e.ctx.Done()
	return 0, nil, fmt.Errorf("given up: %w", wire.ErrCut)
}

// While one node says nothing, the others' packets wait no longer than the window.
func TestWindowTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		silent, speak := context.WithCancel(t.Context())
		late := newRecording(1).packets(epoch+9, testPacket{0, epoch + 5, 3, 60}).end(wire.EndStop).source("late")
		late.Frames = &then{endless{silent}, late.Frames}
		a := newRecording(1).packets(epoch+100, testPacket{0, epoch + 1, 1, 60}, testPacket{0, epoch + 7, 2, 60}).end(wire.EndStop)

		var b bytes.Buffer
		out, _ := OpenOutput(Stdout, &b, Pcapng)
		m := NewMerger([]Source{a.source("a"), late}, out, Options{WindowTime: 3 * time.Second})
		var result Result
		done := make(chan error)
		go func() {
			var err error
			result, err = m.Run(t.Context())
			done <- err
		}()
		time.Sleep(2900 * time.Millisecond)
		synctest.Wait()
		if got := m.Totals(); got.Packets != 0 || got.Seen != 2 {
			t.Errorf("before the window has passed: %+v", got)
		}
		time.Sleep(300 * time.Millisecond)
		synctest.Wait()
		if got := m.Totals(); got.Packets != 2 || got.Bytes != 120 || got.FileBytes != int64(b.Len()) {
			t.Errorf("after the window: %+v, %d bytes written", got, b.Len())
		}
		speak()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		f := readFile(t, b.Bytes())
		checkResult(t, result, f)
		if result.Late != 1 || !slices.Equal(f.numbers(), []uint32{1, 2, 3}) {
			t.Errorf("late %d, order %v", result.Late, f.numbers())
		}
	})
}

// While one node says nothing, the others' packets fill no more than the window.
func TestWindowBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newRecording(1)
		for i := range 100 {
			a.packets(epoch+int64(i), testPacket{0, epoch + int64(i), uint32(i), 1000})
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		silent := newRecording(1).source("silent")
		silent.Frames = endless{ctx}
		var b bytes.Buffer
		out, _ := OpenOutput(Stdout, &b, Pcapng)
		block := pcapng.EPBLen(1000, pcapng.FlagInbound)
		m := NewMerger([]Source{a.end(wire.EndStop).source("a"), silent}, out, Options{WindowBytes: int64(10 * block), WindowTime: time.Hour})
		var result Result
		done := make(chan error)
		go func() {
			var err error
			result, err = m.Run(ctx)
			done <- err
		}()
		time.Sleep(time.Second)
		synctest.Wait()
		if got := m.Totals(); got.Packets != 90 {
			t.Errorf("%d packets are written, want 90", got.Packets)
		}
		cause := errors.New("enough")
		cancel(cause)
		if err := <-done; !errors.Is(err, cause) {
			t.Errorf("error is %v", err)
		}
		// What has arrived is kept, and the silent node is not forgotten.
		f := readFile(t, b.Bytes())
		checkResult(t, result, f)
		if result.Packets != 100 || result.Complete || result.Late != 0 || result.Sources[0].Err != nil || result.Sources[1].Err == nil {
			t.Errorf("result is %+v", result)
		}
	})
}

// A packet from the future holds up nobody and spoils nobody's order but its own.
func TestPacketFromTheFuture(t *testing.T) {
	future := epoch + int64(100*365*24*time.Hour)
	a := newRecording(1).packets(epoch, testPacket{0, future, 1, 60}).packets(epoch + 100).end(wire.EndStop)
	b := newRecording(1).packets(epoch+9, testPacket{0, epoch + 3, 2, 60}, testPacket{0, epoch + 8, 3, 60}).end(wire.EndStop)
	result, f := merge(t, Options{}, a.source("a"), b.source("b"))
	if !slices.Equal(f.numbers(), []uint32{2, 3, 1}) || result.Late != 0 {
		t.Errorf("late %d, order %v", result.Late, f.numbers())
	}
	source := newRecording(1).packets(1<<63-1, testPacket{0, 1<<63 - 1, 1, 60}).end(wire.EndStop).source("a")
	source.ClockOffsetNS = 1 << 62
	if _, f := merge(t, Options{}, source); f.packets[0].TimeNS() != 1<<63-1 {
		t.Errorf("time at the end of time is %d", f.packets[0].TimeNS())
	}
}

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

// Frames of all sizes, some longer than a slab, share memory without harm.
func TestFramesOfAllSizes(t *testing.T) {
	a, n := newRecording(1), uint32(0)
	for i := range 40 {
		var packets []testPacket
		for range []int{1, 3000, 0, 17, 900}[i%5] {
			packets = append(packets, testPacket{0, epoch + int64(n), n, 600})
			n++
		}
		a.packets(epoch+int64(n)-1, packets...)
	}
	_, f := merge(t, Options{}, a.end(wire.EndStop).source("a"))
	for i, got := range f.numbers() {
		if got != uint32(i) {
			t.Fatalf("packet %d is %d", i, got)
		}
	}
	if len(f.packets) != int(n) {
		t.Errorf("%d packets of %d", len(f.packets), n)
	}
}

// FuzzMerge makes streams that keep their promises from its input. Whatever they
// are, the file is in order and holds each packet once.
func FuzzMerge(f *testing.F) {
	f.Add([]byte("\x03abcdefghijklmnopqrstuvwxyz0123456789\x00\xff\x80\x7f"))
	f.Add([]byte{1})
	f.Add(bytes.Repeat([]byte{7, 255, 0, 3}, 40))
	f.Fuzz(func(t *testing.T, input []byte) {
		next := func() int {
			if len(input) == 0 {
				return 0
			}
			b := input[0]
			input = input[1:]
			return int(b)
		}
		var sources []Source
		var want []testPacket
		count := uint32(0)
		for range 1 + next()%5 {
			r, clock := newRecording(2), epoch
			for range next() % 8 {
				var frame []testPacket
				for range next() % 10 {
					// Younger than the last frame's promise, in any order.
					p := testPacket{uint32(next() % 2), clock + 1 + int64(next()), count, 4 + next()}
					count++
					frame = append(frame, p)
				}
				clock += int64(next()) // the promise; some packets are beyond it
				r.packets(clock, frame...)
				want = append(want, frame...)
			}
			sources = append(sources, r.end(wire.EndStop).source("n"))
		}
		result, got := merge(t, Options{}, sources...)
		if result.Late != 0 || !result.Complete {
			t.Errorf("late %d, complete %v", result.Late, result.Complete)
		}
		if !slices.IsSortedFunc(got.packets, func(a, b pcapng.Packet) int { return cmp.Compare(a.TimeNS(), b.TimeNS()) }) {
			t.Error("file is not in order")
		}
		numbers := got.numbers()
		slices.Sort(numbers)
		if len(numbers) != len(want) {
			t.Fatalf("%d packets of %d", len(numbers), len(want))
		}
		times := map[uint32]int64{}
		for _, p := range got.packets {
			times[number(p)] = p.TimeNS()
		}
		for i, p := range want {
			if numbers[i] != uint32(i) || times[p.number] != p.timeNS {
				t.Fatalf("packet %d is %d at %d, was at %d", i, numbers[i], times[p.number], p.timeNS)
			}
		}
	})
}

// Totals are read while the capture runs.
func TestTotalsWhileRunning(t *testing.T) {
	a := newRecording(1)
	for i := range 500 {
		a.packets(epoch+int64(i), testPacket{0, epoch + int64(i), uint32(i), 100})
	}
	var b bytes.Buffer
	out, _ := OpenOutput(Stdout, &b, Pcapng)
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
		io.CopyN(io.Discard, r, 2000)
		r.Close()
	}()
	a := newRecording(1)
	for i := range 2000 {
		a.packets(epoch+int64(i), testPacket{0, epoch + int64(i), uint32(i), 1000})
	}
	stops := 0
	out, _ := OpenOutput(Stdout, w, Pcapng)
	result, err := NewMerger([]Source{a.end(wire.EndStop).source("a")}, out, Options{Stop: func() { stops++ }}).Run(t.Context())
	if !errors.Is(err, ErrReaderClosed) || stops != 1 {
		t.Errorf("error is %v, stopped %d times", err, stops)
	}
	if result.Lost != 0 || result.Packets+result.Discarded != 2000 || result.Packets > 1 {
		t.Errorf("%d packets, %d discarded, %d lost", result.Packets, result.Discarded, result.Lost)
	}
}
