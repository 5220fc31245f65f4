//go:build linux

package packets

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Of a record's header, BPF_RINGBUF_* in include/uapi/linux/bpf.h.
const (
	ringHeaderLen = 8
	ringBusy      = 1 << 31 // reserved, not submitted yet
	ringDiscard   = 1 << 30
)

// A ring is the reading side of a BPF ring buffer (kernel/bpf/ringbuf.c). It
// reads in place: nothing is copied, and the kernel is told of the room of many
// records at once. Not safe for concurrent use.
type ring struct {
	consumer []byte // mapped: the page with our position
	producer []byte // mapped: the page with the kernel's position, and the data
	data     []byte // twice in a row, so that no record ends at the end
	mask     uint64
	position uint64 // of the next record
	end      uint64 // the kernel's position, as of the last look
}

func newRing(m *ebpf.Map) (*ring, error) {
	page, size := os.Getpagesize(), int(m.MaxEntries())
	consumer, err := unix.Mmap(m.FD(), 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map ring buffer: %w", err)
	}
	producer, err := unix.Mmap(m.FD(), int64(page), page+2*size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("map ring buffer: %w", err), unix.Munmap(consumer))
	}
	return &ring{consumer: consumer, producer: producer, data: producer[page:], mask: uint64(size - 1)}, nil
}

// Close unmaps the ring; records are not valid any more.
func (r *ring) Close() error { return errors.Join(unix.Munmap(r.consumer), unix.Munmap(r.producer)) }

// next returns the next record, which is valid until free, or nil when there is
// none. It waits for a record that is being written: that takes no time.
func (r *ring) next() []byte {
	for {
		if r.position == r.end {
			r.end = atomic.LoadUint64((*uint64)(unsafe.Pointer(&r.producer[0])))
			if r.position == r.end {
				return nil
			}
		}
		at := r.position & r.mask
		header := atomic.LoadUint32((*uint32)(unsafe.Pointer(&r.data[at])))
		if header&ringBusy != 0 {
			continue
		}
		length := uint64(header &^ ringDiscard)
		r.position += ringHeaderLen + (length+7)&^7
		if header&ringDiscard == 0 {
			return r.data[at+ringHeaderLen : at+ringHeaderLen+length]
		}
	}
}

// free gives the room of all records so far back to the kernel.
func (r *ring) free() {
	atomic.StoreUint64((*uint64)(unsafe.Pointer(&r.consumer[0])), r.position)
}
