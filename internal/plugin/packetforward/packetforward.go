//go:build linux

// Package packetforward counts the packets and bytes of the targets' interfaces.
//
// It attaches nothing. The kernel counts exactly this anyway, for each CPU and
// interface (struct rtnl_link_stats64): a program of ours would count it a second
// time, cost every packet something, and see less, as packets can pass by its hook.
// One netlink message for each interface and sample is all that it takes, on any
// kernel. What it costs is the kernel's idea of a packet: one that it hands to the
// interface, or takes from it, as a whole. Where segmentation is left to the
// interface, as veth pairs do, that may be many segments in one.
//
// The kernel counts since the interface was made, we count since go: what an
// interface has by then is subtracted. An interface that is attached later counts
// from that moment, unless it belongs to a pod that began after go: this one counts
// from its first packet, once, also when it is a target more than once.
package packetforward

import (
	"errors"
	"fmt"

	"github.com/kubectl-retina/kubectl-retina/internal/plugin/packetforward/linkstats"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/packetforward/netnsage"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/scope"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// Name is the plugin's name in plugins.yaml.
const Name = "packetforward"

// A Plugin counts from Start to Close. It is for one goroutine.
type Plugin struct {
	procfs string
	spaces map[uint64]*space // by netns inode
	memory *netnsage.Memory  // since Start
}

// space is one network namespace with the interfaces in it that are counted.
type space struct {
	reader     *linkstats.Reader
	interfaces []*counted
}

// counted is one interface.
type counted struct {
	id, target uint32
	ifindex    int
	leaving    bool // its target is gone: the next sample is its last
	over       bool // another target counts it already
	last       numbers
	total      numbers // since go
	sent       numbers // as of the last sample
}

// numbers are what is counted of an interface, in and out as the target sees it.
// Its interfaces receive what comes in: those of a pod, and the node's uplinks.
type numbers struct {
	packetsIn, packetsOut, bytesIn, bytesOut uint64
}

// Open never fails: there is nothing that a kernel could lack.
func Open(s *scope.Scope) (*Plugin, error) {
	return &Plugin{procfs: s.Options().Procfs, spaces: make(map[uint64]*space)}, nil
}

// Attach counts these interfaces too.
func (p *Plugin) Attach(added []scope.Interface) error {
	var errs []error
	fresh := make(map[uint64][]*counted)
	for _, i := range added {
		in := p.spaces[i.Netns.Ino]
		if in == nil {
			reader, err := linkstats.Open(i.Netns)
			if err != nil {
				errs = append(errs, fmt.Errorf("count packets of %s: %w", i.Name, err))
				continue
			}
			in = &space{reader: reader}
			p.spaces[i.Netns.Ino] = in
		}
		c := &counted{id: i.ID, target: i.Target, ifindex: i.Index}
		in.interfaces = append(in.interfaces, c)
		fresh[i.Netns.Ino] = append(fresh[i.Netns.Ino], c)
	}
	if p.memory != nil {
		errs = append(errs, p.join(fresh))
	}
	return errors.Join(errs...)
}

// join takes the baselines of interfaces that come after go.
func (p *Plugin) join(fresh map[uint64][]*counted) error {
	var inos []uint64
	for ino := range fresh {
		inos = append(inos, ino)
	}
	born, err := p.memory.New(inos)
	errs := []error{err}
	for ino, interfaces := range fresh {
		if !born[ino] {
			errs = append(errs, p.spaces[ino].baseline(interfaces))
		}
	}
	return errors.Join(errs...)
}

// baseline makes interfaces count from now, and those of targets that leave count to
// now: they may be the same ones, of a pod that is a target again.
func (s *space) baseline(fresh []*counted) error {
	all, err := s.reader.Read()
	if err != nil {
		return err
	}
	for _, c := range s.interfaces {
		if stats, ok := all[c.ifindex]; ok && c.leaving {
			c.count(numbersOf(&stats))
			c.over = true
		}
	}
	for _, c := range fresh {
		if stats, ok := all[c.ifindex]; ok {
			c.last = numbersOf(&stats)
		}
	}
	return nil
}

// Start begins counting.
func (p *Plugin) Start() error {
	memory, err := netnsage.Remember(p.procfs)
	if err != nil {
		return err
	}
	p.memory = memory
	for _, in := range p.spaces {
		if err := in.baseline(in.interfaces); err != nil {
			return err
		}
	}
	return nil
}

// Detach ends the counting of targets with the next sample.
func (p *Plugin) Detach(targets []uint32) {
	gone := make(map[uint32]bool, len(targets))
	for _, id := range targets {
		gone[id] = true
	}
	for _, in := range p.spaces {
		for _, c := range in.interfaces {
			c.leaving = c.leaving || gone[c.target]
		}
	}
}

// Sample appends the interfaces whose numbers have changed. One that has vanished
// keeps its last ones.
func (p *Plugin) Sample(into *wire.Sample) error {
	if p.memory == nil {
		return nil
	}
	var errs []error
	for ino, in := range p.spaces {
		all, err := in.reader.Read()
		if err != nil {
			errs = append(errs, err)
		}
		stay := in.interfaces[:0]
		for _, c := range in.interfaces {
			if stats, ok := all[c.ifindex]; ok && !c.over {
				c.count(numbersOf(&stats))
			}
			if c.total != c.sent {
				c.sent = c.total
				into.Traffic = append(into.Traffic, c.sample())
			}
			if !c.leaving {
				stay = append(stay, c)
			}
		}
		clear(in.interfaces[len(stay):])
		in.interfaces = stay
		if len(stay) == 0 {
			errs = append(errs, in.reader.Close())
			delete(p.spaces, ino)
		}
	}
	return errors.Join(errs...)
}

func (c *counted) sample() wire.TrafficSample {
	return wire.TrafficSample{
		Interface: c.id, PacketsIn: c.total.packetsIn, PacketsOut: c.total.packetsOut,
		BytesIn: c.total.bytesIn, BytesOut: c.total.bytesOut,
	}
}

func (c *counted) count(now numbers) {
	c.total.packetsIn += since(now.packetsIn, c.last.packetsIn)
	c.total.packetsOut += since(now.packetsOut, c.last.packetsOut)
	c.total.bytesIn += since(now.bytesIn, c.last.bytesIn)
	c.total.bytesOut += since(now.bytesOut, c.last.bytesOut)
	c.last = now
}

// since is the difference of two readings. Some drivers begin with 0 again when
// they reset the device: what is counted then has come since.
func since(now, last uint64) uint64 {
	if now < last {
		return now
	}
	return now - last
}

func numbersOf(s *linkstats.Stats) numbers {
	return numbers{
		packetsIn: s[linkstats.RxPackets], packetsOut: s[linkstats.TxPackets],
		bytesIn: s[linkstats.RxBytes], bytesOut: s[linkstats.TxBytes],
	}
}

// Missing is always empty.
func (p *Plugin) Missing() []wire.PluginError { return nil }

// Close closes the sockets.
func (p *Plugin) Close() error {
	var errs []error
	for ino, in := range p.spaces {
		errs = append(errs, in.reader.Close())
		delete(p.spaces, ino)
	}
	return errors.Join(errs...)
}
