package staging

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

const epoch = int64(1_800_000_000_000_000_000)

// head is the beginning of a pcapng file with n interfaces.
func head(n int) []byte {
	b := pcapng.Section{Application: "test"}.Append(nil)
	for i := range n {
		b = pcapng.Interface{Name: fmt.Sprintf("eth%d", i), LinkType: wire.LinkTypeEthernet}.Append(b)
	}
	return b
}

// packets are n blocks with data of the given size on two interfaces in turn,
// whose numbers go on from first.
func packets(first, n, size int) []byte {
	var b []byte
	for i := range n {
		data := make([]byte, max(size, 4))
		binary.BigEndian.PutUint32(data, uint32(first+i))
		b = pcapng.AppendEPB(b, uint32((first+i)%2), epoch+int64(first+i), uint32(len(data)), 2000, pcapng.FlagInbound, data)
	}
	return b
}

// roomy is a file system without end.
func roomy(string) (free, total int64, err error) { return 1 << 50, 1 << 51, nil }

func testConfig(t testing.TB) Config {
	return Config{Dir: t.TempDir(), Base: "web-n1", Format: "pcapng", Head: head(2), Interfaces: 2, Free: roomy}
}

func create(t testing.TB, config Config) *Files {
	t.Helper()
	f, err := Create(config)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func stats(seen uint64) []wire.InterfaceStats {
	return []wire.InterfaceStats{{ID: 0, Seen: seen, Lost: 1}, {ID: 1, Seen: seen}}
}

// A content is what one file has.
type content struct {
	numbers    []int // of the packets
	statistics int
	comment    string
	bytes      int
}

func readPcapng(t testing.TB, path string) (c content) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(b, head(2)) {
		t.Errorf("%s does not begin with the head", path)
	}
	c.bytes = len(b)
	r := pcapng.NewReader(bytes.NewReader(b))
	for {
		block, err := r.Next()
		if err == io.EOF {
			return c
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		switch block.Type() {
		case pcapng.TypePacket:
			p, err := block.Packet()
			if err != nil || c.statistics > 0 {
				t.Fatalf("%s: packet: %v, after %d statistics", path, err, c.statistics)
			}
			c.numbers = append(c.numbers, int(binary.BigEndian.Uint32(p.Data())))
		case pcapng.TypeStatistics:
			c.statistics++
		case pcapng.TypeSection:
			options, err := block.Options()
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range options {
				if o.Code == pcapng.OptComment {
					c.comment = string(o.Value)
				}
			}
		}
	}
}

// finish finishes f and compares files, records and counts. It returns what is in
// the files.
func finish(t testing.TB, f *Files) (all []content) {
	t.Helper()
	if err := f.Finish(stats(100), epoch, epoch+1000); err != nil {
		t.Fatal(err)
	}
	return check(t, f)
}

func check(t testing.TB, f *Files) (all []content) {
	t.Helper()
	totals, byID := f.Totals(), make([]uint64, 2)
	var n uint64
	var size int64
	records := f.Records()
	for i, r := range records {
		path := filepath.Join(f.config.Dir, r.Name)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(b); r.SHA256 != hex.EncodeToString(sum[:]) || r.Bytes != int64(len(b)) {
			t.Errorf("%s: record %+v is of another file", path, r)
		}
		c := readPcapng(t, path)
		all = append(all, c)
		if uint64(len(c.numbers)) != r.Packets || r.First.IsZero() != (r.Packets == 0) ||
			r.Packets > 0 && (r.First.UnixNano() != epoch+int64(c.numbers[0]) || r.Last.UnixNano() != epoch+int64(c.numbers[len(c.numbers)-1])) {
			t.Errorf("%s: %d packets, record %+v", path, len(c.numbers), r)
		}
		if i < len(records)-1 && (c.statistics > 0 || c.comment != "") {
			t.Errorf("%s has statistics, but is not the last", path)
		}
		for _, number := range c.numbers {
			byID[number%2]++
		}
		n += r.Packets
		size += r.Bytes
	}
	entries, err := os.ReadDir(f.config.Dir)
	if err != nil || len(entries) != len(records) {
		t.Errorf("%d records of %d files, %v", len(records), len(entries), err)
	}
	if totals.Packets != n || totals.FileBytes != size || fmt.Sprint(f.InterfacePackets()) != fmt.Sprint(byID) {
		t.Errorf("totals %+v, by interface %v, but there are %d packets, %v, in %d bytes", totals, f.InterfacePackets(), n, byID, size)
	}
	return all
}

// consecutive says whether numbers count up by one, over all files.
func consecutive(t testing.TB, first int, all []content) {
	t.Helper()
	for _, c := range all {
		for _, n := range c.numbers {
			if n != first {
				t.Fatalf("packet %d, want %d", n, first)
			}
			first++
		}
	}
}

func TestOneFile(t *testing.T) {
	f := create(t, testConfig(t))
	for i := range 30 {
		if limit, err := f.Add(packets(i*100, 100, 1000)); limit != NoLimit || err != nil {
			t.Fatal(limit, err)
		}
	}
	all := finish(t, f)
	consecutive(t, 0, all)
	if totals := f.Totals(); len(all) != 1 || totals.Packets != 3000 || totals.CapBytes != 3_000_000 || all[0].statistics != 2 || all[0].comment != "" {
		t.Errorf("%+v, files %d", totals, len(all))
	}
	if name := f.Records()[0].Name; name != "web-n1.pcapng" {
		t.Errorf("file is %s", name)
	}
}

func TestPcap(t *testing.T) {
	config := testConfig(t)
	config.Format, config.Head = "pcap", pcapng.AppendPcapHeader(nil, wire.LinkTypeEthernet, 96)
	f, want := create(t, config), bytes.Clone(config.Head)
	blocks := packets(0, 3, 33)
	if _, err := f.Add(blocks); err != nil {
		t.Fatal(err)
	}
	for rest := blocks; len(rest) > 0; {
		var p pcapng.Packet
		p, rest, _ = pcapng.NextPacket(rest)
		want = pcapng.AppendPcapRecord(want, p)
	}
	if err := f.Finish(stats(3), epoch, epoch+1); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(config.Dir, "web-n1.pcap"))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%x, want %x: %v", got, want, err)
	}
}

