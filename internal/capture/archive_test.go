package capture

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/kubectl-retina/kubectl-retina/internal/archive"
	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
	"github.com/kubectl-retina/kubectl-retina/internal/staging"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// A stored is a node's capture that becomes an archive.
type stored struct {
	node       string
	format     Format
	interfaces int
	linkType   uint16 // 0: Ethernet
	names      []pcapng.Name
	blocks     []byte
	lost       uint64 // on each interface
	reason     string
	correction int64
	config     func(*staging.Config)
	record     func(*archive.Record) // before it is written
}

// titled is the interface as the command describes it in the head.
func (s stored) titled(id int) Interface {
	linkType := s.linkType
	if linkType == 0 {
		linkType = wire.LinkTypeEthernet
	}
	return Interface{Target: uint32(10 + id), Interface: pcapng.Interface{
		Name: fmt.Sprintf("shop/web-%s/eth%d", s.node, id), Description: "node " + s.node, LinkType: linkType, SnapLen: 65535}}
}

// archive stages the packets and writes the archive. It returns its path and what
// staging has counted.
func (s stored) archive(t testing.TB) (string, staging.Totals) {
	t.Helper()
	if s.format == "" {
		s.format = Pcapng
	}
	var interfaces []Interface
	for id := range s.interfaces {
		interfaces = append(interfaces, s.titled(id))
	}
	head, err := Head(s.format, pcapng.Section{Application: "kubectl-retina"}, interfaces, s.names)
	if err != nil {
		t.Fatal(err)
	}
	base := archive.Name("capture", s.node, time.Unix(0, epoch))
	config := staging.Config{Dir: t.TempDir(), Base: base, Format: string(s.format), Head: head, Interfaces: s.interfaces,
		Free: func(string) (int64, int64, error) { return 1 << 50, 1 << 50, nil }}
	if s.config != nil {
		s.config(&config)
	}
	files, err := staging.Create(config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := files.Add(s.blocks); err != nil {
		t.Fatal(err)
	}
	part := archive.NodePart{Kernel: "Linux 6.18", Start: time.Unix(0, epoch), End: time.Unix(0, epoch+1e9), Reason: s.reason}
	var stats []wire.InterfaceStats
	for id := range s.interfaces {
		stats = append(stats, wire.InterfaceStats{ID: uint32(id), Lost: s.lost})
	}
	if err := files.Finish(stats, epoch, epoch+1e9); err != nil {
		t.Fatal(err)
	}
	part.Files = files.Records()
	for id, n := range files.InterfacePackets() {
		part.Interfaces = append(part.Interfaces, archive.InterfaceRecord{ID: uint32(id), Target: uint32(10 + id), Name: fmt.Sprintf("eth%d", id),
			LinkType: interfaces[id].LinkType, Packets: n, Seen: n + s.lost, Lost: s.lost})
	}
	record := archive.Record{NodePart: part, CommandPart: archive.CommandPart{Name: "capture", Node: s.node, Format: string(s.format), ClockCorrectionNS: s.correction}}
	for id := range s.interfaces {
		record.Targets = append(record.Targets, archive.Target{ID: uint32(10 + id), Kind: "Pod", Namespace: "shop", Name: "web-" + s.node})
	}
	if s.record != nil {
		s.record(&record)
	}
	command, _ := json.Marshal(record.CommandPart)
	b, err := archive.Complete(command, record.NodePart)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(config.Dir, archive.RecordFile), b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(config.Dir, "metadata"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(config.Dir, "metadata", "routes.txt"), bytes.Repeat([]byte("default\n"), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), base+archive.Extension)
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(archive.Write(out, config.Dir, base), out.Close()); err != nil {
		t.Fatal(err)
	}
	return path, files.Totals()
}

// tick is the time between two packets of a sequence, in ns.
const tick = 20_000

// sequence is n packets on interfaces in turn, whose numbers and times count from first
// in steps. Two neighbours in ten are in disorder, as from several CPUs.
func sequence(n, interfaces, size, first, step int) (blocks []byte) {
	var all []testPacket
	for i := range n {
		number := first + i*step
		all = append(all, testPacket{uint32(i % interfaces), epoch + int64(number)*tick, uint32(number), size})
	}
	for i := 9; i < n; i += 10 {
		all[i], all[i-1] = all[i-1], all[i]
	}
	for _, p := range all {
		blocks = p.append(blocks)
	}
	return blocks
}

func mergeArchives(t testing.TB, opts Options, paths ...string) (Result, file) {
	t.Helper()
	var b bytes.Buffer
	out, _ := OpenOutput(t.Context(), Stdout, &b, Pcapng)
	result, err := MergeArchives(t.Context(), paths, out, opts)
	if err != nil {
		t.Fatal(err)
	}
	f := readFile(t, b.Bytes())
	checkResult(t, result, f)
	return result, f
}

// counting are the numbers from 0 to n.
func counting(n int) (all []uint32) {
	for i := range n {
		all = append(all, uint32(i))
	}
	return all
}

func sum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func TestMergeArchives(t *testing.T) {
	const each = 20_000
	name := func(addr, name string) pcapng.Name { return pcapng.Name{Addr: netip.MustParseAddr(addr), Name: name} }
	var paths []string
	for i := range 3 {
		s := stored{node: fmt.Sprintf("n%d", i), interfaces: i + 1, blocks: sequence(each, i+1, 60, i, 3), lost: uint64(i), reason: wire.EndDuration,
			names: []pcapng.Name{name("10.0.0.1", "all"), name("10.0.1.1", fmt.Sprintf("own-%d", i))}}
		switch i {
		case 1: // a ring that is large enough
			s.config = func(c *staging.Config) { c.MaxFileBytes, c.FileCount = 200_000, 100 }
		case 2:
			s.reason, s.correction = wire.EndLimit, 500
			s.config = func(c *staging.Config) { c.MaxPackets = each - 100 }
		}
		path, _ := s.archive(t)
		paths = append(paths, path)
	}
	result, f := mergeArchives(t, Options{Names: []pcapng.Name{name("10.0.0.2", "mine"), name("10.0.0.1", "all")}}, paths...)
	want := slices.DeleteFunc(counting(3*each), func(n uint32) bool { return n%3 == 2 && n >= 3*(each-100) })
	if diff := gocmp.Diff(want, f.numbers()); diff != "" {
		t.Errorf("order differs (-want +got):\n%.500s", diff)
	}
	if !result.Complete || result.Late != 0 || result.Seen != uint64(len(want))+2+3*2 || result.Lost != 2+3*2 || len(f.comments) != 0 {
		t.Errorf("result is %+v, comments %q", result, f.comments)
	}
	if p := f.packets[2]; p.TimeNS() != epoch+2*tick+500 || p.Interface() != 3+2*0 {
		t.Errorf("corrected packet is on interface %d at %d", p.Interface(), p.TimeNS()-epoch)
	}
	last := result.Sources[2].Interfaces[1]
	if last.Name != "shop/web-n2/eth1" || last.Target != 11 || last.ID != 4 || last.Lost != 2 || !last.Counted {
		t.Errorf("interface is %+v", last)
	}
}

// The names of all archives are in the file, each once, and the time of the
// capture is that of the archives.
func TestMergedHead(t *testing.T) {
	var b bytes.Buffer
	all := pcapng.Name{Addr: netip.MustParseAddr("10.0.0.1"), Name: "all"}
	one := pcapng.Name{Addr: netip.MustParseAddr("10.0.0.2"), Name: "one"}
	first, _ := stored{node: "n1", interfaces: 1, reason: wire.EndStop, names: []pcapng.Name{all}}.archive(t)
	second, _ := stored{node: "n2", interfaces: 1, reason: wire.EndStop, names: []pcapng.Name{one, all}, correction: 5e9}.archive(t)
	out, _ := OpenOutput(t.Context(), Stdout, &b, Pcapng)
	if result, err := MergeArchives(t.Context(), []string{first, second}, out, Options{}); err != nil || !result.Complete || result.Packets != 0 {
		t.Fatal(result, err)
	}
	var names []pcapng.Name
	var times []byte
	for r := pcapng.NewReader(&b); ; {
		block, err := r.Next()
		if err != nil {
			break
		}
		if block.Type() == pcapng.TypeNames {
			names, _ = block.Names()
		} else if block.Type() == pcapng.TypeStatistics {
			times = bytes.Clone(block)
		}
	}
	if !slices.Equal(names, []pcapng.Name{all, one}) {
		t.Errorf("names are %v", names)
	}
	want := pcapng.Statistics{Interface: 1, TimeNS: epoch + 6e9, StartNS: epoch, EndNS: epoch + 6e9,
		Counts: []pcapng.Count{{Counter: pcapng.IfRecv}, {Counter: pcapng.IfDrop}, {Counter: pcapng.UsrDeliv}}}
	if !bytes.Equal(times, want.Append(nil)) {
		t.Errorf("statistics are %x, want %x", times, want.Append(nil))
	}
}

func TestMergePcapArchives(t *testing.T) {
	one, _ := stored{node: "n1", format: Pcap, interfaces: 1, blocks: sequence(100, 1, 60, 0, 2), reason: wire.EndStop, lost: 1}.archive(t)
	two, _ := stored{node: "n2", format: Pcap, interfaces: 2, blocks: sequence(100, 2, 60, 1, 2), reason: wire.EndStop, lost: 1,
		config: func(c *staging.Config) { c.MaxFileBytes, c.FileCount = 2000, 100 }}.archive(t)
	result, f := mergeArchives(t, Options{}, one, two)
	if !slices.Equal(f.numbers(), counting(200)) || !result.Complete || result.Lost != 3 {
		t.Errorf("result is %+v", result)
	}
	if i := result.Sources[0].Interfaces[0]; i.Name != "shop/web-n1/eth0" || i.LinkType != wire.LinkTypeEthernet || i.SnapLen != 65535 {
		t.Errorf("interface is %+v", i)
	}
	if i := result.Sources[1].Interfaces[0]; i.Name != "n2/any" || i.Description != "node n2, interfaces shop/web-n2/eth0 shop/web-n2/eth1" || i.Packets != 100 {
		t.Errorf("interface is %+v", i)
	}
}

// Packets that a ring has overwritten are not lost, and not missing.
func TestMergeOverwrittenRing(t *testing.T) {
	path, totals := stored{node: "n1", interfaces: 1, blocks: sequence(1000, 1, 60, 0, 1), reason: wire.EndStop,
		config: func(c *staging.Config) { c.MaxFileBytes, c.FileCount = 20_000, 2 }}.archive(t)
	result, f := mergeArchives(t, Options{}, path)
	if totals.Overwritten == 0 || result.Packets != totals.Packets || result.Seen != totals.Packets || !result.Complete || result.Lost != 0 ||
		number(f.packets[len(f.packets)-1]) != 999 {
		t.Errorf("staged %+v, result is %+v", totals, result)
	}
}

func TestMergeArchiveOfFullDisk(t *testing.T) {
	path, totals := stored{node: "n1", interfaces: 1, blocks: sequence(1000, 1, 60, 0, 1), reason: wire.EndDiskFull,
		config: func(c *staging.Config) { c.Budget = 20_000 }}.archive(t)
	result, f := mergeArchives(t, Options{}, path)
	if totals.Limited == 0 || result.Packets != totals.Packets || result.Complete || !strings.Contains(fmt.Sprint(f.comments), "disk was nearly full") {
		t.Errorf("staged %+v, result is %+v, comments %q", totals, result, f.comments)
	}
}

// An archive that is cut anywhere is an error that names it. What came before is
// kept, and the others are whole.
func TestMergeDamagedArchives(t *testing.T) {
	whole, _ := stored{node: "n1", interfaces: 1, blocks: sequence(2000, 1, 60, 0, 2), reason: wire.EndStop}.archive(t)
	hurt, _ := stored{node: "n2", interfaces: 1, blocks: sequence(2000, 1, 60, 1, 2), reason: wire.EndStop}.archive(t)
	b, err := os.ReadFile(hurt)
	if err != nil {
		t.Fatal(err)
	}
	kept := map[bool]int{}
	for _, n := range []int{0, 1, 100, 1000, len(b) / 2, len(b) - 8192, len(b) - 2048, len(b) - 20, len(b) - 1} {
		if err := os.WriteFile(hurt, b[:max(n, 0)], 0o600); err != nil {
			t.Fatal(err)
		}
		result, _ := mergeArchives(t, Options{}, whole, hurt)
		source := result.Sources[1]
		if result.Complete || source.Err == nil || !strings.Contains(source.Err.Error(), "archive capture-n2-") || result.Sources[0].Err != nil {
			t.Errorf("cut to %d of %d: %+v", n, len(b), result)
		}
		if got := result.Packets - 2000; got > 2000 || len(source.Interfaces) > 0 && result.Packets+result.Lost != 4000 {
			t.Errorf("cut to %d of %d: %d packets, %d lost", n, len(b), result.Packets, result.Lost)
		} else {
			kept[got > 0]++
		}
	}
	if kept[true] < 2 || kept[false] < 2 {
		t.Errorf("tests nothing: %v", kept)
	}
}

func TestArchivesThatContradictThemselves(t *testing.T) {
	good := func(change func(*archive.Record)) stored {
		return stored{node: "n1", interfaces: 2, blocks: sequence(10, 2, 60, 0, 1), reason: wire.EndStop, record: change}
	}
	for want, s := range map[string]stored{
		"sent 6 packets":          good(func(r *archive.Record) { r.NodePart.Interfaces[1].Packets++ }),
		"record has 1 interfaces": good(func(r *archive.Record) { r.NodePart.Interfaces = r.NodePart.Interfaces[:1] }),
		"no packet file":          good(func(r *archive.Record) { r.Files = nil }),
		"lacks other.pcapng": good(func(r *archive.Record) {
			r.Files = append(r.Files, archive.FileRecord{Name: "other.pcapng", SHA256: strings.Repeat("0", 64)})
		}),
		"has checksum":                good(func(r *archive.Record) { r.Files[0].SHA256 = strings.Repeat("0", 64) }),
		"collector ended early: \"\"": good(func(r *archive.Record) { r.Reason = "" }),
	} {
		path, _ := s.archive(t)
		result, _ := mergeArchives(t, Options{}, path)
		if err := result.Sources[0].Err; result.Complete || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error with %q, got %v", want, err)
		}
	}
}

