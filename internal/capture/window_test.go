package capture

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// While one node says nothing, the others' packets wait no longer than the window.
func TestWindowTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		silent, speak := context.WithCancel(t.Context())
		late := newRecording(1).packets(epoch+9, testPacket{0, epoch + 5, 3, 60}).end(wire.EndStop).source("late")
		late.Frames = &then{endless{silent}, late.Frames}
		a := newRecording(1).packets(epoch+100, testPacket{0, epoch + 1, 1, 60}, testPacket{0, epoch + 7, 2, 60}).end(wire.EndStop)

		var b bytes.Buffer
		out, _ := OpenOutput(t.Context(), Stdout, &b, Pcapng)
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
		out, _ := OpenOutput(t.Context(), Stdout, &b, Pcapng)
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

// Memory goes back to its pool: a long capture needs no more than a short one.
func TestMemoryIsReused(t *testing.T) {
	a := newRecording(1)
	for i := range 400 {
		var packets []testPacket
		for range 100 {
			packets = append(packets, testPacket{0, epoch + int64(i), 1, 1000})
		}
		a.packets(epoch+int64(i), packets...)
	}
	size := uint64(a.Len())
	source := a.end(wire.EndStop).source("a")
	out, _ := OpenOutput(t.Context(), Stdout, io.Discard, Pcapng)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if result, err := NewMerger([]Source{source}, out, Options{}).Run(t.Context()); err != nil || result.Packets != 40000 {
		t.Fatalf("%d packets, %v", result.Packets, err)
	}
	runtime.ReadMemStats(&after)
	// Under the race detector a pool forgets a quarter of what it is given.
	if used := after.TotalAlloc - before.TotalAlloc; used > size*6/10 {
		t.Errorf("%d bytes were allocated for a stream of %d", used, size)
	}
}

// What has arrived when the capture is given up is in the file.
func TestGivenUpWithPacketsWaiting(t *testing.T) {
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			b := newRecording(1).packets(epoch, testPacket{0, epoch, 1, 60}).source("b")
			b.Frames = &then{b.Frames, endless{ctx}}
			a := newRecording(1).end(wire.EndStop).source("a")
			var buf bytes.Buffer
			out, _ := OpenOutput(t.Context(), Stdout, &buf, Pcapng)
			m := NewMerger([]Source{a, b}, out, Options{Ended: func(int, error) {
				synctest.Wait() // until b's packet is in the channel
				cancel()
			}})
			result, err := m.Run(ctx)
			if err != nil && !errors.Is(err, context.Canceled) || result.Packets != 1 || result.Complete {
				t.Errorf("%d packets, complete %v, error %v", result.Packets, result.Complete, err)
			}
		})
	}
}
