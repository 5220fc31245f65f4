package capture

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A guest takes so many bytes and then fails.
type guest struct {
	bytes.Buffer
	room int
	err  error
}

func (g *guest) Write(b []byte) (int, error) {
	if g.Len()+len(b) > g.room {
		return 0, g.err
	}
	return g.Buffer.Write(b)
}

func TestOthersHaveTheSame(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.pcapng")
	out, err := OpenOutput(t.Context(), path, nil, Pcapng)
	if err != nil {
		t.Fatal(err)
	}
	var one, two bytes.Buffer
	out.Also("one", &one)
	out.Also("two", &two)
	result, err := NewMerger(fullDiskSources(), out, Options{}).Run(t.Context())
	if err := errors.Join(err, out.Close()); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil || result.Packets != 60 || !bytes.Equal(b, one.Bytes()) || !bytes.Equal(b, two.Bytes()) {
		t.Errorf("%v: %d packets, files of %d, %d and %d bytes", err, result.Packets, len(b), one.Len(), two.Len())
	}
}

// Whenever one of those who have the same leaves, the capture ends, the file is whole
// and complete up to there, and the others have it too.
func TestOneOfTheOthersLeaves(t *testing.T) {
	_, whole := merge(t, Options{}, fullDiskSources()...)
	for room := 0; room < whole.bytes; room += 57 {
		for _, reason := range []error{io.ErrClosedPipe, syscall.ENOSPC} {
			path, stops := filepath.Join(t.TempDir(), "x.pcapng"), 0
			out, err := OpenOutput(t.Context(), path, nil, Pcapng)
			if err != nil {
				t.Fatal(err)
			}
			stays := new(bytes.Buffer)
			out.Also("the one that leaves", &guest{room: room, err: reason})
			out.Also("the one that stays", stays)
			result, err := NewMerger(fullDiskSources(), out, Options{Stop: func() { stops++ }}).Run(t.Context())
			left := errors.Is(reason, io.ErrClosedPipe)
			if err == nil || errors.Is(err, ErrReaderClosed) != left || left && !strings.HasPrefix(err.Error(), "the one that leaves: ") || stops > 1 {
				t.Fatalf("room %d: error %v, stopped %d times", room, err, stops)
			}
			if err := out.Close(); err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !left && len(b) == 0 && result.FileBytes == 0 {
				continue
			}
			f := readFile(t, b)
			if !left && len(f.counts) == 0 {
				continue // the header was all that was written
			}
			checkResult(t, result, f)
			if len(f.counts) != 3 || !bytes.Equal(b, stays.Bytes()) {
				t.Fatalf("room %d: %d statistics, the other has %d bytes of %d", room, len(f.counts), stays.Len(), len(b))
			}
			if left && !result.Complete || result.Complete && result.Lost != 5 || left && (result.Lost != 5 || result.Packets+result.Discarded != 60) {
				t.Fatalf("room %d: %+v", room, result)
			}
		}
	}
}

// On a full disk the others still get whole blocks.
func TestOthersOutliveAFullDisk(t *testing.T) {
	_, whole := merge(t, Options{}, fullDiskSources()...)
	for space := 1000; space < whole.bytes; space += 97 {
		d, other := &disk{space: space}, new(bytes.Buffer)
		out := &Output{name: "disk", format: Pcapng, w: d, undo: d}
		out.Also("other", other)
		result, err := NewMerger(fullDiskSources(), out, Options{}).Run(t.Context())
		if !errors.Is(err, syscall.ENOSPC) || result.Complete {
			t.Fatalf("space %d: %v, %+v", space, err, result)
		}
		if f := readFile(t, other.Bytes()); uint64(len(f.packets)) < result.Packets {
			t.Fatalf("space %d: the other has %d packets, the file %d", space, len(f.packets), result.Packets)
		}
	}
}
