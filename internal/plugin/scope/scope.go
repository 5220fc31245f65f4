//go:build linux

// Package scope is what all metrics plugins on a node share: the targets with their
// network namespaces and interfaces, the BPF maps that tell the programs about
// them, and the events that they send.
package scope

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"

	bpf "github.com/kubectl-retina/kubectl-retina/bpf/scope"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/hostns"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// Options are those of a wire.MetricsSpec that plugins need.
type Options struct {
	TableEntries    uint32   // of each table in the kernel
	Hook            string   // "", or the only way of attaching to try
	EventsPerSecond uint32   // 0: no events
	EventKinds      []string // as wire.EventDrop; none: all
	APIServers      []netip.AddrPort
	// HostNetns is the path of the node's own network namespace; "" is that of this
	// process.
	HostNetns string
	// Procfs is where processes are looked for; "" is /proc.
	Procfs string
}

// Target is something that is measured.
type Target struct {
	ID    uint32
	Name  string // for messages
	Node  bool
	Addrs []netip.Addr  // of a pod
	Netns *hostns.Netns // the Scope closes it
}

// Interface is one interface of a target.
type Interface struct {
	ID     uint32 // as in wire.Interface
	Target uint32
	Node   bool
	Netns  *hostns.Netns // the Scope closes it
	hostns.Interface
}

// A Scope is the targets of one collector. Its methods are for one goroutine,
// except Emit and WallNS. Close it after the plugins.
type Scope struct {
	options    Options
	maps       bpf.ScopeMaps
	host       *hostns.Netns
	targets    []Target
	interfaces []Interface
	lastID     uint32
	events     *events
}

// New creates the maps that the programs share.
func New(o Options) (*Scope, error) {
	// Kernels before 5.11 charge maps to RLIMIT_MEMLOCK. Where raising it is
	// not allowed, creating the maps will say whether it was needed.
	_ = rlimit.RemoveMemlock()
	if o.HostNetns == "" {
		o.HostNetns = "/proc/thread-self/ns/net"
	}
	if o.Procfs == "" {
		o.Procfs = "/proc"
	}
	host, err := hostns.Open(o.HostNetns)
	if err != nil {
		return nil, err
	}
	s := &Scope{options: o, host: host}
	if err := s.open(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Scope) open() error {
	spec, err := bpf.LoadScope()
	if err != nil {
		return fmt.Errorf("read BPF object: %w", err)
	}
	maps := ebpf.CollectionSpec{Maps: spec.Maps}
	for name := range maps.Maps {
		if name == ".rodata" {
			delete(maps.Maps, name)
		}
	}
	if err := maps.LoadAndAssign(&s.maps, nil); err != nil {
		return Explain(fmt.Errorf("create BPF maps: %w", err))
	}
	if err := s.maps.ScopeNetns.Put(uint32(s.host.Ino), uint32(nodeOnly)); err != nil {
		return fmt.Errorf("note the node's netns: %w", err)
	}
	s.events, err = newEvents(s.maps, s.options.EventsPerSecond, s.options.EventKinds)
	return err
}

// nodeOnly is SCOPE_NODE of scope.bpf.h.
const nodeOnly = 0xffffffff

// Options returns what New was given, with defaults filled in.
func (s *Scope) Options() Options { return s.options }

// Host is the node's own network namespace.
func (s *Scope) Host() *hostns.Netns { return s.host }

// Targets are the present targets. The caller must not change them.
func (s *Scope) Targets() []Target { return s.targets }

// Interfaces are those of the present targets. The caller must not change them.
func (s *Scope) Interfaces() []Interface { return s.interfaces }

// Add looks for the targets' namespaces and interfaces, and tells the programs
// about them. What cannot be measured is in failed; an error is the whole node's.
func (s *Scope) Add(targets []wire.Target) (added []Interface, failed []wire.TargetError, err error) {
	var uids []string
	for _, t := range targets {
		if !t.Node {
			uids = append(uids, t.PodUID)
		}
	}
	pods, err := hostns.FindPods(s.options.Procfs, uids)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		for _, unused := range pods {
			unused.Close()
		}
	}()
	for _, t := range targets {
		netns := pods[t.PodUID]
		delete(pods, t.PodUID) // it is the target's now
		if t.Node {
			if netns, err = hostns.Open(s.options.HostNetns); err != nil {
				return added, failed, err
			}
		}
		fresh, failure := s.add(t, netns)
		if failure != nil {
			if netns != nil {
				netns.Close()
			}
			failure.Target = t.ID
			failed = append(failed, *failure)
			continue
		}
		added = append(added, fresh...)
	}
	return added, failed, nil
}

