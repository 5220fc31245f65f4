//go:build linux

// Package dns counts DNS exchanges of pods and nodes: what was asked, what was
// answered, how soon, and what was not. The program in bpf/dns copies the messages
// into a ring buffer, this package parses and pairs them.
//
// A target that asks is a client, and a latency is what it waits; one that is asked,
// such as a DNS server's pod, is a server, and a latency is what it needs. Messages
// on loopback and on other ports than 53 are not seen. Of a datagram in fragments the
// first one is read: it has the question, and the code unless that is an extended one.
package dns

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/cilium/ebpf"

	bpf "github.com/kubectl-retina/kubectl-retina/bpf/dns"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/scope"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// Name is the plugin's name in plugins.yaml.
const Name = "dns"

// ringBytes is what may arrive until the reader comes: some ten thousand messages. It
// is woken when half of it is full.
const ringBytes = 4 << 20

// A Plugin counts from when the scope runs until Close. Its methods are for one
// goroutine.
type Plugin struct {
	scope    *scope.Scope
	spec     *ebpf.CollectionSpec
	ring     *ebpf.Map
	losses   *ebpf.Map
	noTCX    bool // the kernel has said so
	attached map[uint32][]io.Closer
	leaving  []uint32 // targets whose next sample is the last
	reader   *reader
	told     map[string]uint64 // losses as of the last sample
}

// Open creates the ring buffer and begins to read it.
func Open(s *scope.Scope) (*Plugin, error) { return open(s, ringBytes) }

func open(s *scope.Scope, ringBytes uint32) (*Plugin, error) {
	spec, err := bpf.LoadDNS()
	if err != nil {
		return nil, fmt.Errorf("read BPF object: %w", err)
	}
	spec.Maps[bpf.DNSMapDnsRing].MaxEntries = ringBytes
	var maps struct {
		Ring   *ebpf.Map `ebpf:"dns_ring"`
		Losses *ebpf.Map `ebpf:"dns_lost"`
	}
	if err := s.Load(spec.Copy(), &maps); err != nil {
		return nil, err
	}
	p := &Plugin{
		scope: s, spec: spec, ring: maps.Ring, losses: maps.Losses,
		attached: make(map[uint32][]io.Closer), told: make(map[string]uint64),
	}
	if p.reader, err = newReader(maps.Ring, newDecoder(s.Options().TableEntries, p.fail)); err != nil {
		return nil, errors.Join(scope.Explain(err), maps.Ring.Close(), maps.Losses.Close())
	}
	return p, nil
}

// Start begins: all that is counted so far is nothing, as no program counts before
// the scope runs.
func (p *Plugin) Start() error { return nil }

// fail reports a query that was answered by an error, or not at all.
func (p *Plugin) fail(w *waiting, reason string, at uint64) {
	typ, _ := typeName(w.typ)
	p.scope.Emit(wire.Event{
		TimeNS: p.scope.WallNS(at), Kind: wire.EventDNS, Target: w.key.target, Protocol: w.key.protocol,
		Source: w.key.client, Destination: w.key.server, Direction: wire.DirectionOut, Reason: reason, Detail: typ + " " + w.name,
	})
}

// Detach detaches from targets that are gone; the next sample is their last.
func (p *Plugin) Detach(targets []uint32) {
	var closers []io.Closer
	for _, target := range targets {
		closers = append(closers, p.attached[target]...)
		delete(p.attached, target)
	}
	// Detaching waits for the kernel's RCU grace period, so they go in parallel. An
	// interface that has vanished has detached by itself.
	_ = closeAll(closers)
	p.leaving = append(p.leaving, targets...)
}

func closeAll(closers []io.Closer) error {
	errs := make([]error, len(closers))
	var wg sync.WaitGroup
	for i, c := range closers {
		wg.Go(func() { errs[i] = c.Close() })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Sample appends what has changed, up to now.
func (p *Plugin) Sample(into *wire.Sample) error {
	lost, err := p.lostInKernel()
	if err != nil {
		return err
	}
	err = p.reader.sync(func(d *decoder) {
		into.DNS = d.sample(into.DNS, d.now, p.leaving)
		into.Stats = d.ignored.sampleIgnored(into.Stats)
		for _, target := range p.leaving {
			d.forget(target)
		}
		for what, count := range d.lost() {
			lost[what] = count
		}
	})
	if err != nil {
		return err
	}
	p.leaving = nil
	begin := len(into.Lost)
	for what, count := range lost {
		if count != p.told[what] {
			p.told[what] = count
			into.Lost = append(into.Lost, wire.LostSample{Plugin: Name, What: what, Count: count})
		}
	}
	slices.SortFunc(into.Lost[begin:], func(a, b wire.LostSample) int {
		if a.What < b.What {
			return -1
		}
		return 1
	})
	return nil
}

// lostInKernel says what did not reach the ring.
func (p *Plugin) lostInKernel() (map[string]uint64, error) {
	var perCPU []bpf.DNSDnsCounts
	if err := p.losses.Lookup(uint32(0), &perCPU); err != nil {
		return nil, fmt.Errorf("read what was lost: %w", err)
	}
	var full, unreadable uint64
	for _, c := range perCPU {
		full += c.Full
		unreadable += c.Unreadable
	}
	return map[string]uint64{"messages: ring full": full, "messages: not copied": unreadable}, nil
}

// Missing is always empty: where this cannot run, Open or Attach says so.
func (p *Plugin) Missing() []wire.PluginError { return nil }

// Close detaches from everything.
func (p *Plugin) Close() error {
	var closers []io.Closer
	for _, c := range p.attached {
		closers = append(closers, c...)
	}
	return errors.Join(closeAll(closers), p.reader.Close(), p.ring.Close(), p.losses.Close())
}
