//go:build linux

package packets

import (
	"errors"
	"fmt"
	"io"
	"sync"

	bpf "github.com/kubectl-retina/kubectl-retina/bpf/packets"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/hostns"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// A Plugin is one packet capture on this node, from Open to Close.
type Plugin struct {
	kernel      *kernel
	ready       wire.Ready
	attachments []*attachment
	netns       []*hostns.Netns
	watched     []watched // by interface ID
	reader      *reader
	others      *others // nil unless the node is a target
}

// watched is where an interface can be looked for again.
type watched struct {
	ns      *hostns.Netns
	ifindex int
	gone    bool
}

// Open attaches to every interface of the targets in spec, which has been
// validated. Nothing is counted before Go. Targets that cannot be attached are
// in Ready().Failed; when none can, Open fails with the first one's reason.
// The caller closes the Plugin.
func Open(spec *wire.PacketsSpec) (*Plugin, error) {
	filter, err := newFilter(spec.Filter)
	if err != nil {
		return nil, err
	}
	kernel, err := newKernel(spec.RingBytes, filter)
	if err != nil {
		return nil, err
	}
	p := &Plugin{kernel: kernel, ready: wire.Ready{SnapLen: spec.SnapLen}}
	if err := p.open(spec); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (p *Plugin) open(spec *wire.PacketsSpec) error {
	host, err := hostns.Host()
	if err != nil {
		return err
	}
	p.netns = append(p.netns, host)
	if spec.Filter != nil {
		if err := p.SetAddresses(spec.Filter.Addresses); err != nil {
			return err
		}
	}
	pods, err := hostns.FindPods("/proc", podUIDs(spec.Targets))
	if err != nil {
		return err
	}
	for _, ns := range pods {
		p.netns = append(p.netns, ns)
	}
	if p.reader, err = newReader(p.kernel, spec.SnapLen); err != nil {
		return err
	}
	for _, target := range spec.Targets {
		failure, err := p.openTarget(spec, target, host, pods[target.PodUID])
		if err != nil {
			failure = &wire.TargetError{Cause: err.Error(), Hint: hint.Of(err)}
		}
		if failure != nil {
			failure.Target = target.ID
			p.ready.Failed = append(p.ready.Failed, *failure)
		}
	}
	if len(p.ready.Interfaces) == 0 {
		first := p.ready.Failed[0]
		if first.HostNetwork {
			return nil // the command knows what to do about those
		}
		return hint.Wrap(errors.New(first.Cause), first.Hint)
	}
	return nil
}

func podUIDs(targets []wire.Target) []string {
	var uids []string
	for _, target := range targets {
		if !target.Node {
			uids = append(uids, target.PodUID)
		}
	}
	return uids
}

// openTarget attaches to the interfaces of one target.
func (p *Plugin) openTarget(spec *wire.PacketsSpec, target wire.Target, host, pod *hostns.Netns) (*wire.TargetError, error) {
	ns, interfaces := host, hostns.NodeInterfaces
	if !target.Node {
		ns, interfaces = pod, hostns.PodInterfaces
		if pod == nil {
			return nil, hint.Wrap(fmt.Errorf("%s: %w", target.Name, hostns.ErrNoProcess),
				"the pod may have ended just now, or run in a virtual machine (Kata, gVisor), whose packets only the node sees: capture node/NAME")
		}
		if pod.Ino == host.Ino {
			return &wire.TargetError{HostNetwork: true, Cause: target.Name + " has no network of its own (hostNetwork)"}, nil
		}
	}
	if len(spec.Interfaces) > 0 {
		interfaces = hostns.AllInterfaces
	}
	list, err := interfaces(ns)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", target.Name, err)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s has no interface that is up", target.Name)
	}
	if list, err = p.choose(spec, target, list); err != nil {
		return nil, err
	}
	for _, i := range list {
		if err := p.attach(spec, target, ns, i); err != nil {
			return nil, fmt.Errorf("%s: %w", target.Name, err)
		}
	}
	return nil, nil
}

func (p *Plugin) attach(spec *wire.PacketsSpec, target wire.Target, ns *hostns.Netns, i hostns.Interface) error {
	id := len(p.ready.Interfaces)
	if id == maxInterfaces {
		return fmt.Errorf("more than %d interfaces on this node", maxInterfaces)
	}
	config := bpf.PacketsInterfaceConfig{Snaplen: spec.SnapLen, InterfaceId: uint16(id)}
	if target.Node {
		config.Exclude = 1
	}
	linkType := wire.LinkTypeEthernet
	if i.Raw {
		config.Raw, linkType = 1, wire.LinkTypeRaw
	}
	a, err := attach(p.kernel, ns, i, config, spec.Hook)
	if err != nil {
		return err
	}
	p.attachments = append(p.attachments, a)
	p.watched = append(p.watched, watched{ns: ns, ifindex: i.Index})
	p.ready.Interfaces = append(p.ready.Interfaces, wire.Interface{
		ID: uint32(id), Target: target.ID, Name: i.Name, Ifindex: i.Index,
		LinkType: linkType, MAC: i.MAC.String(), MTU: i.MTU, Hook: a.hook,
	})
	return nil
}

// Ready describes what is attached. The caller must not change it.
func (p *Plugin) Ready() wire.Ready { return p.ready }

// ExcludeFlows leaves out the packets of these connections on the node's own
// interfaces, and counts them apart.
func (p *Plugin) ExcludeFlows(flows []Flow) error {
	for _, flow := range flows {
		if err := p.kernel.maps.OwnFlows.Put(flow.key(), uint8(1)); err != nil {
			return fmt.Errorf("exclude own stream: %w", err)
		}
	}
	return nil
}

// ExcludeOthers leaves out the streams of other collectors on this node as well:
// two captures of one node would feed each other. It is to be called again and
// again, as others come.
func (p *Plugin) ExcludeOthers() error {
	if p.others == nil {
		var err error
		if p.others, err = newOthers(p.kernel.maps.OwnFlows); err != nil {
			return err
		}
	}
	return p.others.adopt()
}

// Go starts counting and capturing on all interfaces at once.
func (p *Plugin) Go() error { return p.setRunning(1) }

// Stop ends counting and capturing. Packets that are in the ring buffer by
// then are still delivered by Drain.
func (p *Plugin) Stop() error { return p.setRunning(0) }

func (p *Plugin) setRunning(on uint32) error {
	if err := p.kernel.maps.Running.Put(uint32(0), on); err != nil {
		return fmt.Errorf("switch capture: %w", err)
	}
	return nil
}

// Detach detaches from every interface and leaves everything else as it is.
// Detaching waits for the kernel's RCU grace period, so the interfaces go in
// parallel.
func (p *Plugin) Detach() error {
	errs := make([]error, len(p.attachments))
	var wg sync.WaitGroup
	for i, a := range p.attachments {
		wg.Go(func() { errs[i] = a.Close() })
	}
	wg.Wait()
	p.attachments = nil
	return errors.Join(errs...)
}

// Close detaches and frees everything. Nothing else may be in use.
func (p *Plugin) Close() error {
	errs := []error{p.Detach()}
	var closers []io.Closer
	if p.reader != nil {
		closers = append(closers, p.reader)
	}
	if p.others != nil {
		closers = append(closers, p.others)
	}
	for _, ns := range p.netns {
		closers = append(closers, ns)
	}
	for _, c := range append(closers, p.kernel) {
		errs = append(errs, c.Close())
	}
	p.netns, p.reader = nil, nil
	return errors.Join(errs...)
}