func TestFilesOfOneRingMustAgree(t *testing.T) {
	a := stored{node: "n1", interfaces: 1}
	other := a.titled(0).Interface
	other.Name = "other"
	section := pcapng.Section{}.Append(nil)
	good := a.titled(0).Append(bytes.Clone(section))
	packet := func(id uint32, before []byte) []byte { return testPacket{id, epoch, 1, 60}.append(bytes.Clone(before)) }
	for _, tt := range []struct {
		want string
		file []byte
	}{
		{"other interfaces", other.Append(bytes.Clone(section))},
		{"packet on interface 1 of 1", packet(1, good)},
		{"packet on interface 1 of 1", packet(1, a.titled(0).Append(packet(0, good)))}, // an interface behind the first packet
		{"packet on interface 0 of 0", packet(0, section)},
		{"packet on interface 0 of 1", packet(0, append(packet(0, good), section...))}, // a second section
		{"not with a pcapng section", []byte("what is this, where blocks should be?")},
		{"unexpected EOF", nil},
	} {
		s := a
		s.reason, s.blocks = wire.EndStop, sequence(100, 1, 60, 0, 1)
		s.config = func(c *staging.Config) { c.MaxFileBytes, c.FileCount = 6000, 100 }
		path, _ := s.archive(t)
		result, _ := mergeArchives(t, Options{}, replaceFile(t, path, 1, tt.file))
		if err := result.Sources[0].Err; err == nil || !strings.Contains(err.Error(), tt.want) || result.Packets == 0 {
			t.Errorf("want an error with %q behind the first file, got %v, %d packets", tt.want, err, result.Packets)
		}
	}
}