func TestRing(t *testing.T) {
	for _, count := range []int{1, 2, 3} {
		config := testConfig(t)
		config.MaxFileBytes, config.FileCount = 40_000, count
		f := create(t, config)
		for i := range 20 {
			if limit, err := f.Add(packets(i*20, 20, 1000)); limit != NoLimit || err != nil {
				t.Fatal(limit, err)
			}
		}
		all := finish(t, f)
		totals := f.Totals()
		consecutive(t, int(totals.Overwritten), all)
		if len(all) != count || totals.Packets+totals.Overwritten != 400 || totals.Overwritten == 0 || totals.Limited+totals.Unwritten != 0 {
			t.Errorf("%d files, %+v", len(all), totals)
		}
		for i, r := range f.Records() {
			if r.Bytes > 40_000 || i < count-1 && r.Bytes < 35_000 || r.Name != fmt.Sprintf("web-n1-%06d.pcapng", f.began-count+1+i) {
				t.Errorf("file %d is %s with %d bytes", i, r.Name, r.Bytes)
			}
		}
	}
}

func TestLimits(t *testing.T) {
	nearlyFull := func(free int64) func(string) (int64, int64, error) {
		return func(string) (int64, int64, error) { return free, 100 << 20, nil }
	}
	for name, tt := range map[string]struct {
		change func(*Config)
		want   Limit
		// packets and bytes are the most that there may be, and nearly are
		packets uint64
		bytes   int64
	}{
		"packets":         {func(c *Config) { c.MaxPackets = 250 }, PacketLimit, 250, 0},
		"packets of ring": {func(c *Config) { c.MaxPackets, c.MaxFileBytes, c.FileCount = 250, 100_000, 100 }, PacketLimit, 250, 0},
		"size":            {func(c *Config) { c.MaxFileBytes = 500_000 }, SizeLimit, 0, 500_000},
		"budget":          {func(c *Config) { c.Budget = 500_000 }, DiskLimit, 0, 500_000},
		"budget of ring":  {func(c *Config) { c.Budget, c.MaxFileBytes, c.FileCount = 500_000, 100_000, 100 }, DiskLimit, 0, 500_000},
		"reserve":         {func(c *Config) { c.ReserveBytes, c.Free = 10<<20, nearlyFull(10<<20+500_000) }, DiskLimit, 0, 502_500},
		"policy":          {func(c *Config) { c.Free = nearlyFull(5<<20 + 500_000) }, DiskLimit, 0, 502_500},
	} {
		t.Run(name, func(t *testing.T) {
			config := testConfig(t)
			tt.change(&config)
			f := create(t, config)
			var first Limit
			for i := range 200 {
				limit, err := f.Add(packets(i*10, 10, 1000))
				if err != nil || first != NoLimit && limit != first {
					t.Fatalf("limit %q after %q, %v", limit, first, err)
				}
				first = limit
			}
			all := finish(t, f)
			consecutive(t, 0, all)
			totals := f.Totals()
			if first != tt.want || totals.Limit != tt.want || totals.Packets+totals.Limited != 2000 || totals.Limited == 0 {
				t.Errorf("limit %q, %+v", first, totals)
			}
			if tt.packets > 0 && totals.Packets != tt.packets {
				t.Errorf("%d packets, want %d", totals.Packets, tt.packets)
			}
			if tt.bytes > 0 && (totals.FileBytes > tt.bytes || totals.FileBytes < tt.bytes-6000) {
				t.Errorf("%d bytes, want at most %d, and nearly so many", totals.FileBytes, tt.bytes)
			}
			if comment := all[len(all)-1].comment; (tt.want == DiskLimit) != strings.HasPrefix(comment, "incomplete: the node's disk was nearly full, ") {
				t.Errorf("comment is %q", comment)
			}
		})
	}
}

