package capture

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

func TestOpenOutputRefuses(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, path, wantErr string
		wantHint            bool
	}{
		{"no name", "", "no name", false},
		{"missing directory", filepath.Join(dir, "missing", "x.pcapng"), "missing does not exist", true},
		{"directory", dir, "is a directory", true},
		{"file as directory", filepath.Join(dir, "file", "x.pcapng"), "not a directory", false},
		{"name too long", filepath.Join(dir, strings.Repeat("x", 300)), "too long", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, err := OpenOutput(t.Context(), tt.path, nil, Pcapng)
			if err == nil {
				_ = out.Discard()
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), tt.wantErr) || (hint.Of(err) != "") != tt.wantHint {
				t.Errorf("error is %q with hint %q", err, hint.Of(err))
			}
		})
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("directory has %v, %v", entries, err)
	}
}

func TestDiscard(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.pcapng")
	out, err := OpenOutput(t.Context(), path, nil, Pcapng)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("new file is %v, %v", info, err)
	}
	if err := out.Discard(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("file is still there: %v", err)
	}
	// What was there before stays.
	if err := os.WriteFile(path, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err = OpenOutput(t.Context(), path, nil, Pcapng); err != nil {
		t.Fatal(err)
	}
	if err := out.Discard(); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "mine" {
		t.Errorf("file is %q, %v", b, err)
	}
}

func TestExistingFileIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.pcapng")
	if err := os.WriteFile(path, bytes.Repeat([]byte("old"), 10000), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := OpenOutput(t.Context(), path, nil, Pcapng)
	if err != nil {
		t.Fatal(err)
	}
	source := newRecording(1).packets(epoch, testPacket{0, epoch, 1, 60}).end(wire.EndStop).source("a")
	result, err := NewMerger([]Source{source}, out, Options{}).Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(out.Close(), out.Close()); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f := readFile(t, b)
	checkResult(t, result, f)
	if len(f.packets) != 1 || out.Name() != path {
		t.Errorf("%d packets in %s", len(f.packets), out.Name())
	}
}

func TestParseFormat(t *testing.T) {
	for _, name := range []string{"pcap", "pcapng"} {
		if f, err := ParseFormat(name); err != nil || string(f) != name {
			t.Errorf("%q is %q, %v", name, f, err)
		}
	}
	if _, err := ParseFormat("PCAP"); err == nil {
		t.Error("PCAP is accepted")
	}
}

func TestPcapHasOneLinkType(t *testing.T) {
	var b bytes.Buffer
	out, _ := OpenOutput(t.Context(), Stdout, &b, Pcap)
	ethernet, raw := newRecording(1).source("a"), newRecording(1).source("b")
	raw.Interfaces[0].LinkType = wire.LinkTypeRaw
	_, err := NewMerger([]Source{ethernet, raw}, out, Options{}).Run(t.Context())
	if err == nil || hint.Of(err) == "" || b.Len() != 0 {
		t.Errorf("%d bytes, error %v", b.Len(), err)
	}
}

// A disk is a file on a disk with little space.
type disk struct {
	space int
	bytes []byte
}

func (d *disk) Write(b []byte) (int, error) {
	n := min(len(b), d.space-len(d.bytes))
	d.bytes = append(d.bytes, b[:n]...)
	if n < len(b) {
		return n, syscall.ENOSPC
	}
	return n, nil
}

func (d *disk) Truncate(size int64) error {
	if size > int64(len(d.bytes)) {
		return errors.New("file would grow")
	}
	d.bytes = d.bytes[:size]
	return nil
}

func (d *disk) Seek(offset int64, whence int) (int64, error) {
	if whence != io.SeekStart || offset != int64(len(d.bytes)) {
		return 0, errors.New("not at the end")
	}
	return offset, nil
}

// fullDiskSources are three interfaces with 60 packets of different sizes, one
// at a time, so that every frame may be a write of its own.
func fullDiskSources() []Source {
	a, b := newRecording(2), newRecording(1)
	for i := range 20 {
		at := epoch + int64(i)*10
		a.packets(at+5, testPacket{0, at, uint32(3 * i), 4 + 13*i}, testPacket{1, at + 1, uint32(3*i + 1), 50})
		b.packets(at+5, testPacket{0, at + 2, uint32(3*i + 2), 70})
	}
	return []Source{a.end(wire.EndStop, 5).source("a"), b.end(wire.EndStop).source("b")}
}

