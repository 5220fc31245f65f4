// Package staging keeps the packets of a capture in files on the node, until they
// are stored elsewhere: one file, or a ring of files of which the youngest stay.
//
// Whatever happens, each file is valid: it ends behind a whole packet. And it
// never fills the node's disk.
package staging

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/archive"
	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// A Limit is why no more packets are kept.
type Limit string

// The limits.
const (
	NoLimit     Limit = ""
	PacketLimit Limit = "packets" // Config.MaxPackets
	SizeLimit   Limit = "size"    // Config.MaxFileBytes
	DiskLimit   Limit = "disk"    // Config.Budget, or the file system is nearly full
)

// Config says which files to make.
type Config struct {
	Dir    string // an existing directory
	Base   string // the files are BASE.FORMAT, or BASE-000001.FORMAT and so on
	Format string // "pcapng" or "pcap"
	// Head begins every file. It is not changed.
	Head []byte
	// Interfaces is how many interfaces the packets are of.
	Interfaces int
	// MaxFileBytes bounds a file. With FileCount 0 it is a limit, else the next file
	// begins. 0: no limit.
	MaxFileBytes int64
	// FileCount is how many files are kept, the youngest; 0: one, which is not begun
	// anew.
	FileCount int
	// MaxPackets is a limit; 0: none.
	MaxPackets uint64
	// Budget is what all files together may take, in bytes; 0: no limit.
	Budget int64
	// ReserveBytes stay free on the file system. 0: 5 % of one that is smaller than
	// 1 GiB, and of a larger one so much that the kubelet does not begin to evict.
	ReserveBytes int64
	// Free returns the bytes that are free in the file system of a directory, and
	// the size of that. Nil: the operating system is asked.
	Free func(dir string) (free, total int64, err error)
}

// Totals are the counts of the moment. Every packet that Add was given is in one
// of Packets, Overwritten, Limited and Unwritten.
type Totals struct {
	Packets     uint64 // in the files
	CapBytes    uint64 // captured bytes of those
	Overwritten uint64 // packets in files of the ring that are gone
	Limited     uint64 // packets that came after a limit
	Unwritten   uint64 // packets that a file did not take, for another reason than a full disk
	FileBytes   int64  // size of the files
	Limit       Limit
}

// Files are the packet files of a capture. Its methods may be called from one
// goroutine at a time, but Totals from any.
type Files struct {
	config  Config
	reserve int64 // stays free
	room    int64 // in each file, for the trailer

	kept      []*file // those that are finished, the oldest first
	keptBytes int64   // of kept
	current   *file
	began     int // how many files

	keptByID []uint64 // packets in the files, by interface ID
	counts   Totals
	taken    uint64 // packets, for MaxPackets
	limit    Limit
	err      error // why no more is written, besides a limit

	mu        sync.Mutex
	published Totals // guarded by mu
}

// Create makes the first file, which must not exist. Finish closes it.
func Create(config Config) (*Files, error) {
	if config.Format != "pcapng" && config.Format != "pcap" {
		return nil, fmt.Errorf("packet files: unknown format %q", config.Format)
	}
	if config.Free == nil {
		config.Free = freeBytes
	}
	f := &Files{config: config, keptByID: make([]uint64, config.Interfaces), room: trailerRoom(config)}
	f.reserve = f.reserved()
	if need := int64(len(config.Head)) + f.room; config.MaxFileBytes > 0 && need > config.MaxFileBytes {
		return nil, fmt.Errorf("packet file may have %d bytes, but its header and statistics need %d", config.MaxFileBytes, need)
	} else if config.Budget > 0 && need > config.Budget {
		return nil, fmt.Errorf("packet files may have %d bytes, but header and statistics need %d", config.Budget, need)
	}
	first, err := f.begin()
	if err != nil {
		return nil, err
	}
	f.current = first
	f.publish()
	return f, nil
}

// evictionPercent is a little more than what the kubelet wants to be free before it
// evicts pods, ours among the first: 10 % of its own file system, 15 % of that of
// images (its defaults). Where less is free already, half of that stays.
const evictionPercent = 16

