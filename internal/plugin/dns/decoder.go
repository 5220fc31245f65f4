//go:build linux

package dns

import (
	"fmt"
	"maps"
	"net/netip"
	"unsafe"

	bpf "github.com/kubectl-retina/kubectl-retina/bpf/dns"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/scope"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// As the program numbers them, see dns.bpf.c and scope.bpf.h.
const (
	flagBegin    = 1
	flagEnd      = 2
	directionOut = 2
	protocolTCP  = 6
	dnsPort      = 53
	recordLen    = int(unsafe.Sizeof(bpf.DNSDnsRecord{}))
)

// sweepNS is how often streams are looked through for those that may be forgotten.
const sweepNS = 5e9

// streamKey is one direction of a TCP connection.
type streamKey struct {
	target              uint32
	source, destination netip.AddrPort
}

// decoder makes messages of the records in the ring, and has them counted.
type decoder struct {
	*exchanges
	streams    map[streamKey]*stream
	most       int // streams
	swept      uint64
	unfollowed uint64 // TCP segments
}

func newDecoder(entries uint32, fail func(w *waiting, reason string, at uint64)) *decoder {
	return &decoder{exchanges: newExchanges(entries, fail), streams: make(map[streamKey]*stream), most: int(entries)}
}

// record takes one record of the ring.
func (d *decoder) record(raw []byte) error {
	if len(raw) < recordLen {
		return fmt.Errorf("record of %d bytes in the ring buffer", len(raw))
	}
	r := *(*bpf.DNSDnsRecord)(unsafe.Pointer(unsafe.SliceData(raw)))
	data := raw[recordLen:]
	if int(r.Copied) > len(data) || r.Copied > r.Length {
		return fmt.Errorf("record with %d of %d bytes in the ring buffer", r.Copied, r.Length)
	}
	d.packet(&r, data[:r.Copied])
	return nil
}

// packet takes one packet.
func (d *decoder) packet(r *bpf.DNSDnsRecord, data []byte) {
	source, destination := scope.AddrPort(r.Source, r.SourcePort), scope.AddrPort(r.Destination, r.DestinationPort)
	d.expire(r.MonotonicNs)
	message := func(b []byte) { d.message(r, source, destination, b) }
	if r.Protocol == protocolTCP {
		d.stream(r, streamKey{r.Target, source, destination}, data, message)
		return
	}
	if size := int(r.Segment); size > 0 {
		for ; len(data) > size; data = data[size:] {
			message(data[:size])
		}
	}
	message(data)
}

// stream takes a TCP segment.
func (d *decoder) stream(r *bpf.DNSDnsRecord, key streamKey, data []byte, message func([]byte)) {
	d.sweep(r.MonotonicNs)
	s := d.streams[key]
	if s == nil {
		if r.Length == 0 && r.Flags&flagBegin == 0 {
			return // the end of something that we do not follow
		}
		if len(d.streams) >= d.most {
			d.unfollowed++
			return
		}
		s = &stream{}
		d.streams[key] = s
	}
	switch s.take(segment{
		at: r.MonotonicNs, sequence: r.Sequence, length: int(r.Length), data: data,
		begin: r.Flags&flagBegin != 0, end: r.Flags&flagEnd != 0,
	}, message) {
	case unfollowed:
		d.unfollowed++
	case unbegun:
		d.ignored.add(r.Target, midstream)
	}
}

func (d *decoder) sweep(now uint64) {
	if now-d.swept < sweepNS {
		return
	}
	d.swept = now
	maps.DeleteFunc(d.streams, func(_ streamKey, s *stream) bool { return s.idle(now) })
}

// message takes one message, which may be cut. What goes to the port is a query, what
// comes from it a response; the rest is somebody else's use of the port.
func (d *decoder) message(r *bpf.DNSDnsRecord, source, destination netip.AddrPort, b []byte) {
	m, ok := parse(b)
	if !ok {
		d.ignored.add(r.Target, malformed)
		return
	}
	w := way{target: r.Target, protocol: r.Protocol, client: source, server: destination, role: wire.RoleServer}
	if m.response {
		w.client, w.server = destination, source
	}
	if w.server.Port() != dnsPort {
		return
	}
	if m.response != (r.Direction == directionOut) {
		w.role = wire.RoleClient
	}
	d.take(w, m, r.MonotonicNs)
}

// forget drops everything about a target, after its last sample.
func (d *decoder) forget(target uint32) {
	d.exchanges.forget(target)
	delete(d.ignored, target)
	maps.DeleteFunc(d.streams, func(key streamKey, _ *stream) bool { return key.target == target })
}

// lost says what could not be counted as it should, without what the kernel knows.
func (d *decoder) lost() map[string]uint64 {
	return map[string]uint64{
		"names: table full":                    d.full,
		"queries: too many without a response": d.notWaited,
		"TCP segments: out of order":           d.unfollowed,
	}
}
