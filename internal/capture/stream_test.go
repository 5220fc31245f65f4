package capture

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"testing"

	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// epoch is a time after all offsets that tests use.
const epoch = int64(1_800_000_000_000_000_000)

// A recording is a collector's stream, being written.
type recording struct {
	bytes.Buffer
	w        *wire.Writer
	captured []uint64 // by interface
	seen     uint64
	lost     uint64 // said in the headers of packets only
}

func newRecording(interfaces int) *recording {
	r := &recording{captured: make([]uint64, interfaces)}
	r.w = wire.NewWriter(&r.Buffer)
	return r
}

// A testPacket is a packet of a test: its data is its number, so that it can be
// told from all others.
type testPacket struct {
	id     uint32
	timeNS int64
	number uint32
	size   int // captured bytes, at least 4
}

func (p testPacket) append(dst []byte) []byte {
	data := make([]byte, max(p.size, 4))
	binary.BigEndian.PutUint32(data, p.number)
	return pcapng.AppendEPB(dst, p.id, p.timeNS, uint32(len(data)), uint32(len(data))+10, pcapng.FlagInbound, data)
}

func number(p pcapng.Packet) uint32 { return binary.BigEndian.Uint32(p.Data()) }

// packets writes one frame.
func (r *recording) packets(completeNS int64, packets ...testPacket) *recording {
	payload := make([]byte, wire.PacketsHeaderLen)
	for _, p := range packets {
		payload = p.append(payload)
		r.captured[p.id]++
		r.seen++
	}
	wire.PacketsHeader{CompleteNS: completeNS, Seen: r.seen, Lost: r.lost}.Put(payload)
	return r.frame(wire.KindPackets, payload)
}

func (r *recording) frame(kind wire.Kind, payload []byte) *recording {
	if err := r.w.WriteFrame(kind, payload); err != nil {
		panic(err)
	}
	return r
}

func (r *recording) json(kind wire.Kind, message any) *recording {
	if err := r.w.WriteJSON(kind, message); err != nil {
		panic(err)
	}
	return r
}

// end writes an End frame. lost are the packets lost, by interface.
func (r *recording) end(reason string, lost ...uint64) *recording {
	end := wire.End{Reason: reason}
	for id, captured := range r.captured {
		s := wire.InterfaceStats{ID: uint32(id), Captured: captured, Seen: captured, SeenBytes: 100 * captured}
		if id < len(lost) {
			s.Lost = lost[id]
			s.Seen += lost[id]
		}
		end.Interfaces = append(end.Interfaces, s)
	}
	if err := r.w.WriteEnd(end); err != nil {
		panic(err)
	}
	return r
}

// source makes the recording readable.
func (r *recording) source(node string) Source {
	s := Source{Node: node, Frames: wire.NewReader(&r.Buffer)}
	for id := range r.captured {
		s.Interfaces = append(s.Interfaces, Interface{Target: uint32(10 * id), Interface: pcapng.Interface{
			Name: fmt.Sprintf("shop/web-%s/eth%d", node, id), Description: "node " + node, LinkType: 1, SnapLen: 262144,
		}})
	}
	return s
}

// A file is what a test finds in a capture file.
type file struct {
	interfaces int // of the first section
	packets    []pcapng.Packet
	counts     map[uint32]map[uint16]uint64 // by interface and counter
	comments   []string                     // of all blocks, in order
	bytes      int
}

// readFile reads a pcapng file, which must be valid to its last byte.
func readFile(t testing.TB, b []byte) file {
	t.Helper()
	f := file{counts: map[uint32]map[uint16]uint64{}, bytes: len(b)}
	r := pcapng.NewReader(bytes.NewReader(b))
	sections := 0
	for {
		block, err := r.Next()
		if err == io.EOF {
			return f
		}
		if err != nil {
			t.Fatalf("file of %d bytes: %v", len(b), err)
		}
		options, err := block.Options()
		if err != nil {
			t.Fatalf("block of type %#x: %v", block.Type(), err)
		}
		for _, o := range options {
			if o.Code == pcapng.OptComment {
				f.comments = append(f.comments, string(o.Value))
			}
		}
		switch block.Type() {
		case pcapng.TypeSection:
			sections++
		case pcapng.TypeInterface:
			f.interfaces++
		case pcapng.TypeStatistics:
			counts := map[uint16]uint64{}
			for _, o := range options {
				if o.Code >= pcapng.IfRecv {
					counts[o.Code] = binary.LittleEndian.Uint64(o.Value)
				}
			}
			f.counts[binary.LittleEndian.Uint32(block.Body())] = counts
		case pcapng.TypePacket:
			p, err := block.Packet()
			if err != nil {
				t.Fatal(err)
			}
			if int(p.Interface()) >= f.interfaces || sections != 1 {
				t.Fatalf("packet on interface %d of %d in section %d", p.Interface(), f.interfaces, sections)
			}
			f.packets = append(f.packets, bytes.Clone(p))
		}
	}
}

func (f file) numbers() []uint32 {
	numbers := make([]uint32, 0, len(f.packets))
	for _, p := range f.packets {
		numbers = append(numbers, number(p))
	}
	return numbers
}

// merge runs a Merger into memory.
func merge(t testing.TB, opts Options, sources ...Source) (Result, file) {
	t.Helper()
	var b bytes.Buffer
	out, err := OpenOutput(t.Context(), Stdout, &b, Pcapng)
	if err != nil {
		t.Fatal(err)
	}
	result, err := NewMerger(sources, out, opts).Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f := readFile(t, b.Bytes())
	checkResult(t, result, f)
	return result, f
}

// checkResult holds a Result against the file that it is about.
func checkResult(t testing.TB, r Result, f file) {
	t.Helper()
	var packets, capBytes, wireBytes uint64
	perInterface := map[uint32]uint64{}
	for _, p := range f.packets {
		packets++
		capBytes += uint64(p.CapLen())
		wireBytes += uint64(p.WireLen())
		perInterface[p.Interface()]++
	}
	if r.Packets != packets || r.CapBytes != capBytes || r.WireBytes != wireBytes || r.FileBytes != int64(f.bytes) {
		t.Errorf("result has %d packets, %d and %d bytes in %d; file has %d, %d, %d in %d",
			r.Packets, r.CapBytes, r.WireBytes, r.FileBytes, packets, capBytes, wireBytes, f.bytes)
	}
	for _, s := range r.Sources {
		for _, i := range s.Interfaces {
			if i.Packets != perInterface[i.ID] {
				t.Errorf("%s: result has %d packets, file has %d", i.Name, i.Packets, perInterface[i.ID])
			}
			if i.Counted && i.Seen != i.Packets+i.Lost+i.Discarded {
				t.Errorf("%s: saw %d packets: %d in the file, %d lost, %d discarded", i.Name, i.Seen, i.Packets, i.Lost, i.Discarded)
			}
			counts, ok := f.counts[i.ID]
			if !ok {
				continue // only after a full disk; its test looks
			}
			if counts[pcapng.UsrDeliv] != i.Packets {
				t.Errorf("%s: statistics count %d packets, file has %d", i.Name, counts[pcapng.UsrDeliv], i.Packets)
			}
			if _, counted := counts[pcapng.IfRecv]; counted != i.Counted || counted && (counts[pcapng.IfRecv] != i.Seen || counts[pcapng.IfDrop] != i.Lost) {
				t.Errorf("%s: statistics are %v, result is %+v", i.Name, counts, i)
			}
		}
	}
}
