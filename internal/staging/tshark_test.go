//go:build linux && !unit

package staging

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubectl-retina/kubectl-retina/internal/archive"
	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
	"github.com/kubectl-retina/kubectl-retina/internal/tsharktest"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// stockReads has the stock programs read the first file, the one before the last,
// and the last, and returns what capinfos says of that.
func stockReads(t *testing.T, f *Files) (info string) {
	t.Helper()
	records := f.Records()
	if n := len(records); n > 3 {
		records = []archive.FileRecord{records[0], records[n-2], records[n-1]}
	}
	for _, r := range records {
		path := filepath.Join(f.config.Dir, r.Name)
		if n := strings.Count(tsharktest.Run(t, "tshark", "-r", path, "-n", "-T", "fields", "-e", "frame.time_epoch"), "\n"); n != int(r.Packets) {
			t.Errorf("tshark reads %d packets of %s, want %d", n, r.Name, r.Packets)
		}
		info = tsharktest.Run(t, "capinfos", path)
	}
	return info
}

func TestStockProgramsReadFiles(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"pcapng": func(*Config) {},
		"ring":   func(c *Config) { c.MaxFileBytes, c.FileCount = 100_000, 3 },
		"budget": func(c *Config) { c.Budget = 200_000 },
		"pcap":   func(c *Config) { c.Format, c.Head = "pcap", pcapng.AppendPcapHeader(nil, wire.LinkTypeEthernet, 65535) },
	} {
		t.Run(name, func(t *testing.T) {
			config := testConfig(t)
			change(&config)
			f := create(t, config)
			for i := range 10 {
				if _, err := f.Add(packets(i*100, 100, 500)); err != nil {
					t.Fatal(err)
				}
			}
			if err := f.Finish(stats(1000), epoch, epoch+1000); err != nil {
				t.Fatal(err)
			}
			info := stockReads(t, f)
			if config.Format == "pcapng" && strings.Count(info, "Number of stat entries = 1\n") < 2 {
				t.Errorf("capinfos says:\n%.3000s", info)
			}
			if incomplete := strings.Contains(info, "Capture comment:     incomplete: the node's disk was nearly full, "); incomplete != (name == "budget") {
				t.Errorf("capinfos says:\n%.3000s", info)
			}
		})
	}
}

// mount mounts a small file system.
func mount(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size="+size, "retina-test", dir).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v\n%s(mounting needs root; the unit tests run without: -tags unit)", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v\n%s", err, out)
		}
	})
	return dir
}

// On a disk that fills up the files are valid and honest, and the disk keeps a
// reserve: also where somebody else fills it, or the disk does not say how full it
// is.
func TestFullFileSystem(t *testing.T) {
	const size = 8 << 20
	unknown := func(string) (int64, int64, error) { return 0, 0, os.ErrInvalid }
	for name, change := range map[string]func(*Config){
		"reserve":          func(c *Config) { c.Free = nil },
		"no reserve":       func(c *Config) { c.Free = unknown },
		"ring":             func(c *Config) { c.Free, c.MaxFileBytes, c.FileCount = nil, 1_000_000, 100 },
		"ring, no reserve": func(c *Config) { c.Free, c.MaxFileBytes, c.FileCount = unknown, 1_000_000, 100 },
		"ring of large head": func(c *Config) {
			c.Free, c.MaxFileBytes, c.FileCount, c.Head = unknown, 200_000, 100, longHead(150_000)
		},
		"no room for a head": func(c *Config) {
			c.Free, c.MaxFileBytes, c.FileCount, c.Head = unknown, 4_000_000, 100, longHead(3_900_000)
		},
	} {
		t.Run(name, func(t *testing.T) {
			config := testConfig(t)
			config.Dir = mount(t, fmt.Sprint(size))
			change(&config)
			f := create(t, config)
			limit := NoLimit
			for i := range 200 {
				var err error
				if limit, err = f.Add(packets(i*100, 100, 1000)); err != nil {
					t.Fatal(err)
				}
			}
			if err := f.Finish(stats(20_000), epoch, epoch+1000); err != nil {
				t.Fatal(err)
			}
			totals := f.Totals()
			if limit != DiskLimit || totals.Limit != DiskLimit || totals.Packets+totals.Limited != 20_000 || totals.Overwritten != 0 {
				t.Errorf("limit %q, %+v", limit, totals)
			}
			free, _, err := freeBytes(config.Dir)
			if reserved := config.Free == nil; err != nil || reserved && free < size/20-f.room-4096 || !reserved && free > 200_000 && config.MaxFileBytes < 2_000_000 {
				t.Errorf("%d bytes are free, %v", free, err)
			}
			if len(config.Head) < 10_000 {
				consecutive(t, 0, check(t, f))
			}
			if info := stockReads(t, f); !strings.Contains(info, "incomplete: the node's disk was nearly full, ") || strings.Count(info, "Number of stat entries = 1\n") < 2 {
				t.Errorf("capinfos says:\n%.3000s", info)
			}
		})
	}
}

// longHead is a head of about n bytes.
func longHead(n int) []byte {
	section := pcapng.Section{}
	for ; n > 0; n -= 10_000 {
		section.Comments = append(section.Comments, strings.Repeat("x", 9_996))
	}
	b := section.Append(nil)
	for range 2 {
		b = pcapng.Interface{LinkType: wire.LinkTypeEthernet}.Append(b)
	}
	return b
}
