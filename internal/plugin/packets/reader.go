//go:build linux

package packets

import (
	"fmt"
	"os"
	"sync"
	"time"
	"unsafe"

	bpf "github.com/kubectl-retina/kubectl-retina/bpf/packets"
	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/clock"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

const (
	// poll is how long packets stay in the ring buffer before they are read:
	// nobody is woken for them. The ring holds several times what arrives in it.
	poll = 10 * time.Millisecond
	// frameBytes ends a frame that many packets want to be in.
	frameBytes = 256 << 10
	// disorder is how much later than a younger packet of another CPU a packet
	// may appear in the ring: a CPU can be interrupted between reserving
	// and reading the clock.
	disorder = 2 * time.Millisecond
	// recount is how often the kernel's counters are summed while capturing.
	recount    = 250 * time.Millisecond
	vlanTagLen = 4
	recordLen  = int(unsafe.Sizeof(bpf.PacketsRecord{}))
)

// reader turns the ring buffer into packet blocks.
type reader struct {
	kernel   *kernel
	snapLen  uint32
	mu       sync.Mutex // Close waits for a read that nobody waits for any more
	ring     *ring      // nil after Close
	clock    clock.Wall
	captured []uint64 // by interface ID
	// interfaces is more than the greatest interface ID so far.
	interfaces int
	totals     wire.PacketsHeader
	counted    int64 // monotonic ns of totals
}

func newReader(k *kernel, snapLen uint32) (*reader, error) {
	ring, err := newRing(k.maps.Ring)
	if err != nil {
		return nil, err
	}
	return &reader{kernel: k, snapLen: snapLen, ring: ring, captured: make([]uint64, maxInterfaces)}, nil
}

// Close unmaps the ring buffer.
func (r *reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	ring := r.ring
	r.ring = nil
	return ring.Close()
}

// read fills one payload of a KindPackets frame into buf[:0]. It returns after
// poll at the latest, with or without packets, and before that when the frame is
// full. interfaces is how many there are.
func (r *reader) read(buf []byte, interfaces int) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ring == nil {
		return nil, os.ErrClosed
	}
	start, err := r.clock.Now()
	if err != nil {
		return nil, err
	}
	payload := append(buf[:0], make([]byte, wire.PacketsHeaderLen)...)
	complete, waited := start, false
	for len(payload) < frameBytes {
		sample := r.ring.next()
		if sample == nil && waited {
			complete = start // the ring was empty after that
			break
		}
		if sample == nil {
			r.ring.free()
			time.Sleep(poll) //nolint:forbidigo // no longer than it takes to notice an end
			waited = true
			continue
		}
		if payload, complete, err = r.block(payload, sample, interfaces); err != nil {
			return nil, err
		}
	}
	r.ring.free()
	if start-r.counted >= int64(recount) {
		if err := r.recount(start, interfaces); err != nil {
			return nil, err
		}
	}
	header := r.totals
	header.CompleteNS = complete + r.clock.Offset() - int64(disorder)
	header.Put(payload)
	return payload, nil
}

// block appends one record of the ring as a packet block, and returns its
// monotonic time.
func (r *reader) block(payload, sample []byte, interfaces int) ([]byte, int64, error) {
	if len(sample) < recordLen {
		return nil, 0, fmt.Errorf("record of %d bytes in the ring buffer", len(sample))
	}
	record := (*bpf.PacketsRecord)(unsafe.Pointer(&sample[0]))
	data := sample[recordLen:]
	if int(record.CapLen) > len(data) || int(record.InterfaceId) >= interfaces {
		return nil, 0, fmt.Errorf("record of %d bytes on interface %d in the ring buffer", record.CapLen, record.InterfaceId)
	}
	data = data[:record.CapLen]
	at := int64(record.MonotonicNs)
	id, flags := uint32(record.InterfaceId), uint32(record.Direction)
	if record.VlanTpid != 0 {
		// The kernel keeps an outer tag beside the packet (skb->vlan_tci);
		// on the wire it was inside, and it counts for the snaplen.
		capLen := min(record.CapLen, r.snapLen-vlanTagLen)
		payload = pcapng.AppendEPBVLAN(payload, id, at+r.clock.Offset(), capLen, record.WireLen, flags, data, record.VlanTpid, record.VlanTci)
	} else {
		payload = pcapng.AppendEPB(payload, id, at+r.clock.Offset(), record.CapLen, record.WireLen, flags, data)
	}
	r.captured[id]++
	r.interfaces = max(r.interfaces, int(id)+1)
	return payload, at, nil
}

func (r *reader) recount(now int64, interfaces int) error {
	stats, err := r.stats(interfaces)
	if err != nil {
		return err
	}
	r.counted, r.totals = now, wire.PacketsHeader{}
	for _, s := range stats {
		r.totals.Seen += s.Seen
		r.totals.Lost += s.Lost
	}
	return nil
}

// stats sums the kernel's counters over the CPUs.
func (r *reader) stats(interfaces int) ([]wire.InterfaceStats, error) {
	stats := make([]wire.InterfaceStats, interfaces)
	var perCPU []bpf.PacketsInterfaceCounts
	for id := range stats {
		if err := r.kernel.maps.Counters.Lookup(uint32(id), &perCPU); err != nil {
			return nil, fmt.Errorf("read counters of interface %d: %w", id, err)
		}
		s := wire.InterfaceStats{ID: uint32(id), Captured: r.captured[id]}
		for _, c := range perCPU {
			s.Seen += c.Seen
			s.SeenBytes += c.SeenBytes
			s.Lost += c.Lost
			s.Excluded += c.Excluded
		}
		stats[id] = s
	}
	return stats, nil
}
