//go:build linux && !unit

package ebpf_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/kubectl-retina/kubectl-retina/internal/pcapfilter"
	filterebpf "github.com/kubectl-retina/kubectl-retina/internal/pcapfilter/ebpf"
)

// Offsets in struct __sk_buff.
const (
	skbLen     = 0
	skbData    = 76
	skbDataEnd = 80
)

// notSeen is how many bytes of each packet the programs do not see.
const notSeen = 7

// wrap makes a program for BPF_PROG_TEST_RUN. It returns 1 for a packet that is
// accepted.
func wrap(t *testing.T, p pcapfilter.Program) asm.Instructions {
	t.Helper()
	filter, err := filterebpf.Compile(p, filterebpf.Options{
		Registers: filterebpf.Registers{
			PacketStart: asm.R6, PacketEnd: asm.R7, Length: asm.R8,
			Working: [4]asm.Register{asm.R0, asm.R1, asm.R2, asm.R3},
		},
		Result: asm.R0, Next: "done", Prefix: "filter",
	})
	if err != nil {
		t.Fatal(err)
	}
	// A length that is not the number of bytes: only the Length register knows it.
	program := asm.Instructions{
		asm.LoadMem(asm.R6, asm.R1, skbData, asm.Word),
		asm.LoadMem(asm.R7, asm.R1, skbDataEnd, asm.Word),
		asm.LoadMem(asm.R8, asm.R1, skbLen, asm.Word),
		asm.Add.Imm(asm.R8, notSeen),
	}
	program = append(program, filter...)
	return append(program,
		asm.JEq.Imm(asm.R0, 0, "out").WithSymbol("done"),
		asm.Mov.Imm(asm.R0, 1),
		asm.Return().WithSymbol("out"),
	)
}

// programTypes see packets with their Ethernet header, and without it, and their bytes
// in a test run too (those of cgroups do not on older kernels). The kernel
// wants frames with one for both.
var programTypes = map[pcapfilter.LinkType]ebpf.ProgramType{pcapfilter.Ethernet: ebpf.SchedCLS, pcapfilter.Raw: ebpf.LWTIn}

func load(t *testing.T, expr string, link pcapfilter.LinkType, p pcapfilter.Program) *ebpf.Program {
	t.Helper()
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: programTypes[link], Instructions: wrap(t, p), License: "Apache-2.0"})
	if err != nil {
		t.Fatalf("%q: the kernel refuses it: %v\n%s", expr, err, p)
	}
	return program
}

// expressions are the corpus of the differential test, and what the kernel and
// libpcap would do differently without care.
func expressions(t *testing.T) []string {
	t.Helper()
	content, err := os.ReadFile("../testdata/corpus.txt")
	if err != nil {
		t.Fatal(err)
	}
	return append(strings.Split(string(content), "\n"),
		"ip[0] << ip[8] = 0", "ip[0] >> ip[8] = 0", "1 << ip[9] > 5", "ip[ip[12:4]] = 5", "ip[ip[0] - 70] = 0", "ether[ether[0:4]:2] = 5",
		"tcp[0 - ip[0] + 69] = 0", "ip[0] / (ip[1] & 1) = 69", "ip[0] % ip[1] = 0", "len - ip[2:2] = 14", "len = 60 or len > 100")
}

// compile returns nil for what is no filter.
func compile(t *testing.T, expr string, link pcapfilter.LinkType) pcapfilter.Program {
	t.Helper()
	filter, err := pcapfilter.Parse(expr)
	if err != nil || strings.HasPrefix(expr, "#") {
		return nil
	}
	p, err := filter.Compile(link, pcapfilter.Options{
		Netmask:  netip.MustParseAddr("255.255.0.0"),
		Resolver: func(string) ([]netip.Addr, error) { return []netip.Addr{netip.MustParseAddr("10.1.2.3")}, nil },
	})
	if err != nil {
		return nil
	}
	return p
}

func TestLikeClassic(t *testing.T) {
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Fatal(err)
	}
	for _, link := range []pcapfilter.LinkType{pcapfilter.Ethernet, pcapfilter.Raw} {
		t.Run(link.String(), func(t *testing.T) {
			skip := 0
			if link == pcapfilter.Raw {
				skip = 14
			}
			programs, runs, accepted, mismatches := 0, 0, 0, 0
			random := rand.New(rand.NewPCG(1, uint64(link)))
			for _, expr := range expressions(t) {
				p := compile(t, expr, link)
				if p == nil {
					continue
				}
				program := load(t, expr, link, p)
				programs++
				for _, frame := range frames(random, p, skip) {
					packet := frame[skip:]
					want := p.Match(packet, len(packet)+notSeen)
					result, err := program.Run(&ebpf.RunOptions{Data: frame})
					if errors.Is(err, unix.EINVAL) && len(frame) < 14+40 {
						continue // newer kernels refuse frames that end inside an IP header
					}
					if err != nil {
						t.Fatalf("%q: run with %d bytes: %v", expr, len(frame), err)
					}
					runs++
					if want {
						accepted++
					}
					if (result != 0) != want {
						mismatches++
						t.Errorf("%q on %s: eBPF says %d, classic %t for %x\n%s", expr, link, result, want, packet, p)
						break
					}
				}
				program.Close()
			}
			t.Logf("%s: %d programs, %d runs in the kernel, %d accepted, mismatches=%d", link, programs, runs, accepted, mismatches)
			if programs < 400 || accepted < runs/20 {
				t.Errorf("%d programs accept %d of %d packets", programs, accepted, runs)
			}
		})
	}
}

// frames are packets behind skip bytes: of several kinds, cut off at some places,
// and with what the program looks for at the offsets that it names.
func frames(random *rand.Rand, p pcapfilter.Program, skip int) [][]byte {
	var all [][]byte
	for range 60 {
		frame := make([]byte, skip+60+random.IntN(120))
		for i := range frame {
			frame[i] = byte(random.Uint32())
		}
		network := frame[max(14, skip):]
		etype := []uint16{0x0800, 0x0800, 0x86dd, 0x0806, 0x8100, 0x8847, 0x8864}[random.IntN(7)]
		binary.BigEndian.PutUint16(frame[12:], etype)
		network[0] = []byte{0x45, 0x46, 0x60, 0x4f}[random.IntN(4)]
		if etype == 0x0800 {
			network[0] = 0x45
			binary.BigEndian.PutUint16(network[6:], 0)
			network[9] = []byte{6, 17, 1, 132}[random.IntN(4)]
		}
		set := random.IntN(4) // in a quarter of the packets nothing else
		for i, at := 0, -1; i < len(p) && set > 0; i++ {
			switch in := p[i]; {
			case in.Op&7 == 0 && in.Op&0xe0 == 0x20:
				at = skip + int(in.K)
			case in.Op&7 == 0 && in.Op&0xe0 == 0x40:
				at = skip + int(in.K) + 20
			case in.Op&15 == 5 && in.Op&0xf0 == 0x10 && at >= 0 && random.IntN(set+1) > 0:
				value := bytes.TrimLeft(binary.BigEndian.AppendUint32(nil, in.K), "\x00")
				if at+len(value) <= len(frame) && at < 1<<16 {
					copy(frame[at:], value)
				}
			}
		}
		if random.IntN(4) == 0 {
			frame = frame[:max(15, random.IntN(len(frame)))] // the kernel wants an Ethernet header
		}
		if len(frame) > skip {
			all = append(all, frame)
		}
	}
	return all
}