// The disk fills up between two files of a ring: the last that could be begun is
// the last.
func TestRingOnFullDisk(t *testing.T) {
	config, asked := testConfig(t), 0
	config.ReserveBytes, config.MaxFileBytes, config.FileCount = 1, 40_000, 3
	config.Free = func(string) (int64, int64, error) {
		if asked++; asked == 5 { // for the third file: a file's head is one question, its packets another
			return 0, 1 << 30, nil
		}
		return roomy("")
	}
	f := create(t, config)
	limit := NoLimit
	for i := range 5 {
		var err error
		if limit, err = f.Add(packets(i*35, 35, 1000)); err != nil {
			t.Fatal(err)
		}
	}
	if limit != DiskLimit || f.began != 2 {
		t.Errorf("limit %q after %d files", limit, f.began)
	}
	all := finish(t, f)
	consecutive(t, 0, all)
	if last := all[len(all)-1]; last.statistics != 2 || !strings.HasPrefix(last.comment, "incomplete") || f.Totals().Limit != DiskLimit {
		t.Errorf("last file has %+v", last)
	}
}

func TestCreateRefuses(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"unknown format":       func(c *Config) { c.Format = "erf" },
		"packet file may have": func(c *Config) { c.MaxFileBytes = 100 },
		"packet files may":     func(c *Config) { c.Budget = 100 },
		"disk is nearly full":  func(c *Config) { c.Free = func(string) (int64, int64, error) { return 100, 1 << 30, nil } },
		"no such file":         func(c *Config) { c.Dir += "/missing" },
		"file exists":          func(c *Config) { _ = os.WriteFile(filepath.Join(c.Dir, "web-n1.pcapng"), nil, 0o600) },
	} {
		config := testConfig(t)
		change(&config)
		if _, err := Create(config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error with %q, got %v", want, err)
		}
	}
}

func TestAddRefuses(t *testing.T) {
	f := create(t, testConfig(t))
	good := packets(0, 1, 10)
	for want, blocks := range map[string][]byte{
		"no packet block":    append(bytes.Clone(good), "what is this, where blocks should be?"...),
		"interface 2 of 2":   pcapng.AppendEPB(bytes.Clone(good), 2, epoch, 1, 1, 0, []byte("x")),
		"are no packet bloc": append(bytes.Clone(good), 1),
	} {
		if _, err := f.Add(blocks); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error with %q, got %v", want, err)
		}
	}
	if finish(t, f); f.Totals().Packets != 3 {
		t.Errorf("%+v", f.Totals())
	}
}

