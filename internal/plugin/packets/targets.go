//go:build linux

package packets

import (
	"errors"
	"fmt"
	"slices"
	"time"

	bpf "github.com/kubectl-retina/kubectl-retina/bpf/packets"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/hostns"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// addTarget attaches to the interfaces of one target, whose namespace it takes.
func (p *Plugin) addTarget(target wire.Target, pod *hostns.Netns) Added {
	first := len(p.ready.Interfaces) // nobody else adds any
	warning, failed, err := p.openTarget(target, pod)
	if err != nil {
		failed = &wire.TargetError{Cause: err.Error(), Hint: hint.Of(err)}
	}
	added := Added{Interfaces: slices.Clone(p.ready.Interfaces[first:])}
	if failed != nil {
		failed.Target = target.ID
		added.Failed = []wire.TargetError{*failed}
	}
	if warning != "" {
		added.Warnings = []string{warning}
	}
	if pod != nil && len(added.Interfaces) == 0 {
		_ = pod.Close()
	}
	return added
}

func (p *Plugin) openTarget(target wire.Target, pod *hostns.Netns) (warning string, failed *wire.TargetError, err error) {
	if !target.Node && pod == nil {
		return "", nil, hint.Wrap(fmt.Errorf("%s: %w", target.Name, hostns.ErrNoProcess),
			"the pod may have ended just now, or run in a virtual machine (Kata, gVisor), whose packets only the node sees: capture node/NAME")
	}
	if !target.Node && pod.Ino == p.host.Ino {
		return "", &wire.TargetError{HostNetwork: true, Cause: target.Name + " has no network of its own (hostNetwork)"}, nil
	}
	list, err := p.spots(target, pod)
	if err != nil {
		return "", nil, fmt.Errorf("%s: %w", target.Name, err)
	}
	if len(list) == 0 {
		return "", nil, fmt.Errorf("%s has no interface that is up", target.Name)
	}
	if list, warning, err = p.choose(p.spec, target, list); err != nil {
		return "", nil, err
	}
	for _, s := range list {
		if p.hasDetached() {
			return warning, nil, errDetached
		}
		if err := p.attach(target, pod, s); err != nil {
			return warning, nil, fmt.Errorf("%s: %w", target.Name, err)
		}
	}
	return warning, nil, nil
}

var errDetached = errors.New("the capture has ended")

func (p *Plugin) hasDetached() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.detached
}

// A spot is an interface in its namespace.
type spot struct {
	ns *hostns.Netns
	hostns.Interface
	hostSide bool
}

// spots are where a target's packets are captured.
func (p *Plugin) spots(target wire.Target, pod *hostns.Netns) ([]spot, error) {
	var all []spot
	add := func(ns *hostns.Netns, hostSide bool, list []hostns.Interface, err error) error {
		for _, i := range list {
			all = append(all, spot{ns, i, hostSide})
		}
		return err
	}
	node, inside := hostns.NodeInterfaces, hostns.PodInterfaces
	if len(p.spec.Interfaces) > 0 {
		node, inside = hostns.AllInterfaces, hostns.AllInterfaces
	}
	if target.Node {
		list, err := node(p.host)
		list = slices.DeleteFunc(list, p.isHostSide)
		err = add(p.host, false, list, err)
		return all, err
	}
	if p.spec.From(wire.VantagePod) {
		list, err := inside(pod)
		if err := add(pod, false, list, err); err != nil {
			return nil, err
		}
	}
	if p.spec.From(wire.VantageNode) {
		list, err := hostns.HostSides(pod, p.host)
		if err := add(p.host, true, list, err); err != nil {
			return nil, err
		}
		if len(all) == 0 {
			return nil, hint.Wrap(errors.New("its interfaces have no other end on the node"), "with --vantage pod they are captured themselves")
		}
	}
	return all, nil
}

