//go:build linux

// Package dropreason counts the packets that the node's kernel throws away, with
// the kernel's own reason: the program in bpf/dropreason sees each of them. It adds
// what Cilium's programs drop, which the kernel does not see as drops.
package dropreason

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	bpf "github.com/kubectl-retina/kubectl-retina/bpf/dropreason"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/packetparser/tracepoint"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/scope"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// Name is the plugin's name in plugins.yaml.
const Name = "dropreason"

// A Plugin counts drops from Start to Close.
type Plugin struct {
	scope    *scope.Scope
	maps     bpf.DropreasonMaps
	programs []*ebpf.Program // one and its twin
	links    []link.Link
	reasons  *reasons // numbers only: for names ask names
	names    *names
	table    *table
	bpffs    string  // the node's BPF file system; "": nobody looks for Cilium again
	cilium   *cilium // nil where there is none
	samples  uint64
	missing  []wire.PluginError

	watch tracepoint.Watch // of the program
	lost  [lossKinds]uint64
}

// options are what tests do differently.
type options struct {
	bpffs     string // the node's BPF file system
	raw       bool   // use the raw tracepoint
	arguments uint32 // use no more of the tracepoint's; 0: all
}

// Open loads the program and attaches it. An error means that this node cannot
// count drops at all. The caller closes the Plugin before s.
func Open(s *scope.Scope) (*Plugin, error) {
	// PID 1 is the node's: a collector sees the node's processes.
	return open(s, options{bpffs: "/proc/1/root/sys/fs/bpf"})
}

func open(s *scope.Scope, o options) (*Plugin, error) {
	if o.arguments == 0 {
		o.arguments = allArguments
	}
	reasons, err := readReasons(o.arguments)
	if err != nil {
		return nil, err
	}
	p := &Plugin{scope: s, bpffs: o.bpffs, reasons: reasons, names: &names{reasons: reasons, symbols: &symbols{}}}
	p.readNames()
	err = p.attach(true)
	if err != nil || o.raw {
		// A kernel may refuse tracing with types and allow it without.
		if raw := p.attach(false); raw != nil {
			return nil, errors.Join(err, raw)
		}
	}
	p.table = newTable(&p.maps, int(s.Options().TableEntries), p.names.resolve)
	if p.cilium, err = openCilium(o.bpffs); err != nil {
		p.lack(err)
		p.bpffs = ""
	}
	s.Describe(scope.KindDrop, p.describe)
	return p, nil
}

// attach loads and attaches the program and its twin, with the kernel's types or
// without, instead of those that there are.
func (p *Plugin) attach(types bool) error {
	if err := p.detach(); err != nil {
		return err
	}
	spec, err := p.spec()
	if err != nil {
		return err
	}
	if types {
		objects := struct {
			bpf.DropreasonMaps
			Program *ebpf.Program `ebpf:"dropreason_btf"`
			Twin    *ebpf.Program `ebpf:"dropreason_btf_twin"`
		}{}
		if err := p.scope.Load(spec, &objects); err != nil {
			return err
		}
		p.maps, p.programs = objects.DropreasonMaps, []*ebpf.Program{objects.Program, objects.Twin}
	} else {
		objects := struct {
			bpf.DropreasonMaps
			Program *ebpf.Program `ebpf:"dropreason_raw"`
			Twin    *ebpf.Program `ebpf:"dropreason_raw_twin"`
		}{}
		if err := p.scope.Load(spec, &objects); err != nil {
			return err
		}
		p.maps, p.programs = objects.DropreasonMaps, []*ebpf.Program{objects.Program, objects.Twin}
	}
	for _, program := range p.programs {
		if err := p.link(program, types); err != nil {
			return errors.Join(err, p.detach())
		}
	}
	return nil
}

func (p *Plugin) link(program *ebpf.Program, types bool) (err error) {
	var l link.Link
	if types {
		l, err = link.AttachTracing(link.TracingOptions{Program: program})
	} else {
		l, err = link.AttachRawTracepoint(link.RawTracepointOptions{Name: "kfree_skb", Program: program})
	}
	if err != nil {
		return fmt.Errorf("attach to tracepoint kfree_skb: %w", err)
	}
	p.links = append(p.links, l)
	return nil
}

