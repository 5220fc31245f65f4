//go:build linux

package scope

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"

	bpf "github.com/kubectl-retina/kubectl-retina/bpf/scope"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/clock"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// Kinds of events, as the programs number them.
const (
	KindDrop       = 1
	KindReset      = 2
	KindRetransmit = 3
	KindDNS        = 4
	KindConnect    = 5
)

// RawEvent is what only the plugin understands of an event that its program sent.
type RawEvent struct {
	Reason, Detail uint32
	Function       uint64 // address of a function of the kernel, or 0
}

// maxPending is how many events wait for TakeEvents. With the limit per second
// there are hardly ever more than one interval's.
const maxPending = 1 << 14

// events collects what programs and plugins report.
type events struct {
	reader    *ringbuf.Reader // nil when nobody wants events
	limits    *ebpf.Map
	perSecond uint32
	wanted    []string // kinds; none: all

	clockMu sync.Mutex
	clock   clock.Wall

	mu         sync.Mutex
	describe   map[uint8]func(*RawEvent, *wire.Event)
	pending    []wire.Event
	suppressed uint64 // here, not in the kernel
	second     int64  // of the events counted in emitted
	emitted    uint32
	err        error // that has ended the reading
	reading    sync.WaitGroup
}

func newEvents(maps bpf.ScopeMaps, perSecond uint32, wanted []string) (*events, error) {
	e := &events{limits: maps.ScopeLimits, perSecond: perSecond, wanted: wanted, describe: map[uint8]func(*RawEvent, *wire.Event){}}
	if perSecond == 0 {
		return e, nil
	}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, err
	}
	// Each CPU has a bucket of its own. Bad things come in bursts on one CPU, so
	// each may use half of what all together may.
	each := max(uint64(perSecond)/uint64(min(cpus, 2)), 1)
	limits := make([]bpf.ScopeScopeLimit, cpus)
	for i := range limits {
		limits[i] = bpf.ScopeScopeLimit{PerSecond: each, Tokens: each * 1000, Kinds: e.mask()}
	}
	if err := maps.ScopeLimits.Put(uint32(0), limits); err != nil {
		return nil, fmt.Errorf("limit events: %w", err)
	}
	if e.reader, err = ringbuf.NewReader(maps.ScopeEvents); err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	e.reading.Go(func() { e.read(e.reader.Read) })
	return e, nil
}

// wants tells whether events of this kind were asked for.
func (e *events) wants(kind string) bool {
	return len(e.wanted) == 0 || slices.Contains(e.wanted, kind)
}

// mask is the kinds that were asked for, as the programs have them.
func (e *events) mask() (mask uint64) {
	for number, kind := range kinds {
		if e.wants(kind) {
			mask |= 1 << number
		}
	}
	return mask
}

// Describe says who fills the Reason and Detail of kernel events of this kind. f is
// called by one goroutine at a time, but not by that of the other methods.
func (s *Scope) Describe(kind uint8, f func(*RawEvent, *wire.Event)) {
	s.events.mu.Lock()
	defer s.events.mu.Unlock()
	s.events.describe[kind] = f
}

// Emit reports an event that was found in user space. It may be called by
// anybody.
func (s *Scope) Emit(event wire.Event) {
	if s.events.perSecond > 0 && s.events.wants(event.Kind) {
		s.events.add(event)
	}
}

// WallNS turns a time of CLOCK_MONOTONIC, in ns, into one of the wall clock.
func (s *Scope) WallNS(monotonicNS uint64) int64 { return s.events.wallNS(monotonicNS) }

func (e *events) wallNS(monotonicNS uint64) int64 {
	e.clockMu.Lock()
	defer e.clockMu.Unlock()
	if _, err := e.clock.Now(); err != nil {
		return time.Now().UnixNano()
	}
	return int64(monotonicNS) + e.clock.Offset()
}

// TakeEvents returns what has been reported since the last call, and how many
// events there were too many since the beginning. When the kernel's events cannot be
// read any more, it says so each time.
func (s *Scope) TakeEvents() (wire.Events, error) {
	e := s.events
	var limits []bpf.ScopeScopeLimit
	if err := e.limits.Lookup(uint32(0), &limits); err != nil {
		return wire.Events{}, fmt.Errorf("read the events' limit: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err != nil {
		return wire.Events{}, e.err
	}
	taken := wire.Events{Events: e.pending, Suppressed: e.suppressed}
	e.pending = nil
	for _, l := range limits {
		taken.Suppressed += l.Suppressed
	}
	return taken, nil
}

func (e *events) add(event wire.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if second := time.Now().Unix(); second != e.second {
		e.second, e.emitted = second, 0
	}
	if e.emitted >= e.perSecond || len(e.pending) >= maxPending {
		e.suppressed++
		return
	}
	e.emitted++
	e.pending = append(e.pending, event)
}

// read takes what next returns until the ring is closed, or does not work any more:
// asking again would not help.
func (e *events) read(next func() (ringbuf.Record, error)) {
	for {
		record, err := next()
		if errors.Is(err, os.ErrClosed) {
			return
		}
		var raw bpf.ScopeScopeEvent
		if err == nil {
			_, err = binary.Decode(record.RawSample, binary.NativeEndian, &raw)
		}
		if err != nil {
			e.mu.Lock()
			e.err = fmt.Errorf("read events: %w", err)
			e.mu.Unlock()
			return
		}
		e.add(e.event(&raw))
	}
}

var kinds = map[uint8]string{
	KindDrop: wire.EventDrop, KindReset: wire.EventReset, KindRetransmit: wire.EventRetransmit,
	KindDNS: wire.EventDNS, KindConnect: wire.EventConnect,
}

var directions = [...]string{"", wire.DirectionIn, wire.DirectionOut, wire.DirectionForward}

// event converts what a program has sent.
func (e *events) event(raw *bpf.ScopeScopeEvent) wire.Event {
	event := wire.Event{
		TimeNS: e.wallNS(raw.MonotonicNs), Kind: kinds[raw.Kind], Target: raw.Target, Protocol: raw.Protocol,
		Direction: directions[raw.Direction&3],
	}
	if raw.Family != 0 {
		event.Source = AddrPort(raw.Source, raw.SourcePort)
		event.Destination = AddrPort(raw.Destination, raw.DestinationPort)
	}
	e.mu.Lock()
	describe := e.describe[raw.Kind]
	e.mu.Unlock()
	if describe != nil {
		describe(&RawEvent{Reason: raw.Reason, Detail: raw.Detail, Function: raw.Function}, &event)
	}
	return event
}

// AddrPort converts an address and a port as the programs have them.
func AddrPort(addr [16]byte, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(addr).Unmap(), HostOrder(port))
}

// HostOrder is ntohs(3).
func HostOrder(port uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], port)
	return binary.BigEndian.Uint16(b[:])
}

func (e *events) close() error {
	if e.reader == nil {
		return nil
	}
	err := e.reader.Close()
	e.reading.Wait()
	return err
}