// isHostSide reports whether an interface of the node is captured as the end of a
// pod's already.
func (p *Plugin) isHostSide(i hostns.Interface) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.attached, func(a attachedTo) bool { return !a.gone && a.ns == p.host && a.ifindex == i.Index })
}

// attach attaches to one interface. When that fails half-way, packets may have
// come already: the ID is not used again, and stands for an interface that is gone.
func (p *Plugin) attach(target wire.Target, pod *hostns.Netns, i spot) error {
	id := len(p.ready.Interfaces)
	if id == maxInterfaces {
		return fmt.Errorf("more than %d interfaces on this node", maxInterfaces)
	}
	config := bpf.PacketsInterfaceConfig{Snaplen: p.spec.SnapLen, InterfaceId: uint16(id)}
	if target.Node {
		config.Exclude = 1
	}
	linkType := wire.LinkTypeEthernet
	if i.Raw {
		config.Raw, linkType = 1, wire.LinkTypeRaw
	}
	p.reserved.Store(int32(id + 1))
	a, err := attach(p.kernel, i.ns, i.Interface, config, p.spec.Hook)
	if err != nil && !p.running {
		p.reserved.Store(int32(id))
		return err
	}
	one := wire.Interface{
		ID: uint32(id), Target: target.ID, Name: i.Name, Ifindex: i.Index,
		LinkType: linkType, MAC: i.MAC.String(), MTU: i.MTU, HostSide: i.hostSide,
	}
	if a != nil {
		one.Hook = a.hook
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.detached && a != nil {
		_ = a.Close() // whoever has detached meanwhile waits for nobody
		a, err = nil, errDetached
	}
	p.attached = append(p.attached, attachedTo{attachment: a, ns: i.ns, ifindex: i.Index, gone: err != nil})
	p.ready.Interfaces = append(p.ready.Interfaces, one)
	if !target.Node {
		p.netns[target.ID] = pod
	}
	return err
}

// Remove detaches from targets while the plugin captures, and returns their
// interfaces, those that had not vanished already. Packets from before that
// may still be read.
func (p *Plugin) Remove(targets []uint32) []wire.Gone {
	p.forgetWaiting(targets)
	p.mu.Lock()
	defer p.mu.Unlock()
	var gone []wire.Gone
	for id := range p.attached {
		if !p.attached[id].gone && slices.Contains(targets, p.ready.Interfaces[id].Target) {
			gone = append(gone, p.end(id))
		}
	}
	p.forget()
	return gone
}

// Gone returns the announced interfaces that have vanished since the last call,
// because their pods ended. all is true once none is left.
func (p *Plugin) Gone() (gone []wire.Gone, all bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	all = true
	for id := range p.attached {
		a := &p.attached[id]
		if !a.gone && id < p.announced {
			exists, err := a.ns.HasInterface(a.ifindex)
			if err != nil {
				return nil, false, fmt.Errorf("look for interface %d: %w", id, err)
			}
			if !exists {
				gone = append(gone, p.end(id))
			}
		}
		all = all && a.gone
	}
	p.forget()
	return gone, all, nil
}

// end gives up an interface; mu is held. Closing takes a while, and nobody has to
// wait for it.
func (p *Plugin) end(id int) wire.Gone {
	a := &p.attached[id]
	a.gone = true
	if closing := a.attachment; closing != nil {
		a.attachment = nil
		p.closing.Go(func() { _ = closing.Close() })
	}
	return wire.Gone{Interface: uint32(id), Target: p.ready.Interfaces[id].Target, TimeNS: time.Now().UnixNano()}
}

// forget closes the namespaces of targets that have no interface left: they would
// live for as long as they are open. mu is held.
func (p *Plugin) forget() {
	here := map[uint32]bool{}
	for id := range p.attached {
		here[p.ready.Interfaces[id].Target] = here[p.ready.Interfaces[id].Target] || !p.attached[id].gone
	}
	for target, ns := range p.netns {
		if !here[target] {
			delete(p.netns, target)
			_ = ns.Close()
		}
	}
}
