package staging

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/kubectl-retina/kubectl-retina/internal/archive"
	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
)

const (
	// flushBytes is how much is written at once.
	flushBytes = 1 << 20
	// pcapRecordLen is what pcapng.AppendPcapRecord puts before a packet.
	pcapRecordLen = 16
)

// A file is one packet file. What it counts is what is in it or in its buffer.
type file struct {
	path    string
	out     *os.File
	buf     []byte
	written int64 // bytes that out has taken

	// hash is of what was written, unless some of that was taken back: then stale
	// is set and the file must be read.
	hash   hash.Hash
	stale  bool
	sha256 string // once the file is closed

	packets  uint64
	capBytes uint64
	byID     []uint64 // packets, by interface ID
	firstNS  int64    // of the first packet

	// tail are the packets behind boundary, which is far enough from the end that
	// the trailer finds room behind it, or is the end of the head.
	tail     []mark
	boundary mark
}

// A mark is the end of a packet in a file.
type mark struct {
	end    int64 // offset of the byte behind it
	lastNS int64 // greatest timestamp up to it
	id     uint32
	capLen uint32
}

// createFile makes a file that consists of head. memory is what a former file's
// buffer was, or nil.
func createFile(path string, head []byte, interfaces int, memory []byte) (*file, error) {
	out, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("packet file: %w", err)
	}
	if memory == nil {
		memory = make([]byte, 0, flushBytes+pcapng.EPBLen(pcapng.MaxPacketLen, 1))
	}
	if _, err := out.Write(head); err != nil {
		return nil, errors.Join(fmt.Errorf("packet file: %w", err), out.Close(), os.Remove(path))
	}
	f := &file{path: path, out: out, buf: memory[:0], written: int64(len(head)), hash: sha256.New(), byID: make([]uint64, interfaces)}
	_, _ = f.hash.Write(head) // never fails
	f.boundary = mark{end: f.written}
	return f, nil
}

func (f *file) size() int64 { return f.written + int64(len(f.buf)) }

// count counts a packet that was just put into the buffer.
func (f *file) count(p pcapng.Packet) {
	timeNS, capLen := p.TimeNS(), p.CapLen()
	if f.packets == 0 {
		f.firstNS = timeNS
	}
	f.packets++
	f.capBytes += uint64(capLen)
	f.byID[p.Interface()]++
	f.tail = append(f.tail, mark{end: f.size(), lastNS: max(f.last().lastNS, timeNS), id: p.Interface(), capLen: capLen})
}

// last is the end of the last packet, or of the head.
func (f *file) last() mark {
	if len(f.tail) > 0 {
		return f.tail[len(f.tail)-1]
	}
	return f.boundary
}

// flush writes the buffer. It remembers the packets of the last room bytes. What
// is not written when it fails is no longer in the buffer either.
func (f *file) flush(room int64) error {
	err := f.write(f.buf)
	f.buf = f.buf[:0]
	if err != nil {
		return err
	}
	done := 0
	for done < len(f.tail) && f.tail[done].end <= f.written-room {
		done++
	}
	if done > 0 {
		f.boundary = f.tail[done-1]
		f.tail = slices.Delete(f.tail, 0, done)
	}
	return nil
}

func (f *file) write(b []byte) error {
	n, err := f.out.Write(b)
	f.written += int64(n)
	_, _ = f.hash.Write(b[:n]) // never fails
	if err != nil {
		return fmt.Errorf("packet file: %w", err)
	}
	return nil
}

// takeBack forgets the packets behind limit, in the buffer or not, and tells each
// to forgotten.
func (f *file) takeBack(limit int64, forgotten func(mark)) {
	for len(f.tail) > 0 && f.last().end > limit {
		m := f.last()
		f.tail = f.tail[:len(f.tail)-1]
		f.packets--
		f.capBytes -= uint64(m.capLen)
		f.byID[m.id]--
		forgotten(m)
	}
	if keep := f.last().end - f.written; keep < int64(len(f.buf)) {
		f.buf = f.buf[:max(keep, 0)]
	}
}

// truncate makes the file end behind its last packet.
func (f *file) truncate() error {
	end := f.last().end
	if end == f.written {
		return nil
	}
	f.stale, f.written = true, end
	if err := f.out.Truncate(end); err != nil {
		return fmt.Errorf("packet file: %w", err)
	}
	if _, err := f.out.Seek(end, io.SeekStart); err != nil {
		return fmt.Errorf("packet file: %w", err)
	}
	return nil
}

func (f *file) close() error {
	if err := f.out.Close(); err != nil {
		return fmt.Errorf("packet file: %w", err)
	}
	return nil
}

// sum makes the checksum final.
func (f *file) sum() error {
	if f.stale {
		if err := f.read(); err != nil {
			return fmt.Errorf("packet file: %w", err)
		}
		f.stale = false
	}
	f.sha256 = hex.EncodeToString(f.hash.Sum(nil))
	return nil
}

// read computes the hash of the whole file again.
func (f *file) read() error {
	in, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer in.Close()
	f.hash.Reset()
	_, err = bufio.NewReaderSize(in, flushBytes).WriteTo(f.hash)
	return err
}

func (f *file) record() archive.FileRecord {
	r := archive.FileRecord{Name: filepath.Base(f.path), Bytes: f.size(), SHA256: f.sha256, Packets: f.packets}
	if f.packets > 0 {
		r.First, r.Last = instant(f.firstNS), instant(f.last().lastNS)
	}
	return r
}