// reserved is how many bytes stay free.
func (f *Files) reserved() int64 {
	const gib, mib = 1 << 30, 1 << 20
	reserve := f.config.ReserveBytes
	if reserve == 0 {
		free, total, err := f.config.Free(f.config.Dir)
		if err != nil {
			total = gib // then the next call will fail too, and it does not matter
		}
		if reserve = min(total/20, gib); total >= gib {
			reserve = max(reserve, 64*mib, min(total*evictionPercent/100, free/2))
		}
	}
	return max(reserve, f.room)
}

// allowed is how many bytes may be written now. A file system that does not say
// tells by its errors.
func (f *Files) allowed() int64 {
	free, _, err := f.config.Free(f.config.Dir)
	if err != nil {
		return 1 << 62
	}
	return max(free-f.reserve, 0)
}

// begin makes the next file.
func (f *Files) begin() (*file, error) {
	if int64(len(f.config.Head)) > f.allowed() {
		return nil, fmt.Errorf("packet file: %w", errDiskFull)
	}
	name := f.config.Base + "." + f.config.Format
	if f.config.FileCount > 0 {
		name = fmt.Sprintf("%s-%06d.%s", f.config.Base, f.began+1, f.config.Format)
	}
	var memory []byte
	if f.current != nil {
		memory = f.current.buf
	}
	next, err := createFile(filepath.Join(f.config.Dir, name), f.config.Head, f.config.Interfaces, memory)
	if err == nil {
		f.began++
	}
	return next, err
}

// Add keeps a run of Enhanced Packet Blocks, in the order of their arrival. The
// first limit that is reached is returned, then and ever after. A packet that is
// damaged, or of an interface that is not there, is an error, and so is a file
// that fails; the packets before it are kept.
func (f *Files) Add(blocks []byte) (Limit, error) {
	defer f.publish()
	for rest := blocks; len(rest) > 0; {
		p, next, err := pcapng.NextPacket(rest)
		if err != nil {
			return f.limit, fmt.Errorf("packet file: %w", err)
		}
		if id := p.Interface(); uint64(id) >= uint64(len(f.keptByID)) {
			return f.limit, fmt.Errorf("packet file: packet on interface %d of %d", id, len(f.keptByID))
		}
		f.add(p)
		rest = next
	}
	return f.limit, f.err
}

func (f *Files) add(p pcapng.Packet) {
	if f.err != nil || f.limit != NoLimit || !f.makeRoom(int64(f.encodedLen(p))) {
		f.refuse(1)
		return
	}
	c := f.current
	if f.config.Format == "pcapng" {
		c.buf = append(c.buf, p...)
	} else {
		c.buf = pcapng.AppendPcapRecord(c.buf, p)
	}
	c.count(p)
	f.keptByID[p.Interface()]++
	f.counts.Packets++
	f.counts.CapBytes += uint64(p.CapLen())
	if len(c.buf) >= flushBytes {
		f.flush()
	}
	if f.taken++; f.taken == f.config.MaxPackets && f.limit == NoLimit {
		f.limit = PacketLimit
	}
}

func (f *Files) encodedLen(p pcapng.Packet) int {
	if f.config.Format == "pcapng" {
		return len(p)
	}
	return pcapRecordLen + int(p.CapLen())
}

// refuse counts packets that are not kept.
func (f *Files) refuse(packets uint64) {
	if f.err != nil {
		f.counts.Unwritten += packets
	} else {
		f.counts.Limited += packets
	}
}

// makeRoom sees to it that n more bytes may follow, in the next file if need be.
func (f *Files) makeRoom(n int64) bool {
	if most := f.config.MaxFileBytes; most > 0 && f.current.size()+n+f.room > most {
		if f.config.FileCount == 0 || int64(len(f.config.Head))+n+f.room > most {
			f.limit = SizeLimit
			return false
		}
		if !f.rotate() {
			return false
		}
	}
	if f.config.Budget > 0 && f.fileBytes()+n+f.room > f.config.Budget {
		f.limit = DiskLimit
		return false
	}
	return true
}

