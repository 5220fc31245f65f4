//go:build linux

package collector

import (
	"slices"
	"sync"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/plugin/packets"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// follow changes the targets as the command says, until done. It is a goroutine of
// its own: loading programs takes its time, in which the ring buffer must be read.
func (c *capture) follow(done <-chan struct{}) error {
	again := time.NewTicker(lookAround)
	defer again.Stop()
	for {
		var err error
		select {
		case <-done:
			return nil
		case change := <-c.commands.targets:
			err = c.change(change, done)
		case <-again.C:
			err = c.plugin.Retry(done, c.answer)
		}
		if err != nil {
			return err
		}
	}
}

// change makes one change of the targets and answers, until done.
func (c *capture) change(change wire.Targets, done <-chan struct{}) error {
	for _, gone := range c.plugin.Remove(change.Remove) {
		if err := c.send.json(wire.KindGone, gone); err != nil {
			return err
		}
	}
	if err := c.prepareNode(change.Add); err != nil {
		return err
	}
	return c.plugin.Add(change.Add, done, c.answer)
}

// answer tells the command what became of a target.
func (c *capture) answer(added packets.Added) error {
	answer := wire.Attached{Interfaces: added.Interfaces, Failed: added.Failed, Warnings: added.Warnings, TimeNS: time.Now().UnixNano()}
	return c.known.announce(added.Interfaces, func() error { return c.send.json(wire.KindAttached, answer) })
}

// prepareNode looks for our own stream when the node becomes a target, before any
// of its interfaces is captured.
func (c *capture) prepareNode(targets []wire.Target) error {
	node := slices.ContainsFunc(targets, func(t wire.Target) bool { return t.Node })
	if !node || c.node.Load() {
		return nil
	}
	if err := c.plugin.ExcludeOthers(); err != nil {
		return err
	}
	c.node.Store(true)
	spec := *c.spec
	spec.Targets = targets
	if warning := excludeOwnStream(c.send, &spec, c.plugin); warning != "" {
		return c.send.json(wire.KindAttached, wire.Attached{Warnings: []string{warning}})
	}
	return nil
}

// announced are the interfaces that the command knows of. A packet of another must
// not be sent before it does.
type announced struct {
	mu        *sync.Mutex
	more      *sync.Cond
	linkTypes []uint16 // by interface
	ended     bool     // no more will be announced
}

func newAnnounced(interfaces []wire.Interface) announced {
	mu := new(sync.Mutex)
	a := announced{mu: mu, more: sync.NewCond(mu)}
	a.add(interfaces)
	return a
}

func (a *announced) add(interfaces []wire.Interface) {
	for _, i := range interfaces {
		a.linkTypes = append(a.linkTypes, i.LinkType)
	}
}

// announce tells the command with send.
func (a *announced) announce(interfaces []wire.Interface, send func() error) error {
	if err := send(); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.add(interfaces)
	a.more.Broadcast()
	return nil
}

// await returns when as many interfaces are known, or never will be.
func (a *announced) await(interfaces int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.linkTypes) < interfaces && !a.ended {
		a.more.Wait()
	}
}

// end lets go of who waits.
func (a *announced) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended = true
	a.more.Broadcast()
}

// types returns the link types by interface, for good.
func (a *announced) types() []uint16 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.linkTypes
}