// add adds one target, whose namespace it keeps unless it fails.
func (s *Scope) add(t wire.Target, netns *hostns.Netns) ([]Interface, *wire.TargetError) {
	if i := s.index(t.ID); i >= 0 {
		return nil, &wire.TargetError{Cause: t.Name + " is measured already"}
	}
	if netns == nil {
		return nil, &wire.TargetError{Cause: t.Name + ": " + hostns.ErrNoProcess.Error(),
			Hint: "the pod may have ended just now, or run in a virtual machine (Kata, gVisor), whose packets only the node sees: measure node/NAME"}
	}
	if !t.Node && netns.Ino == s.host.Ino {
		return nil, &wire.TargetError{HostNetwork: true, Cause: t.Name + " has no network of its own (hostNetwork)"}
	}
	list := hostns.PodInterfaces
	if t.Node {
		list = hostns.NodeInterfaces
	}
	interfaces, err := list(netns)
	if err == nil && len(interfaces) == 0 {
		err = errors.New("no interface is up")
	}
	target := Target{ID: t.ID, Name: t.Name, Node: t.Node, Addrs: t.Addrs, Netns: netns}
	if err == nil {
		err = s.tell(target)
	}
	if err != nil {
		return nil, &wire.TargetError{Cause: fmt.Sprintf("%s: %s", t.Name, err), Hint: hint.Of(err)}
	}
	s.targets = append(s.targets, target)
	added := make([]Interface, len(interfaces))
	for n, i := range interfaces {
		added[n] = Interface{ID: s.lastID, Target: t.ID, Node: t.Node, Netns: netns, Interface: i}
		s.lastID++
	}
	s.interfaces = append(s.interfaces, added...)
	return added, nil
}

// tell writes a target into the programs' maps, all of it or nothing.
func (s *Scope) tell(t Target) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, s.untell(t))
		}
	}()
	for _, addr := range t.Addrs {
		if err := s.maps.ScopeAddresses.Put(Address(addr), t.ID); err != nil {
			return fmt.Errorf("note address %s: %w", addr, err)
		}
	}
	if err := s.maps.ScopeNetns.Put(uint32(t.Netns.Ino), t.ID); err != nil {
		return fmt.Errorf("note netns: %w", err)
	}
	return nil
}

// Remove forgets targets. Their namespaces are closed, so plugins have to be told
// first.
func (s *Scope) Remove(targets []uint32) error {
	var errs []error
	for _, id := range targets {
		i := s.index(id)
		if i < 0 {
			continue
		}
		t := s.targets[i]
		s.targets = slices.Delete(s.targets, i, i+1)
		s.interfaces = slices.DeleteFunc(s.interfaces, func(i Interface) bool { return i.Target == id })
		errs = append(errs, s.untell(t), t.Netns.Close())
	}
	return errors.Join(errs...)
}

// untell takes a target out of the maps, except for what another has by now.
func (s *Scope) untell(t Target) error {
	var errs []error
	if t.Node {
		errs = append(errs, s.maps.ScopeNetns.Put(uint32(t.Netns.Ino), uint32(nodeOnly)))
	} else {
		errs = append(errs, remove(s.maps.ScopeNetns, uint32(t.Netns.Ino), t.ID))
	}
	for _, addr := range t.Addrs {
		errs = append(errs, remove(s.maps.ScopeAddresses, Address(addr), t.ID))
	}
	return errors.Join(errs...)
}

func remove(m *ebpf.Map, key any, id uint32) error {
	var has uint32
	if err := m.Lookup(key, &has); err != nil || has != id {
		return nil
	}
	if err := m.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("forget target: %w", err)
	}
	return nil
}

func (s *Scope) index(id uint32) int {
	return slices.IndexFunc(s.targets, func(t Target) bool { return t.ID == id })
}

// Address is addr as the programs have it.
func Address(addr netip.Addr) bpf.ScopeScopeAddress {
	return bpf.ScopeScopeAddress{Bytes: addr.As16()}
}

// Run starts or stops counting in all programs.
func (s *Scope) Run(on bool) error {
	var value uint32
	if on {
		value = 1
	}
	if err := s.maps.ScopeRunning.Put(uint32(0), value); err != nil {
		return fmt.Errorf("switch counting: %w", err)
	}
	return nil
}

// Close frees the maps and closes the namespaces.
func (s *Scope) Close() error {
	errs := []error{s.host.Close()}
	for _, t := range s.targets {
		errs = append(errs, t.Netns.Close())
	}
	if s.events != nil {
		errs = append(errs, s.events.close())
	}
	if s.maps.ScopeNetns != nil {
		errs = append(errs, s.maps.Close())
	}
	return errors.Join(errs...)
}