// rotate ends the current file and begins the next one. The oldest goes before
// the new one grows. Where the new one cannot begin, the current one stays.
func (f *Files) rotate() bool {
	f.flush()
	if f.err != nil || f.limit != NoLimit {
		return false
	}
	next, err := f.begin()
	if err != nil {
		f.fail(err)
		return false
	}
	ended := f.current
	f.kept, f.current = append(f.kept, ended), next
	f.keptBytes += ended.size()
	err = ended.close()
	if len(f.kept) >= f.config.FileCount {
		err = errors.Join(err, f.forget(f.kept[0]))
		f.kept = append(f.kept[:0], f.kept[1:]...)
	}
	if err != nil {
		f.fail(err)
	}
	return err == nil
}

// forget removes a file of the ring.
func (f *Files) forget(old *file) error {
	if err := os.Remove(old.path); err != nil {
		return fmt.Errorf("packet file: %w", err)
	}
	f.keptBytes -= old.size()
	f.counts.Packets -= old.packets
	f.counts.CapBytes -= old.capBytes
	f.counts.Overwritten += old.packets
	for id, n := range old.byID {
		f.keptByID[id] -= n
	}
	return nil
}

// flush writes what is buffered, as far as the disk has room.
func (f *Files) flush() {
	c := f.current
	if len(c.buf) == 0 || f.err != nil {
		return
	}
	if allowed := f.allowed(); allowed < int64(len(c.buf)) {
		f.limit = DiskLimit
		f.takeBack(c.written + allowed)
	}
	if err := c.flush(f.room); err != nil {
		f.fail(err)
		if err := f.truncate(c.written); err != nil {
			f.fail(err)
		}
	}
}

// takeBack forgets the packets of the current file that end behind limit.
func (f *Files) takeBack(limit int64) {
	f.current.takeBack(limit, func(m mark) {
		f.keptByID[m.id]--
		f.counts.Packets--
		f.counts.CapBytes -= uint64(m.capLen)
		f.refuse(1)
	})
}

// truncate makes the current file end behind the last packet that ends before
// limit.
func (f *Files) truncate(limit int64) error {
	f.takeBack(limit)
	return f.current.truncate()
}

// fail takes a file's error. A full disk is a limit.
func (f *Files) fail(err error) {
	switch {
	case isDiskFull(err):
		f.limit = DiskLimit
	case f.err == nil:
		f.err = err
	}
}

func (f *Files) fileBytes() int64 { return f.keptBytes + f.current.size() }

func (f *Files) publish() {
	f.counts.FileBytes, f.counts.Limit = f.fileBytes(), f.limit
	f.mu.Lock()
	f.published = f.counts
	f.mu.Unlock()
}

// Totals returns the counts as they were after the last Add or Finish. It may be
// called at any time from any goroutine.
func (f *Files) Totals() Totals {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.published
}

// InterfacePackets are the packets in the files, by interface ID.
func (f *Files) InterfacePackets() []uint64 { return append([]uint64(nil), f.keptByID...) }

// Records describe the files, the oldest first, for capture.json. Call it after
// Finish.
func (f *Files) Records() []archive.FileRecord {
	var records []archive.FileRecord
	for _, old := range f.kept {
		records = append(records, old.record())
	}
	return append(records, f.current.record())
}

// instant is a packet's time for a reader of JSON.
func instant(ns int64) time.Time { return time.Unix(0, ns).UTC() }

// Finish ends the last file with the interfaces' statistics and closes it. stats
// are the plugin's counts, by interface ID; startNS and endNS are when the capture
// began and ended. It may be called once, whatever Add has returned, and nothing
// after it but Totals, InterfacePackets and Records.
//
// The error is that of a file that failed, also if Add has returned it. A full disk
// is none, but a limit. In both cases a pcapng file says in a comment that packets
// are missing, and what is there is valid.
func (f *Files) Finish(stats []wire.InterfaceStats, startNS, endNS int64) error {
	defer f.publish()
	f.flush()
	err := f.writeTrailer(func() []byte { return f.trailer(stats, startNS, endNS) })
	err = errors.Join(f.err, err, f.current.close())
	for _, each := range append(f.kept, f.current) {
		err = errors.Join(err, each.sum())
	}
	return err
}