// On a disk of any size the file is valid, keeps a first part of the packets and
// counts the others as lost.
func TestFullDisk(t *testing.T) {
	_, whole := merge(t, Options{}, fullDiskSources()...)
	header, _ := newEncoder(Pcapng, append(fullDiskSources()[0].Interfaces, fullDiskSources()[1].Interfaces...), Options{}).header()
	withStatistics := 0
	for space := 0; space < whole.bytes; space += 7 {
		d, stops := &disk{space: space}, 0
		out := &Output{name: "disk", format: Pcapng, w: d, undo: d}
		result, err := NewMerger(fullDiskSources(), out, Options{Stop: func() { stops++ }}).Run(t.Context())
		if !errors.Is(err, syscall.ENOSPC) || hint.Of(err) == "" || strings.Contains(err.Error(), "\n") || stops > 1 {
			t.Fatalf("space %d: error %v, stopped %d times", space, err, stops)
		}
		if space < len(header) {
			if len(d.bytes) != 0 || result.FileBytes != 0 {
				t.Fatalf("space %d: %d bytes are left of a header of %d", space, len(d.bytes), len(header))
			}
			continue
		}
		f := readFile(t, d.bytes)
		checkResult(t, result, f)
		for i, n := range f.numbers() {
			if int(n) != i {
				t.Fatalf("space %d: packet %d is %d", space, i, n)
			}
		}
		if result.Complete || result.Seen != 65 || result.Packets+result.Lost != 65 || result.Discarded != 0 {
			t.Fatalf("space %d: %+v", space, result)
		}
		if len(f.packets) > 0 && (result.FirstNS != f.packets[0].TimeNS() || result.LastNS != f.packets[len(f.packets)-1].TimeNS()) {
			t.Fatalf("space %d: times are %d..%d", space, result.FirstNS, result.LastNS)
		}
		if len(f.counts) == 3 {
			withStatistics++
			last := f.comments[len(f.comments)-1]
			if !strings.HasPrefix(last, "incomplete: ") || !strings.Contains(last, "were not written: write capture: no space left on device") {
				t.Fatalf("space %d: comments are %q", space, f.comments)
			}
		}
	}
	e := newEncoder(Pcapng, make([]Interface, 3), Options{})
	if least := (whole.bytes - len(header) - int(e.room())) / 7; withStatistics < least {
		t.Errorf("%d files have statistics, want %d", withStatistics, least)
	}
}

func TestFullDiskPcap(t *testing.T) {
	for space := 24; space < 24+60*16; space += 5 {
		d := &disk{space: space}
		out := &Output{name: "disk", format: Pcap, w: d, undo: d}
		result, err := NewMerger(fullDiskSources(), out, Options{}).Run(t.Context())
		if !errors.Is(err, syscall.ENOSPC) || result.Packets+result.Lost != 65 || result.Complete {
			t.Fatalf("space %d: %v, %+v", space, err, result)
		}
		if want := 24 + 16*result.Packets + result.CapBytes; uint64(len(d.bytes)) != want || result.FileBytes != int64(want) {
			t.Fatalf("space %d: %d bytes, want %d", space, len(d.bytes), want)
		}
	}
}

// greedyDisk gives what was freed to somebody else.
type greedyDisk struct{ disk }

func (d *greedyDisk) Truncate(size int64) error {
	if size > 0 {
		d.space = int(size)
	}
	return d.disk.Truncate(size)
}

func TestFullDiskThatStaysFull(t *testing.T) {
	d := &greedyDisk{disk{space: 4000}}
	out := &Output{name: "disk", format: Pcapng, w: d, undo: d}
	result, err := NewMerger(fullDiskSources(), out, Options{}).Run(t.Context())
	if !errors.Is(err, syscall.ENOSPC) || result.Complete {
		t.Fatalf("%v, %+v", err, result)
	}
	f := readFile(t, d.bytes)
	checkResult(t, result, f)
	if len(f.counts) != 0 || len(f.packets) == 0 || result.Packets+result.Lost != 65 {
		t.Errorf("%d packets, statistics %v", len(f.packets), f.counts)
	}
}

// A failing stream that cannot be cut keeps its counts honest.
func TestFailingStream(t *testing.T) {
	var b bytes.Buffer
	out, _ := OpenOutput(t.Context(), Stdout, io.MultiWriter(&b, &disk{space: 1500}), Pcapng)
	result, err := NewMerger(fullDiskSources(), out, Options{}).Run(t.Context())
	if !errors.Is(err, syscall.ENOSPC) || result.Packets == 0 || result.Packets+result.Lost != 65 || result.Complete {
		t.Errorf("%v, %+v", err, result)
	}
}

func TestWriterHoldsNoMoreThanItNeeds(t *testing.T) {
	out, _ := OpenOutput(t.Context(), Stdout, io.Discard, Pcapng)
	interfaces := newRecording(1).source("a").Interfaces
	w := newWriter(out, interfaces, Options{})
	if err := w.begin(); err != nil {
		t.Fatal(err)
	}
	p := pcapng.Packet(testPacket{0, epoch, 1, 60}.append(nil))
	for range 100_000 {
		if err := w.add(p); err != nil {
			t.Fatal(err)
		}
	}
	if limit := (flushBytes + int(w.room)) / len(p) * 3; cap(w.tail) > limit || cap(w.buf) > 2<<20 {
		t.Errorf("%d records and %d bytes are held", cap(w.tail), cap(w.buf))
	}
}
