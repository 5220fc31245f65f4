package capture

import (
	"bytes"
	"strings"
	"testing"

	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

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
	out, _ := OpenOutput(t.Context(), Stdout, &b, Pcapng)
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
