//go:build linux && !unit

package ebpf_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/kubectl-retina/kubectl-retina/internal/pcapfilter"
	filterebpf "github.com/kubectl-retina/kubectl-retina/internal/pcapfilter/ebpf"
)

// A way is one of those that a packet reaches a filter in.
type way struct {
	name   string
	kind   ebpf.ProgramType
	link   pcapfilter.LinkType
	direct bool
	tagged bool // the kernel takes a VLAN tag out of the packet's bytes
}

var ways = []way{
	{"traffic control", ebpf.SchedCLS, pcapfilter.Ethernet, true, false},
	{"traffic control, bytes elsewhere", ebpf.SchedCLS, pcapfilter.Ethernet, false, false},
	{"traffic control, tag beside", ebpf.SchedCLS, pcapfilter.Ethernet, true, true},
	{"packet socket", ebpf.SocketFilter, pcapfilter.Raw, false, false}, // BPF_PROG_TEST_RUN gives it no Ethernet header
	{"raw", ebpf.LWTIn, pcapfilter.Raw, true, false},
	{"raw, bytes elsewhere", ebpf.LWTIn, pcapfilter.Raw, false, false},
}

const tpid, tci = 0x8100, 0x6123

// TestInline runs the corpus in every way that a packet can come.
func TestInline(t *testing.T) {
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Fatal(err)
	}
	for i, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			programs, runs, accepted, mismatches := 0, 0, 0, 0
			random := rand.New(rand.NewPCG(2, uint64(i)))
			for _, expr := range expressions(t) {
				p := compile(t, expr, w.link)
				if p == nil {
					continue
				}
				program := w.load(t, expr, p, 0, 0)
				programs++
				for _, frame := range w.frames(random, p) {
					sent, seen := w.packet(frame)
					result, err := program.Run(&ebpf.RunOptions{Data: sent})
					if errors.Is(err, unix.EINVAL) && len(sent) < 14+40 {
						continue // newer kernels refuse frames that end inside an IP header
					}
					if err != nil {
						t.Fatalf("%q: run with %d bytes: %v", expr, len(sent), err)
					}
					want := p.Match(seen, len(seen))
					runs++
					if want {
						accepted++
					}
					if (result != 0) != want {
						mismatches++
						t.Errorf("%q: eBPF says %d, classic %t for %x\n%s", expr, result, want, seen, p)
						break
					}
				}
				program.Close()
			}
			t.Logf("%d programs, %d runs in the kernel, %d accepted, mismatches=%d", programs, runs, accepted, mismatches)
			if programs < 400 || accepted < runs/20 {
				t.Errorf("%d programs accept %d of %d packets", programs, accepted, runs)
			}
		})
	}
}

// load makes a program that returns 1 for what p accepts.
func (w way) load(t *testing.T, expr string, p pcapfilter.Program, source, destination int32) *ebpf.Program {
	t.Helper()
	code, err := filterebpf.Inline(p, filterebpf.Hook{Direct: w.direct, Link: w.link})
	if err != nil {
		t.Fatalf("%q: %v", expr, err)
	}
	program := asm.Instructions{asm.Mov.Reg(asm.R6, asm.R1)}
	if w.tagged {
		program = append(program,
			asm.Mov.Imm(asm.R2, int32(binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, tpid)))),
			asm.Mov.Imm(asm.R3, tci),
			asm.FnSkbVlanPush.Call())
	}
	program = append(program, asm.Mov.Imm(asm.R7, source), asm.Mov.Imm(asm.R8, destination))
	program = append(append(program, code...), asm.JEq.Imm(asm.R0, 0, "out"), asm.Mov.Imm(asm.R0, 1), asm.Return().WithSymbol("out"))
	loaded, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: w.kind, Instructions: program, License: "Apache-2.0"})
	if err != nil {
		t.Fatalf("%q: the kernel refuses it: %v\n%s", expr, err, p)
	}
	return loaded
}

// frames are those that the program may let through, and others.
func (w way) frames(random *rand.Rand, p pcapfilter.Program) [][]byte {
	if w.link == pcapfilter.Raw {
		return frames(random, p, 14)
	}
	all := frames(random, p, 0)
	if w.tagged {
		for _, frame := range all {
			if len(frame) >= 18 && random.IntN(3) > 0 { // it has the tag already
				binary.BigEndian.PutUint16(frame[12:], tpid)
				binary.BigEndian.PutUint16(frame[14:], tci)
			}
		}
	}
	return all
}

// packet is what is given to the kernel for a frame, and what the filter should
// see of that.
func (w way) packet(frame []byte) (sent, seen []byte) {
	switch {
	case w.link == pcapfilter.Raw:
		return frame, frame[14:]
	case !w.tagged:
		return frame, frame
	case len(frame) >= 14+18 && binary.BigEndian.Uint16(frame[12:]) == tpid && binary.BigEndian.Uint16(frame[14:]) == tci:
		return slices.Concat(frame[:12], frame[16:]), frame
	}
	tag := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, tpid), tci)
	return frame, slices.Concat(frame[:12], tag, frame[12:])
}

// TestObjects gives filters the objects of addresses, in both ways of reading.
func TestObjects(t *testing.T) {
	filter, err := pcapfilter.Parse("pod a and not (src pod shop/b or dst ns c)")
	if err != nil {
		t.Fatal(err)
	}
	frame := make([]byte, 60)
	frame[12], frame[14] = 8, 0x45
	for _, w := range []way{ways[0], ways[1], ways[3]} {
		p, err := filter.Compile(w.link, pcapfilter.Options{LiveObjects: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct {
			source, destination int32
			want                uint32
		}{
			{0, 0, 0}, {1, 0, 1}, {0, 1, 1}, {1, 2, 1}, {3, 0, 0}, {1, 4, 0}, {5, 0, 1}, {2, 1, 0}, {1 << 30, 1<<30 | 1, 1},
		} {
			t.Run(fmt.Sprint(w.name, tt), func(t *testing.T) {
				program := w.load(t, "objects", p, tt.source, tt.destination)
				defer program.Close()
				got, err := program.Run(&ebpf.RunOptions{Data: frame})
				if err != nil || got != tt.want {
					t.Errorf("result %d, %v", got, err)
				}
			})
		}
	}
}
