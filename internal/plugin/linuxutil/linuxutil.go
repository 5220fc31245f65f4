//go:build linux

// Package linuxutil reports what the kernel counts anyway about TCP, UDP, IP,
// sockets, interfaces and conntrack, for each target's network namespace. Nothing is
// attached: it reads procfs, netlink and, for the node's uplinks, the drivers' own
// counters (as `ethtool -S` does).
//
// Everything is opened once for a namespace and read again for each sample. Counters
// count from go; those of a pod that began after go from the pod's beginning, once, all
// others that come later from when they are attached.
package linuxutil

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kubectl-retina/kubectl-retina/internal/plugin/packetforward/netnsage"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/scope"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// Name is the plugin's name in plugins.yaml.
const Name = "linuxutil"

// Sockets are counted by state only where something has changed, and all of it may
// take this part of the time: each count makes the kernel walk all TCP sockets of
// the machine. States that could not be counted in a sample stay as they were, and
// are the first ones to be counted for the next.
const (
	shareForStates = 50                     // 1/50 of one CPU
	creditMost     = 200 * time.Millisecond // to be spent in one sample
	// statesFor is how long states are believed when nothing seems to have changed: a
	// half-open connection that times out leaves no trace in any counter.
	statesFor = 10 * time.Second
)

// A Plugin reads from Start to Close. It is for one goroutine.
type Plugin struct {
	procfs  string
	spaces  []*space
	memory  *netnsage.Memory // since Start
	buf     []byte
	credit  time.Duration // for counting sockets by state
	paid    time.Time     // when credit was last raised
	missing map[string]wire.PluginError
}

// Open never fails: what a kernel lacks is in Missing.
func Open(s *scope.Scope) (*Plugin, error) {
	return &Plugin{procfs: s.Options().Procfs, credit: creditMost, paid: time.Now(), missing: make(map[string]wire.PluginError)}, nil
}

// Attach reads these interfaces and their namespaces too.
func (p *Plugin) Attach(added []scope.Interface) error {
	var errs []error
	var fresh []*space
	for _, i := range added {
		s := p.space(i.Target)
		if s == nil {
			var err error
			if s, err = openSpace(i); err != nil {
				errs = append(errs, fmt.Errorf("read the counters of %s: %w", i.Name, err))
				continue
			}
			p.look(s)
			p.spaces = append(p.spaces, s)
			fresh = append(fresh, s)
		}
		errs = append(errs, s.add(i))
	}
	if p.memory != nil {
		errs = append(errs, p.join(fresh))
	}
	return errors.Join(errs...)
}

func (p *Plugin) space(target uint32) *space {
	for _, s := range p.spaces {
		if s.target == target && !s.leaving {
			return s
		}
	}
	return nil
}

// look notes what there is not to be read.
func (p *Plugin) look(s *space) {
	if s.sockets == nil {
		p.miss("TCP sockets by state: the kernel has no socket diagnosis", "load the kernel module tcp_diag on the node")
	}
	switch {
	case s.files[fileCount] == nil && s.node:
		p.miss("conntrack: the kernel module nf_conntrack is not loaded", "")
	case s.files[fileConntrack] == nil && s.node:
		p.miss("conntrack statistics: the kernel is built without CONFIG_NF_CONNTRACK_PROCFS", "")
	}
}

func (p *Plugin) miss(cause, hint string) {
	p.missing[cause] = wire.PluginError{Plugin: Name, Cause: cause, Hint: hint, Partial: true}
}

// join takes the baselines of targets that come after go.
func (p *Plugin) join(fresh []*space) error {
	if len(fresh) == 0 {
		return nil
	}
	var inos []uint64
	for _, s := range fresh {
		inos = append(inos, s.ino)
	}
	born, err := p.memory.New(inos)
	errs := []error{err}
	for _, s := range fresh {
		if !born[s.ino] {
			errs = append(errs, p.settle(s.ino), p.baseline(s))
		}
	}
	return errors.Join(errs...)
}

// settle makes targets that leave a namespace count to now: one that comes counts from
// now on.
func (p *Plugin) settle(ino uint64) error {
	var errs []error
	for _, s := range p.spaces {
		if s.ino == ino && s.leaving && !s.over {
			var err error
			p.buf, err = s.readAll(p.buf)
			errs = append(errs, err)
			s.over = true
		}
	}
	return errors.Join(errs...)
}

func (p *Plugin) baseline(s *space) error {
	var err error
	p.buf, err = s.readAll(p.buf)
	s.numbers.baseline()
	return err
}

// Start begins counting.
func (p *Plugin) Start() error {
	memory, err := netnsage.Remember(p.procfs)
	if err != nil {
		return err
	}
	p.memory = memory
	var errs []error
	for _, s := range p.spaces {
		errs = append(errs, p.baseline(s))
	}
	return errors.Join(errs...)
}

// Detach ends the reading of targets with the next sample.
func (p *Plugin) Detach(targets []uint32) {
	for _, s := range p.spaces {
		s.leaving = s.leaving || slices.Contains(targets, s.target)
	}
}

// Sample appends the numbers that have changed.
func (p *Plugin) Sample(into *wire.Sample) error {
	if p.memory == nil {
		return nil
	}
	var errs []error
	for _, s := range p.spaces {
		if s.over {
			continue
		}
		var err error
		p.buf, err = s.readAll(p.buf)
		errs = append(errs, err)
	}
	errs = append(errs, p.countStates(time.Now()))
	stay := p.spaces[:0]
	for _, s := range p.spaces {
		into.Stats = s.numbers.sample(s.target, into.Stats)
		if s.leaving {
			errs = append(errs, s.Close())
			continue
		}
		stay = append(stay, s)
	}
	clear(p.spaces[len(stay):])
	p.spaces = stay
	return errors.Join(errs...)
}

// countStates counts the sockets where they may have changed, those first that
// have waited longest, until the time for it is used up.
func (p *Plugin) countStates(now time.Time) error {
	p.credit = min(p.credit+now.Sub(p.paid)/shareForStates, creditMost)
	p.paid = now
	var due []*space
	for _, s := range p.spaces {
		if s.sockets != nil && (s.sockets.activity != s.activity || now.Sub(s.sockets.counted) >= statesFor) {
			due = append(due, s)
		}
	}
	slices.SortStableFunc(due, func(a, b *space) int { return a.sockets.counted.Compare(b.sockets.counted) })
	var errs []error
	for _, s := range due {
		if p.credit <= 0 {
			break
		}
		begin := time.Now()
		err := s.readStates()
		p.credit -= time.Since(begin)
		s.sockets.activity, s.sockets.counted = s.activity, now
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
			errs = append(errs, s.sockets.Close())
			s.sockets = nil
			p.look(s)
			continue
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Missing says what this kernel cannot tell.
func (p *Plugin) Missing() []wire.PluginError {
	var missing []wire.PluginError
	for _, m := range p.missing {
		missing = append(missing, m)
	}
	slices.SortFunc(missing, func(a, b wire.PluginError) int { return cmp.Compare(a.Cause, b.Cause) })
	return missing
}

// Close closes everything.
func (p *Plugin) Close() error {
	var errs []error
	for _, s := range p.spaces {
		errs = append(errs, s.Close())
	}
	p.spaces = nil
	return errors.Join(errs...)
}
