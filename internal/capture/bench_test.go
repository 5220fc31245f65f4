package capture

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// BenchmarkMerge merges the same packets from four nodes with our Merger and
// with Wireshark's mergecap, files to file. MB/s are of the pcapng blocks; x-mergecap
// is how much faster the Merger is.
//
//	go test -run '^$' -bench Merge ./internal/capture
func BenchmarkMerge(b *testing.B) {
	for _, size := range []int{64, 512, 1500} {
		b.Run(fmt.Sprintf("packet=%d", size), func(b *testing.B) {
			set := newBenchSet(b, 4, (64<<20)/4/(size+48), size)
			var perOp [2]float64
			b.Run("by=mergecap", func(b *testing.B) { perOp[0] = set.measure(b, set.mergecap) })
			b.Run("by=retina", func(b *testing.B) {
				perOp[1] = set.measure(b, set.merge)
				if perOp[0] > 0 {
					b.ReportMetric(perOp[0]/perOp[1], "x-mergecap")
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

func (s *benchSet) measure(b *testing.B, run func(b *testing.B)) (secondsPerOp float64) {
	b.SetBytes(s.bytes)
	start := time.Now()
	for range b.N {
		run(b)
	}
	elapsed := time.Since(start).Seconds()
	b.ReportMetric(float64(s.packets)*float64(b.N)/elapsed/1e6, "Mpackets/s")
	return elapsed / float64(b.N)
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
	out, err := OpenOutput(filepath.Join(s.dir, "retina.out"), nil, Pcapng)
	if err != nil {
		b.Fatal(err)
	}
	defer out.Close()
	result, err := NewMerger(sources, out, Options{}).Run(b.Context())
	if err != nil || result.Packets != uint64(s.packets) || result.Late != 0 || !result.Complete {
		b.Fatalf("%d of %d packets, %d late, complete %v: %v", result.Packets, s.packets, result.Late, result.Complete, err)
	}
}
