//go:build !windows

package capture

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// BenchmarkMerge merges the same packets from four nodes with our Merger and
// with Wireshark's mergecap, files to file, one after the other. MB/s are of the
// packet blocks; x-mergecap is how many times faster the Merger is, and
// x-mergecap-cpu how many times less processor time it takes, which says more on
// a machine that is busy or whose disk is slow. TMPDIR says which disk.
//
//	go test -run '^$' -bench Merge ./internal/capture
func BenchmarkMerge(b *testing.B) {
	for _, size := range []int{64, 512, 1500} {
		b.Run(fmt.Sprintf("packet=%d", size), func(b *testing.B) {
			set := newBenchSet(b, 4, (64<<20)/4/(size+48), size)
			var theirs, ours cost
			b.Run("by=mergecap", func(b *testing.B) { theirs = set.measure(b, syscall.RUSAGE_CHILDREN, set.mergecap) })
			b.Run("by=retina", func(b *testing.B) {
				ours = set.measure(b, syscall.RUSAGE_SELF, set.merge)
				if theirs.seconds > 0 {
					b.ReportMetric(theirs.seconds/ours.seconds, "x-mergecap")
					b.ReportMetric(theirs.cpuSeconds/ours.cpuSeconds, "x-mergecap-cpu")
				}
			})
		})
	}
}

type benchSet struct {
	dir     string
	nodes   int
	bytes   int64
	packets int64
}

// newBenchSet writes each node's packets as a pcapng file and as a collector's stream.
// Within 64 packets two neighbours are in disorder, as from several CPUs.
func newBenchSet(b *testing.B, nodes, perNode, size int) *benchSet {
	set := &benchSet{dir: b.TempDir(), nodes: nodes, packets: int64(nodes * perNode)}
	for node := range nodes {
		r := newRecording(1)
		sorted := pcapng.Interface{LinkType: 1}.Append(pcapng.Section{}.Append(nil))
		var frame []testPacket
		for i := range perNode {
			p := testPacket{timeNS: epoch + int64(i)*1000 + int64(node)*97, number: uint32(i), size: size}
			sorted = p.append(sorted)
			set.bytes += int64(pcapng.EPBLen(uint32(size), 1))
			frame = append(frame, p)
			if n := len(frame); n%64 == 63 {
				frame[n-1], frame[n-2] = frame[n-2], frame[n-1]
			}
			if len(frame)*(size+48) >= 256<<10 || i == perNode-1 {
				r.packets(p.timeNS-1000, frame...)
				frame = frame[:0]
			}
		}
		r.end(wire.EndStop)
		for name, content := range map[string][]byte{"pcapng": sorted, "stream": r.Bytes()} {
			if err := os.WriteFile(set.path(node, name), content, 0o600); err != nil {
				b.Fatal(err)
			}
		}
	}
	return set
}

func (s *benchSet) path(node int, name string) string {
	return filepath.Join(s.dir, fmt.Sprintf("%d.%s", node, name))
}

// A cost is what one merge takes.
type cost struct{ seconds, cpuSeconds float64 }

func (s *benchSet) measure(b *testing.B, who int, run func(b *testing.B)) cost {
	b.SetBytes(s.bytes)
	start, startCPU := time.Now(), cpuSeconds(b, who)
	for range b.N {
		run(b)
	}
	c := cost{time.Since(start).Seconds() / float64(b.N), (cpuSeconds(b, who) - startCPU) / float64(b.N)}
	b.ReportMetric(float64(s.packets)/c.seconds/1e6, "Mpackets/s")
	b.ReportMetric(c.cpuSeconds/float64(s.packets)*1e6, "cpu-s/Mpacket")
	return c
}

// cpuSeconds is the processor time that this process or its children have taken.
func cpuSeconds(b *testing.B, who int) float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(who, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}

func (s *benchSet) mergecap(b *testing.B) {
	args := []string{"-w", filepath.Join(s.dir, "mergecap.out")}
	for node := range s.nodes {
		args = append(args, s.path(node, "pcapng"))
	}
	if out, err := exec.Command("mergecap", args...).CombinedOutput(); err != nil {
		b.Fatalf("mergecap: %v\n%s", err, out)
	}
}

func (s *benchSet) merge(b *testing.B) {
	var sources []Source
	for node := range s.nodes {
		f, err := os.Open(s.path(node, "stream"))
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		sources = append(sources, Source{Node: fmt.Sprint(node), Frames: wire.NewReader(bufio.NewReaderSize(f, 64<<10)),
			Interfaces: []Interface{{Interface: pcapng.Interface{LinkType: 1}}}})
	}
	out, err := OpenOutput(b.Context(), filepath.Join(s.dir, "retina.out"), nil, Pcapng)
	if err != nil {
		b.Fatal(err)
	}
	defer out.Close()
	result, err := NewMerger(sources, out, Options{}).Run(b.Context())
	if err != nil || result.Packets != uint64(s.packets) || result.Late != 0 || !result.Complete {
		b.Fatalf("%d of %d packets, %d late, complete %v: %v", result.Packets, s.packets, result.Late, result.Complete, err)
	}
}
