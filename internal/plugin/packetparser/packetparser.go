//go:build linux

// Package packetparser counts the packets of targets by flow, with their TCP flags,
// follows handshakes, and measures round trips. Its programs are in
// bpf/packetparser.
package packetparser

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/cilium/ebpf"

	bpf "github.com/kubectl-retina/kubectl-retina/bpf/packetparser"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/packetparser/flowtable"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/scope"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// Name is the plugin's in plugins.yaml.
const Name = "packetparser"

const (
	// maxTargets bounds the table of latencies, which has entries for targets only.
	maxTargets = 4096
	// minLRU is the least size of a table that makes room for itself: the kernel
	// spreads such tables over its CPUs, and small ones forget too early.
	minLRU = 4096
)

// Plugin is packetparser on one node. Its methods are for one goroutine.
type Plugin struct {
	scope     *scope.Scope
	spec      *ebpf.CollectionSpec
	maps      tables
	traces    []io.Closer
	missing   []wire.PluginError
	noTCX     bool                   // the kernel has said so
	attached  map[uint32][]io.Closer // by target
	flows     *flowtable.Table[flowtable.Key, bpf.PacketparserFlow]
	latencies map[uint32]bpf.PacketparserLatency // as last sampled, by target
	gone      []uint32                           // targets to forget after the next sample
	// unanswered are handshakes that user space has found to be, by flow.
	unanswered map[flowtable.Key]uint64
	lost       bpf.PacketparserLost // as last sampled
	now        func() time.Time
}

// tables are the plugin's own maps, which all copies of its programs share.
type tables struct {
	Empty     *ebpf.Map `ebpf:"empty"`
	Flows     *ebpf.Map `ebpf:"flows"`
	Latencies *ebpf.Map `ebpf:"latencies"`
	Losses    *ebpf.Map `ebpf:"losses"`
	Pending   *ebpf.Map `ebpf:"pending"`
	Servers   *ebpf.Map `ebpf:"servers"`
	Ports     *ebpf.Map `ebpf:"server_ports"`
	Settled   *ebpf.Map `ebpf:"settled"`
}

func (t *tables) byName() map[string]*ebpf.Map {
	return map[string]*ebpf.Map{
		bpf.PacketparserMapEmpty: t.Empty, bpf.PacketparserMapFlows: t.Flows,
		bpf.PacketparserMapLatencies: t.Latencies, bpf.PacketparserMapLosses: t.Losses,
		bpf.PacketparserMapPending: t.Pending, bpf.PacketparserMapServers: t.Servers,
		bpf.PacketparserMapServerPorts: t.Ports,
		bpf.PacketparserMapSettled:     t.Settled,
	}
}

// Open creates the tables and attaches to the kernel's tracepoints. What the kernel
// has no tracepoint for is in Missing.
func Open(s *scope.Scope) (*Plugin, error) {
	spec, err := bpf.LoadPacketparser()
	if err != nil {
		return nil, fmt.Errorf("read BPF object: %w", err)
	}
	entries := s.Options().TableEntries
	for name, size := range map[string]uint32{
		bpf.PacketparserMapFlows: entries, bpf.PacketparserMapPending: entries,
		bpf.PacketparserMapSettled: max(entries, minLRU), bpf.PacketparserMapServers: minLRU,
		bpf.PacketparserMapLatencies: maxTargets,
	} {
		spec.Maps[name].MaxEntries = size
	}
	p := &Plugin{
		scope: s, spec: spec, attached: map[uint32][]io.Closer{}, now: time.Now,
		latencies: map[uint32]bpf.PacketparserLatency{}, unanswered: map[flowtable.Key]uint64{},
	}
	if err := s.Load(spec.Copy(), &p.maps); err != nil {
		return nil, err
	}
	p.flows = flowtable.New(p.maps.Flows, flowtable.Options[flowtable.Key, bpf.PacketparserFlow]{
		Target: func(k flowtable.Key) uint32 { return k.Target },
		Complete: func(k flowtable.Key, f *bpf.PacketparserFlow) {
			f.Unanswered += p.unanswered[k]
		},
		Idle: flowtable.Idle,
	})
	s.Describe(scope.KindConnect, describeConnect)
	p.trace()
	return p, nil
}

// Start begins: all that is counted so far is nothing, as no program counts before
// the scope runs.
func (p *Plugin) Start() error { return nil }

// Missing is what this node's kernel has no tracepoint for.
func (p *Plugin) Missing() []wire.PluginError { return p.missing }

// Detach detaches from the interfaces of targets. The next Sample has their last
// numbers; until then their IDs must not come back.
func (p *Plugin) Detach(targets []uint32) {
	for _, id := range targets {
		// An interface that is gone has taken the program along.
		_ = closeAll(p.attached[id])
		delete(p.attached, id)
	}
	p.flows.Forget(targets)
	p.gone = append(p.gone, targets...)
}

// Close detaches everything and frees the tables.
func (p *Plugin) Close() error {
	var errs []error
	for _, closers := range p.attached {
		errs = append(errs, closeAll(closers))
	}
	errs = append(errs, closeAll(p.traces))
	for _, m := range p.maps.byName() {
		errs = append(errs, m.Close())
	}
	p.attached, p.traces = nil, nil
	return errors.Join(errs...)
}

// closeAll closes in reverse order.
func closeAll(closers []io.Closer) error {
	var errs []error
	for _, c := range slices.Backward(closers) {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}