// spec is the program as this node needs it.
func (p *Plugin) spec() (*ebpf.CollectionSpec, error) {
	spec, err := bpf.LoadDropreason()
	if err != nil {
		return nil, fmt.Errorf("read BPF object: %w", err)
	}
	entries := p.scope.Options().TableEntries
	spec.Maps[bpf.DropreasonMapDropsEven].MaxEntries = entries
	spec.Maps[bpf.DropreasonMapDropsOdd].MaxEntries = entries
	config := bpf.DropreasonDropConfig{
		HostNetns: p.scope.Host().Ino, Arguments: p.reasons.arguments,
		NotDropped: p.reasons.notDropped, Consumed: p.reasons.consumed,
		Netfilter: p.reasons.netfilter, Unspecified: p.reasons.unspecified,
		QueuePurge: p.reasons.queuePurge, NotSpecified: p.reasons.notSpecified, OtherHost: p.reasons.otherHost,
		NoSocket: p.reasons.noSocket,
	}
	for i, function := range []string{"nf_hook_slow", "nf_hook_slow_list"} {
		config.Hooks[i].Begin, config.Hooks[i].End = p.names.symbols.codeOf(function)
	}
	if p.reasons.arguments >= 3 { // else all that these functions free has no reason
		for i, function := range users() {
			config.Used[i].Begin, config.Used[i].End = p.names.symbols.codeOf(function)
		}
	}
	if p.reasons.queuePurge == noReason {
		for i, function := range purges() {
			config.Purges[i].Begin, config.Purges[i].End = p.names.symbols.codeOf(function)
		}
	}
	if err := spec.Variables["config"].Set(config); err != nil {
		return nil, fmt.Errorf("set BPF config: %w", err)
	}
	return spec, nil
}

func (p *Plugin) detach() error {
	if p.programs == nil {
		return nil
	}
	var errs []error
	for _, l := range p.links {
		errs = append(errs, l.Close())
	}
	for _, program := range p.programs {
		errs = append(errs, program.Close())
	}
	errs = append(errs, p.maps.Close())
	p.links, p.programs, p.maps = nil, nil, bpf.DropreasonMaps{}
	return errors.Join(errs...)
}

// Attach has nothing to do: the tracepoint is the whole kernel's, and scope
// knows the targets.
func (p *Plugin) Attach([]scope.Interface) error { return nil }

// Detach forgets targets after the next Sample.
func (p *Plugin) Detach(targets []uint32) {
	for _, target := range targets {
		p.table.leaving[target] = true
	}
}

// Start makes everything count from here.
func (p *Plugin) Start() (err error) {
	if p.watch, err = tracepoint.NewWatch(p.maps.Twins, p.programs[0]); err != nil {
		return err
	}
	if p.cilium != nil {
		return p.cilium.start()
	}
	return nil
}

// readNames notes what this kernel does not name.
func (p *Plugin) readNames() {
	switch {
	case p.reasons.arguments < 3:
		p.lack(hint.Wrap(errors.New("the kernel tells no reasons: what netfilter drops counts as NETFILTER_DROP, every other packet that is freed as "+notSpecified),
			"reasons need Linux 5.17 or later"))
	case p.reasons.arguments < 4:
		p.lack(hint.Wrap(errors.New("drops of packets that wait in a TCP socket's queue may be missing"),
			"the kernel tells their socket since Linux 6.11"))
	}
	if !p.reasons.tellsMisses {
		p.lack(hint.Wrap(errors.New(tracepoint.Unwatched), "the kernel tells of it since Linux 5.12"))
	}
	symbols, err := readSymbols()
	if err == nil && len(symbols.addresses) == 0 {
		err = errors.New("the kernel hides its symbols")
	}
	if err != nil {
		p.lack(hint.Wrap(fmt.Errorf("functions and netfilter hooks of drops are unknown: %w", err),
			"set kernel.kptr_restrict to 0 or 1 on the node"))
		if p.reasons.queuePurge == noReason {
			p.lack(hint.Wrap(errors.New("what a socket had not read when it was closed, most often the peer's FIN, counts as a drop"),
				"set kernel.kptr_restrict to 0 or 1 on the node, or use Linux 6.6 or later"))
		}
		return
	}
	p.names.symbols = symbols
}

func (p *Plugin) lack(err error) {
	p.missing = append(p.missing, wire.PluginError{Plugin: Name, Cause: err.Error(), Hint: hint.Of(err), Partial: true})
}

// Missing tells what this node cannot give, now that scope has its targets.
func (p *Plugin) Missing() []wire.PluginError {
	missing := slices.Clone(p.missing)
	if _, ok := p.nodeTarget(); !ok && p.cilium != nil {
		missing = append(missing, wire.PluginError{
			Plugin: Name, Partial: true,
			Cause: "Cilium counts its drops per node, not per pod, and the node is no target",
			Hint:  "add node/NAME to see them",
		})
	}
	return missing
}

// nodeTarget is the target that stands for the node.
func (p *Plugin) nodeTarget() (id uint32, ok bool) {
	for _, target := range p.scope.Targets() {
		if target.Node {
			return target.ID, true
		}
	}
	return 0, false
}

// Close detaches and frees everything.
func (p *Plugin) Close() error {
	err := p.detach()
	if p.cilium != nil {
		err = errors.Join(err, p.cilium.Close())
	}
	return err
}
