//go:build linux

// Package tcpretrans counts the TCP segments that targets send again, by flow. Its
// programs are in bpf/tcpretrans.
package tcpretrans

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	bpf "github.com/kubectl-retina/kubectl-retina/bpf/tcpretrans"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/packetparser/flowtable"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/packetparser/tracepoint"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/scope"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// Name is the plugin's in plugins.yaml.
const Name = "tcpretrans"

// tellsErrors is how many arguments tcp_retransmit_skb has since it also fires for
// segments that could not be sent (Linux 6.17).
const tellsErrors = 3

// Plugin is tcpretrans on one node. Its methods are for one goroutine.
type Plugin struct {
	tables  tables
	traces  []*tracepoint.Attachment
	twins   []*tracepoint.Attachment // of the traces
	missing []wire.PluginError
	flows   *flowtable.Table[flowtable.Key, bpf.TcpretransRetransmits]
	lost    losses // as last sampled
	watch   tracepoint.Watch
	now     func() time.Time
}

// Open creates the table and attaches to the kernel's tracepoints. It fails where
// the kernel has no tcp_retransmit_skb.
func Open(s *scope.Scope) (*Plugin, error) {
	spec, err := bpf.LoadTcpretrans()
	if err != nil {
		return nil, fmt.Errorf("read BPF object: %w", err)
	}
	spec.Maps[bpf.TcpretransMapFlows].MaxEntries = s.Options().TableEntries
	p := &Plugin{now: time.Now}
	if err := s.Load(spec.Copy(), &p.tables); err != nil {
		return nil, err
	}
	p.flows = flowtable.New(p.tables.Flows, flowtable.Options[flowtable.Key, bpf.TcpretransRetransmits]{
		Target: func(k flowtable.Key) uint32 { return k.Target },
		Idle:   flowtable.Idle,
	})
	s.Describe(scope.KindRetransmit, describe)
	if err := p.trace(s, spec); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// tables are the plugin's own maps.
type tables struct {
	Flows *ebpf.Map `ebpf:"flows"`
	Lost  *ebpf.Map `ebpf:"lost"`
	Twins *ebpf.Map `ebpf:"twins"`
}

// trace attaches to the tracepoints.
func (p *Plugin) trace(s *scope.Scope, spec *ebpf.CollectionSpec) error {
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return scope.Explain(fmt.Errorf("the kernel does not describe its types: %w", err))
	}
	program := bpf.TcpretransProgTcpretransSkbOrError
	if tracepoint.Arguments(kernel, "tcp_retransmit_skb") < tellsErrors {
		program = bpf.TcpretransProgTcpretransSkb
		p.miss("segments that the node's own network stack refused to send again",
			"needs Linux 6.17; on any kernel RetransSegs of /proc/net/snmp counts them (plugin linuxutil)")
	}
	if !tracepoint.TellsMisses(kernel) {
		p.miss(tracepoint.Unwatched, "the kernel tells of it since Linux 5.12")
	}
	if err := p.attach(s, spec, program); err != nil {
		return err
	}
	if err := p.attach(s, spec, bpf.TcpretransProgTcpretransSynack); err != nil {
		p.miss(fmt.Sprintf("repeated answers to a SYN: %s", err), hint.Of(err))
	}
	return nil
}

// attach attaches a program and its twin.
func (p *Plugin) attach(s *scope.Scope, spec *ebpf.CollectionSpec, program string) error {
	maps := map[string]*ebpf.Map{
		bpf.TcpretransMapFlows: p.tables.Flows, bpf.TcpretransMapLost: p.tables.Lost, bpf.TcpretransMapTwins: p.tables.Twins,
	}
	c, err := tracepoint.Attach(s, spec, program, maps)
	if err != nil {
		return err
	}
	twin, err := tracepoint.Attach(s, spec, tracepoint.Twin(program), maps)
	if err != nil {
		return errors.Join(err, c.Close())
	}
	p.traces, p.twins = append(p.traces, c), append(p.twins, twin)
	return nil
}

func (p *Plugin) miss(cause, advice string) {
	p.missing = append(p.missing, wire.PluginError{Plugin: Name, Partial: true, Cause: cause, Hint: advice})
}

// describe says what was sent again.
func describe(raw *scope.RawEvent, event *wire.Event) {
	switch bpf.TcpretransRetransmitted(raw.Reason) {
	case bpf.TcpretransRetransmittedRETRANSMITTED_DATA:
		event.Reason = "data"
	case bpf.TcpretransRetransmittedRETRANSMITTED_SYN:
		event.Reason = "SYN"
	case bpf.TcpretransRetransmittedRETRANSMITTED_SYNACK:
		event.Reason = "SYN-ACK"
	}
	if raw.Detail > 1 {
		event.Detail = fmt.Sprintf("%d segments", raw.Detail)
	}
}

// Attach does nothing: tracepoints see every network namespace.
func (p *Plugin) Attach([]scope.Interface) error { return nil }

// Start takes the baseline of what the kernel has passed over. No program counts
// before the scope runs.
func (p *Plugin) Start() (err error) {
	var programs []*ebpf.Program
	for _, t := range p.traces {
		programs = append(programs, t.Program())
	}
	p.watch, err = tracepoint.NewWatch(p.tables.Twins, programs...)
	return err
}

// Missing is what this node's kernel does not tell.
func (p *Plugin) Missing() []wire.PluginError { return p.missing }

// Detach has the next Sample end the targets' flows.
func (p *Plugin) Detach(targets []uint32) { p.flows.Forget(targets) }

// Sample appends what has changed since the last call.
func (p *Plugin) Sample(into *wire.Sample) error {
	err := p.flows.Read(p.now(), func(k flowtable.Key, r bpf.TcpretransRetransmits, ended bool) {
		into.Retransmits = append(into.Retransmits, wire.RetransmitSample{
			FlowKey: flowtable.Wire(k), Segments: r.Segments, Ended: ended,
		})
	})
	if err != nil {
		err = fmt.Errorf("flows: %w", err)
	}
	return errors.Join(err, p.sampleLost(into))
}

// What could not be counted, as in wire.LostSample.
const (
	lostFull   = "segments: flow table full"
	lostMissed = "packets sent again, in any netns: more than two at once on a CPU"
)

// losses are how much could not be counted.
type losses struct{ full, missed uint64 }

func (p *Plugin) sampleLost(into *wire.Sample) error {
	var perCPU []uint64
	if err := p.tables.Lost.Lookup(uint32(0), &perCPU); err != nil {
		return fmt.Errorf("count of what was lost: %w", err)
	}
	missed, err := p.watch.Missed()
	if err != nil {
		return err
	}
	lost := losses{missed: missed}
	for _, n := range perCPU {
		lost.full += n
	}
	if lost.full != p.lost.full {
		into.Lost = append(into.Lost, wire.LostSample{Plugin: Name, What: lostFull, Count: lost.full})
	}
	if lost.missed != p.lost.missed {
		into.Lost = append(into.Lost, wire.LostSample{Plugin: Name, What: lostMissed, Count: lost.missed})
	}
	p.lost = lost
	return nil
}

// Close detaches and frees the table.
func (p *Plugin) Close() error {
	var errs []error
	for _, t := range slices.Backward(slices.Concat(p.traces, p.twins)) {
		errs = append(errs, t.Close())
	}
	p.traces, p.twins = nil, nil
	return errors.Join(append(errs, p.tables.Flows.Close(), p.tables.Lost.Close(), p.tables.Twins.Close())...)
}
