package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// attached writes the frame that announces interfaces, the first of them with this
// ID, and makes room for their counts.
func (r *recording) attached(timeNS int64, interfaces ...wire.Interface) *recording {
	r.captured = append(r.captured, make([]uint64, len(interfaces))...)
	return r.json(wire.KindAttached, wire.Attached{Interfaces: interfaces, TimeNS: timeNS})
}

// joining describes new interfaces as a command does.
func joining(node string) func(wire.Attached) Joined {
	return func(a wire.Attached) (joined Joined) {
		for _, i := range a.Interfaces {
			joined.Interfaces = append(joined.Interfaces, Interface{Target: i.Target, Interface: pcapng.Interface{
				Name: "shop/new-" + node + "/" + i.Name, LinkType: i.LinkType, SnapLen: 262144,
			}})
			joined.Names = append(joined.Names, pcapng.Name{Addr: netip.MustParseAddr("192.0.2.7"), Name: "new-" + node})
		}
		return joined
	}
}

// joiningSources are two sources, of which each gets one more interface.
func joiningSources(linkType uint16) []Source {
	a, b := newRecording(1), newRecording(1)
	a.packets(epoch+5, testPacket{0, epoch, 0, 40})
	a.attached(epoch+10, wire.Interface{ID: 1, Target: 7, Name: "eth0", LinkType: linkType})
	a.packets(epoch+25, testPacket{1, epoch + 20, 2, 40})
	a.json(wire.KindGone, wire.Gone{Interface: 0, TimeNS: epoch + 30}).packets(epoch+60, testPacket{1, epoch + 50, 4, 40})
	b.packets(epoch+15, testPacket{0, epoch + 10, 1, 40}).attached(epoch+20, wire.Interface{ID: 1, Target: 8, Name: "eth1", LinkType: wire.LinkTypeEthernet})
	b.packets(epoch+60, testPacket{1, epoch + 30, 3, 40})
	sources := []Source{
		{Node: "a", Interfaces: a.source("a").Interfaces[:1], Frames: wire.NewReader(&a.end(wire.EndStop, 0, 3).Buffer), ClockOffsetNS: 1, Attached: joining("a")},
		{Node: "b", Interfaces: b.source("b").Interfaces[:1], Frames: wire.NewReader(&b.end(wire.EndStop).Buffer), Attached: joining("b")},
	}
	return sources
}

func TestInterfacesJoin(t *testing.T) {
	var b bytes.Buffer
	out, _ := OpenOutput(t.Context(), Stdout, &b, Pcapng)
	result, err := NewMerger(joiningSources(wire.LinkTypeEthernet), out, Options{}).Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f := readFile(t, b.Bytes()) // each interface comes before its packets
	checkResult(t, result, f)
	if !slices.Equal(f.numbers(), []uint32{0, 1, 2, 3, 4}) || f.interfaces != 4 || len(f.counts) != 4 {
		t.Errorf("packets %v, %d interfaces, statistics of %d", f.numbers(), f.interfaces, len(f.counts))
	}
	if !result.Complete || result.Lost != 3 || result.Seen != 8 {
		t.Errorf("%+v", result)
	}
	old, fresh := result.Sources[0].Interfaces[0], result.Sources[0].Interfaces[1]
	if !old.Gone || old.GoneNS != epoch+31 || old.JoinedNS != 0 || old.Packets != 1 {
		t.Errorf("old interface: %+v", old)
	}
	if fresh.Gone || fresh.JoinedNS != epoch+11 || fresh.Target != 7 || fresh.Packets != 2 || fresh.Lost != 3 || !fresh.Counted {
		t.Errorf("new interface: %+v", fresh)
	}
	// Its statistics begin when it joined, and those of the old one end when it went.
	times := statisticTimes(t, b.Bytes())
	if times[old.ID][1] != epoch+31 || times[fresh.ID][0] != epoch+11 {
		t.Errorf("times of statistics: %v", times)
	}
	if !bytes.Contains(b.Bytes(), []byte("new-a\x00")) || !bytes.Contains(b.Bytes(), []byte("new-b\x00")) {
		t.Error("the new names are not in the file")
	}
}

// statisticTimes returns the start and end of each interface's statistics.
func statisticTimes(t *testing.T, file []byte) map[uint32][2]int64 {
	t.Helper()
	times := map[uint32][2]int64{}
	for r := pcapng.NewReader(bytes.NewReader(file)); ; {
		block, err := r.Next()
		if err == io.EOF {
			return times
		}
		if err != nil {
			t.Fatal(err)
		}
		if block.Type() != pcapng.TypeStatistics {
			continue
		}
		options, err := block.Options()
		if err != nil {
			t.Fatal(err)
		}
		var both [2]int64
		for _, o := range options {
			if o.Code == 2 || o.Code == 3 { // isb_starttime, isb_endtime
				high, low := binary.LittleEndian.Uint32(o.Value), binary.LittleEndian.Uint32(o.Value[4:])
				both[o.Code-2] = int64(high)<<32 | int64(low)
			}
		}
		times[binary.LittleEndian.Uint32(block.Body())] = both
	}
}

func TestInterfaceThatPcapCannotHave(t *testing.T) {
	var b bytes.Buffer
	out, _ := OpenOutput(t.Context(), Stdout, &b, Pcap)
	result, err := NewMerger(joiningSources(wire.LinkTypeRaw), out, Options{}).Run(t.Context())
	if err != nil || !result.Complete || result.Packets != 3 || result.Discarded != 2 {
		t.Fatalf("%v, %+v", err, result)
	}
	if i := result.Sources[0].Interfaces[1]; !i.Absent || i.Packets != 0 || i.Discarded != 2 {
		t.Errorf("%+v", i)
	}
	if want := 24 + 3*(16+40); b.Len() != want {
		t.Errorf("%d bytes, want %d", b.Len(), want)
	}
}

