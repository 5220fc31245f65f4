//go:build linux

package packets

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/hostns"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// A Plugin is one packet capture on this node, from Open to Close. Its methods are
// for one goroutine, except that Add, Retry and Remove may be called by another
// while the plugin captures.
type Plugin struct {
	kernel *kernel
	spec   *wire.PacketsSpec
	host   *hostns.Netns
	reader *reader
	others *others // nil unless the node is a target

	// reserved is how many interface IDs packets may have by now. An interface is
	// counted before its first packet can come.
	reserved atomic.Int32
	running  bool           // from Go on; set before anything is added
	closing  sync.WaitGroup // of attachments

	mu        sync.Mutex // guards what follows
	ready     wire.Ready
	attached  []attachedTo             // by interface ID
	announced int                      // how many of those an announcer has been told
	netns     map[uint32]*hostns.Netns // of pods that have not ended, by target
	waiting   []waiting                // targets that are looked for again
	detached  bool                     // for good
}

// attachedTo is an interface that is attached, or was.
type attachedTo struct {
	attachment *attachment // nil once it is closed
	ns         *hostns.Netns
	ifindex    int
	gone       bool
}

// Open attaches to every interface of the targets in spec, which has been
// validated. Nothing is counted before Go. Targets that cannot be attached are
// in Ready().Failed; when none can, Open fails with the first one's reason,
// unless others may follow. The caller closes the Plugin.
func Open(spec *wire.PacketsSpec) (*Plugin, error) {
	filter, err := newFilter(spec.Filter)
	if err != nil {
		return nil, err
	}
	kernel, err := newKernel(spec.RingBytes, filter)
	if err != nil {
		return nil, err
	}
	p := &Plugin{kernel: kernel, spec: spec, ready: wire.Ready{SnapLen: spec.SnapLen}, netns: map[uint32]*hostns.Netns{}}
	if err := p.open(); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (p *Plugin) open() (err error) {
	if p.host, err = hostns.Host(); err != nil {
		return err
	}
	if p.reader, err = newReader(p.kernel, p.spec.SnapLen); err != nil {
		return err
	}
	if p.spec.Filter != nil {
		if err := p.SetAddresses(p.spec.Filter.Addresses); err != nil {
			return err
		}
	}
	err = p.Add(p.spec.Targets, nil, func(added Added) error {
		p.ready.Failed = append(p.ready.Failed, added.Failed...)
		p.ready.Warnings = append(p.ready.Warnings, added.Warnings...)
		return nil
	})
	if err != nil {
		return err
	}
	if len(p.ready.Interfaces) == 0 && !p.spec.Follow {
		first := p.ready.Failed[0]
		if first.HostNetwork {
			return nil // the command knows what to do about those
		}
		return hint.Wrap(errors.New(first.Cause), first.Hint)
	}
	return nil
}

// Ready describes what is attached. The caller must not change it.
func (p *Plugin) Ready() wire.Ready {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ready
}

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
func (p *Plugin) Go() error {
	p.running = true
	return p.setRunning(1)
}

// Stop ends counting and capturing. Packets that are in the ring buffer by
// then are still delivered by Drain.
func (p *Plugin) Stop() error { return p.setRunning(0) }

func (p *Plugin) setRunning(on uint32) error {
	if err := p.kernel.maps.Running.Put(uint32(0), on); err != nil {
		return fmt.Errorf("switch capture: %w", err)
	}
	return nil
}

// Detach detaches from every interface for good, and leaves everything else as it
// is: an Add that still runs attaches to nothing more. Detaching waits for the
// kernel's RCU grace period, so the interfaces go in parallel.
func (p *Plugin) Detach() error {
	defer p.closing.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.detached = true
	errs := make([]error, len(p.attached))
	var wg sync.WaitGroup
	for i := range p.attached {
		if a := p.attached[i].attachment; a != nil {
			p.attached[i].attachment = nil
			wg.Go(func() { errs[i] = a.Close() })
		}
	}
	wg.Wait()
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
	if p.host != nil {
		closers = append(closers, p.host)
	}
	for _, c := range append(closers, p.kernel) {
		errs = append(errs, c.Close())
	}
	p.netns, p.host, p.reader = nil, nil, nil
	return errors.Join(errs...)
}