// replaceFile writes the archive again with another packet file in the place of
// its nth.
func replaceFile(t *testing.T, path string, nth int, content []byte) string {
	t.Helper()
	in, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	r, err := archive.NewReader(in)
	if err != nil {
		t.Fatal(err)
	}
	dir, record := t.TempDir(), r.Record()
	for {
		entry, err := r.Next()
		if err == io.EOF {
			break
		}
		b, readErr := io.ReadAll(entry)
		if err := errors.Join(err, readErr); err != nil {
			t.Fatal(err)
		}
		if entry.Packets == nil {
			continue
		}
		if entry.Name == record.Files[nth].Name {
			b = content
		}
		if err := os.WriteFile(filepath.Join(dir, entry.Name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	record.Files[nth].Bytes, record.Files[nth].SHA256 = int64(len(content)), sum(content)
	command, _ := json.Marshal(record.CommandPart)
	b, err := archive.Complete(command, record.NodePart)
	if err != nil {
		t.Fatal(err)
	}
	var again bytes.Buffer
	if err := errors.Join(os.WriteFile(filepath.Join(dir, archive.RecordFile), b, 0o600), archive.Write(&again, dir, r.Base()), os.WriteFile(path, again.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
	return path
}

// A limit of the merged file ends the reading, and the counts agree all the same.
func TestLimitOfMergedArchives(t *testing.T) {
	var paths []string
	for i := range 2 {
		path, _ := stored{node: fmt.Sprintf("n%d", i), interfaces: 1, blocks: sequence(100_000, 1, 60, i, 2), reason: wire.EndStop, lost: 1}.archive(t)
		paths = append(paths, path)
	}
	result, f := mergeArchives(t, Options{MaxPackets: 10}, paths...)
	if !slices.Equal(f.numbers(), counting(10)) || result.Limit != PacketLimit || !result.Complete {
		t.Errorf("result is %+v", result)
	}
	if result.Discarded == 0 || result.Discarded > 150_000 || result.Lost != 2 {
		t.Errorf("%d packets were read for nothing, %d lost", result.Discarded, result.Lost)
	}
}

func TestMergeArchivesIsCancelled(t *testing.T) {
	path, _ := stored{node: "n1", interfaces: 1, blocks: sequence(100_000, 1, 60, 0, 1), reason: wire.EndStop}.archive(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	r, w := io.Pipe()
	go func() {
		_, _ = io.CopyN(io.Discard, r, 1000)
		cancel(enough)
		_, _ = io.Copy(io.Discard, r)
	}()
	out, _ := OpenOutput(t.Context(), Stdout, w, Pcapng)
	if result, err := MergeArchives(ctx, []string{path, path}, out, Options{}); !errors.Is(err, enough) || result.Complete {
		t.Errorf("error is %v, result %+v", err, result)
	}
	w.Close()
}

// However long the archives are and whatever their speed, what waits is little, and
// nothing is late: also where the window is far smaller than an archive.
func TestArchivesKeepPace(t *testing.T) {
	const nodes, each = 5, 30_000
	var paths []string
	for i := range nodes {
		path, _ := stored{node: fmt.Sprintf("n%d", i), interfaces: 1, blocks: sequence(each, 1, 200, i, nodes), reason: wire.EndStop}.archive(t)
		paths = append(paths, path)
	}
	// The first is silent for the second half, and then has one packet more.
	silent := sequence(each/2, 1, 200, 0, nodes)
	silent = testPacket{0, epoch + int64(nodes*each)*tick, nodes * each, 60}.append(silent)
	paths[0], _ = stored{node: "n0", interfaces: 1, blocks: silent, reason: wire.EndStop}.archive(t)
	result, f := mergeArchives(t, Options{WindowBytes: 2 << 20}, paths...)
	if result.Late != 0 || !result.Complete || result.Packets != nodes*each-each/2+1 || !slices.IsSorted(f.numbers()) {
		t.Errorf("%d packets, %d late, complete %v", result.Packets, result.Late, result.Complete)
	}
}

func TestOpenArchive(t *testing.T) {
	path, _ := stored{node: "n1", interfaces: 2, names: []pcapng.Name{{Addr: netip.MustParseAddr("::1"), Name: "a"}}}.archive(t)
	a, err := OpenArchive(path)
	if err != nil {
		t.Fatal(err)
	}
	if s := a.Source(); a.Record().Node != "n1" || len(a.Names()) != 1 || s.Node != "n1" || len(s.Interfaces) != 2 {
		t.Errorf("%+v", s)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if _, err := OpenArchive(path + "x"); err == nil || !strings.Contains(err.Error(), filepath.Base(path)+"x") {
		t.Errorf("error is %v", err)
	}
}

func FuzzArchive(f *testing.F) {
	path, _ := stored{node: "n1", interfaces: 2, blocks: sequence(10, 2, 20, 0, 1), reason: wire.EndStop,
		config: func(c *staging.Config) { c.MaxFileBytes, c.FileCount = 2500, 10 }}.archive(f)
	b, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "x.tar.gz")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		mergeArchives(t, Options{}, path)
	})
}

// BenchmarkMergeArchives merges four archives. MB/s are of the packet blocks.
func BenchmarkMergeArchives(b *testing.B) {
	const nodes, each, size = 4, 50_000, 512
	var paths []string
	for i := range nodes {
		path, _ := stored{node: fmt.Sprintf("n%d", i), interfaces: 1, blocks: sequence(each, 1, size, i, nodes), reason: wire.EndStop}.archive(b)
		paths = append(paths, path)
	}
	b.SetBytes(nodes * each * int64(pcapng.EPBLen(size, 1)))
	for b.Loop() {
		out, _ := OpenOutput(b.Context(), Stdout, io.Discard, Pcapng)
		if result, err := MergeArchives(b.Context(), paths, out, Options{}); err != nil || !result.Complete || result.Late > 0 || result.Packets != nodes*each {
			b.Fatalf("%+v, %v", result, err)
		}
	}
	b.ReportMetric(nodes*each*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mpackets/s")
}