// A file that fails for another reason than a full disk is an error, and every
// packet is counted all the same.
func TestFailingFile(t *testing.T) {
	f := create(t, testConfig(t))
	if _, err := f.Add(packets(0, 1000, 1000)); err != nil {
		t.Fatal(err)
	}
	f.current.out.Close()
	var failed error
	for i := range 3 {
		_, failed = f.Add(packets(1000*(i+1), 1000, 1000))
	}
	if !errors.Is(failed, os.ErrClosed) {
		t.Errorf("error is %v", failed)
	}
	if err := f.Finish(stats(4000), epoch, epoch); !errors.Is(err, os.ErrClosed) {
		t.Errorf("error is %v", err)
	}
	if totals := f.Totals(); totals.Unwritten != 4000 || totals.Packets+totals.Limited != 0 {
		t.Errorf("%+v", totals)
	}
}

// Totals are read while packets come.
func TestTotalsWhileRunning(t *testing.T) {
	config := testConfig(t)
	config.MaxFileBytes, config.FileCount = 40_000, 3
	f := create(t, config)
	var wait sync.WaitGroup
	done := make(chan struct{})
	wait.Go(func() {
		last := uint64(0)
		for {
			now := f.Totals()
			if sum := now.Packets + now.Overwritten; sum < last || sum%7 != 0 {
				t.Errorf("%+v after %d packets", now, last)
			} else {
				last = sum
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	for i := range 1000 {
		if _, err := f.Add(packets(i*7, 7, 100)); err != nil {
			t.Fatal(err)
		}
	}
	close(done)
	wait.Wait()
	finish(t, f)
}

func FuzzAdd(f *testing.F) {
	f.Add(packets(0, 3, 100), uint16(1000), uint8(2), uint16(0), uint16(60000))
	f.Add(packets(0, 3, 100), uint16(0), uint8(0), uint16(1500), uint16(1000))
	f.Fuzz(func(t *testing.T, blocks []byte, maxFile uint16, count uint8, budget, free uint16) {
		config := testConfig(t)
		config.MaxFileBytes, config.FileCount, config.Budget, config.ReserveBytes = int64(maxFile), int(count%4), int64(budget), 1
		config.Free = func(string) (int64, int64, error) { return int64(free), 1 << 20, nil }
		if config.FileCount > 0 && maxFile == 0 {
			return
		}
		files, err := Create(config)
		if err != nil {
			return
		}
		given := 0
		for rest := blocks; len(rest) > 0; given++ {
			p, next, err := pcapng.NextPacket(rest)
			if err != nil || p.Interface() > 1 {
				break
			}
			rest = next
		}
		for range 3 {
			_, _ = files.Add(blocks)
		}
		if err := files.Finish(stats(1), 1, 2); err != nil {
			t.Fatal(err)
		}
		totals := files.Totals()
		if n := totals.Packets + totals.Overwritten + totals.Limited + totals.Unwritten; n != 3*uint64(given) {
			t.Errorf("%d packets given, %+v", 3*given, totals)
		}
		for _, r := range files.Records() {
			path := filepath.Join(config.Dir, r.Name)
			info, err := os.Stat(path)
			if err != nil || info.Size() != r.Bytes || maxFile > 0 && r.Bytes > int64(maxFile) {
				t.Errorf("%+v: %v", r, err)
			}
			content, _ := os.ReadFile(path)
			reader := pcapng.NewReader(bytes.NewReader(content))
			for err == nil {
				_, err = reader.Next()
			}
			if err != io.EOF {
				t.Errorf("%s: %v", path, err)
			}
		}
	})
}

// BenchmarkAdd keeps packets in one file, and in a ring. TMPDIR says which disk.
func BenchmarkAdd(b *testing.B) {
	for _, size := range []int{64, 512, 1500} {
		for _, ring := range []bool{false, true} {
			b.Run(fmt.Sprintf("packet=%d/ring=%v", size, ring), func(b *testing.B) {
				blocks := packets(0, (256<<10)/(size+48), size)
				n := 0
				for rest := blocks; len(rest) > 0; n++ {
					_, rest, _ = pcapng.NextPacket(rest)
				}
				config := testConfig(b)
				config.Free = nil
				if ring {
					config.MaxFileBytes, config.FileCount = 64<<20, 4
				}
				f := create(b, config)
				b.SetBytes(int64(len(blocks)))
				b.ReportAllocs()
				for b.Loop() {
					if limit, err := f.Add(blocks); limit != NoLimit || err != nil {
						b.Fatal(limit, err)
					}
				}
				b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds()/1e6, "Mpackets/s")
			})
		}
	}
}