// On a disk of any size the file is valid, whatever of it is cut off.
func TestFullDiskWhileInterfacesJoin(t *testing.T) {
	var whole bytes.Buffer
	out, _ := OpenOutput(t.Context(), Stdout, &whole, Pcapng)
	if _, err := NewMerger(joiningSources(wire.LinkTypeEthernet), out, Options{}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	for space := 0; space < whole.Len(); space++ {
		d := &disk{space: space}
		out := &Output{name: "disk", format: Pcapng, w: d, undo: d}
		result, err := NewMerger(joiningSources(wire.LinkTypeEthernet), out, Options{}).Run(t.Context())
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("space %d: %v", space, err)
		}
		if result.FileBytes == 0 {
			continue
		}
		f := readFile(t, d.bytes)
		checkResult(t, result, f)
		for id := range f.counts {
			if int(id) >= f.interfaces {
				t.Fatalf("space %d: statistics of interface %d of %d", space, id, f.interfaces)
			}
		}
		if result.Packets+result.Lost != 8 || result.Discarded != 0 {
			t.Fatalf("space %d: %+v", space, result)
		}
	}
}

func TestSizeLimitWhileInterfacesJoin(t *testing.T) {
	for limit := int64(500); limit < 2500; limit += 20 {
		var b bytes.Buffer
		out, _ := OpenOutput(t.Context(), Stdout, &b, Pcapng)
		result, err := NewMerger(joiningSources(wire.LinkTypeEthernet), out, Options{MaxBytes: limit}).Run(t.Context())
		if err != nil {
			continue // not even the header
		}
		f := readFile(t, b.Bytes())
		checkResult(t, result, f)
		if int64(b.Len()) > limit || result.Packets+result.Discarded != 5 || !result.Complete {
			t.Fatalf("limit %d: %d bytes, %+v", limit, b.Len(), result)
		}
	}
}

func TestStrangeAttachedFrames(t *testing.T) {
	for want, frame := range map[string]wire.Attached{
		"interface 3 in the place of 1": {Interfaces: []wire.Interface{{ID: 3, LinkType: 1}}},
		"unknown link type 999":         {Interfaces: []wire.Interface{{ID: 1, LinkType: 999}}},
	} {
		r := newRecording(1).json(wire.KindAttached, frame)
		source := r.end(wire.EndStop).source("a")
		source.Attached = joining("a")
		result, _ := merge(t, Options{}, source)
		if err := result.Sources[0].Err; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	r := newRecording(1).json(wire.KindAttached, wire.Attached{Interfaces: []wire.Interface{{ID: 1, LinkType: 1}}})
	source := r.end(wire.EndStop).source("a")
	source.Attached = func(wire.Attached) Joined { return Joined{} }
	if result, _ := merge(t, Options{}, source); result.Sources[0].Err == nil {
		t.Error("an interface that nobody describes was taken")
	}
}

func TestSourcesJoin(t *testing.T) {
	var b bytes.Buffer
	out, _ := OpenOutput(t.Context(), Stdout, &b, Pcapng)
	first := newRecording(1).packets(epoch+5, testPacket{0, epoch, 0, 40}).end(wire.EndStop).source("a")
	ended := make(chan int, 2)
	m := NewMerger([]Source{first}, out, Options{Ended: func(source int, _ error) { ended <- source }})
	done := make(chan Result)
	go func() {
		result, err := m.Run(t.Context())
		if err != nil {
			t.Error(err)
		}
		done <- result
	}()
	release, ok := m.Hold()
	if !ok {
		t.Fatal("the merge has ended before it began")
	}
	if got := <-ended; got != 0 {
		t.Errorf("source %d has ended", got)
	}
	// All sources have ended, and it goes on all the same.
	joined := newRecording(1).packets(epoch+25, testPacket{0, epoch + 20, 1, 40}).end(wire.EndStop).source("b")
	joined.Names = []pcapng.Name{{Addr: netip.MustParseAddr("192.0.2.7"), Name: "new"}}
	if index, ok := m.Add(joined); !ok || index != 1 {
		t.Errorf("added as %d, %v", index, ok)
	}
	if got := <-ended; got != 1 {
		t.Errorf("source %d has ended", got)
	}
	m.Name([]pcapng.Name{{Addr: netip.MustParseAddr("192.0.2.7"), Name: "newer"}})
	release()
	result := <-done
	m.Name([]pcapng.Name{{Addr: netip.MustParseAddr("192.0.2.7"), Name: "too late"}})
	f := readFile(t, b.Bytes())
	checkResult(t, result, f)
	if !result.Complete || !slices.Equal(f.numbers(), []uint32{0, 1}) || len(result.Sources) != 2 || !bytes.Contains(b.Bytes(), []byte("new\x00")) || !bytes.Contains(b.Bytes(), []byte("newer\x00")) {
		t.Errorf("packets %v, %+v", f.numbers(), result)
	}
	if _, ok := m.Add(joined); ok {
		t.Error("a merge that has ended took a source")
	}
	if _, ok := m.Hold(); ok {
		t.Error("a merge that has ended is held")
	}
	if totals := m.Totals(); totals.Packets != 2 || totals.Seen != 2 {
		t.Errorf("totals %+v", totals)
	}
}
