//go:build linux

package packets

import (
	"slices"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/hostns"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

const (
	// remaking is how long a pod that should have a new network namespace may be
	// found in the one that is captured already.
	remaking = 500 * time.Millisecond
	lookGap  = 50 * time.Millisecond
	// waitingTime is for how long such a pod is looked for again.
	waitingTime = time.Minute
)

// Added is what became of one target: the interfaces that are attached now, and why
// not, if it is not captured as it should be.
type Added struct {
	Interfaces []wire.Interface
	Failed     []wire.TargetError // one at most
	Warnings   []string           // for the user, a line each
}

// An announcer is told what became of one target.
type announcer func(Added) error

// A waiting target was found in a network namespace that is captured already.
type waiting struct {
	wire.Target
	until time.Time
}

// Add attaches to more targets while the plugin captures, until done is closed. announce
// is called for each, right after the programs are attached; packets of new
// interfaces may be read before that, and Gone does not name them before it has
// returned. One that is captured already is announced without anything, and Retry
// looks for it again. An error is the whole capture's.
func (p *Plugin) Add(targets []wire.Target, done <-chan struct{}, announce announcer) error {
	pods, err := hostns.FindPods("/proc", podUIDs(targets))
	if err != nil {
		return err
	}
	defer func() {
		for _, unused := range pods {
			_ = unused.Close()
		}
	}()
	for _, target := range targets {
		if isClosed(done) {
			return nil
		}
		pod := pods[target.PodUID]
		delete(pods, target.PodUID) // it is the target's now
		if pod != nil && p.captures(pod) {
			if pod, err = p.remade(target, pod, done); err != nil {
				return err
			}
			if pod == nil {
				p.await(target)
				if err := announce(Added{}); err != nil {
					return err
				}
				continue
			}
		}
		if err := p.announce(p.addTarget(target, pod), announce); err != nil {
			return err
		}
	}
	return nil
}

// announce calls announcer and takes the interfaces as known then.
func (p *Plugin) announce(added Added, announce announcer) error {
	if err := announce(added); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.announced = len(p.attached) // nobody else adds any
	return nil
}

// await has a target looked for by Retry.
func (p *Plugin) await(target wire.Target) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = append(p.waiting, waiting{target, time.Now().Add(waitingTime)})
}

// Retry looks again for the targets that Add has found in a network namespace that
// was captured already: the new one may have come since. Those that have one are
// attached to and announced as by Add. The others are looked for a minute at most.
func (p *Plugin) Retry(done <-chan struct{}, announce announcer) error {
	p.mu.Lock()
	now := time.Now()
	p.waiting = slices.DeleteFunc(p.waiting, func(w waiting) bool { return now.After(w.until) })
	var targets []wire.Target
	for _, w := range p.waiting {
		targets = append(targets, w.Target)
	}
	p.mu.Unlock()
	if len(targets) == 0 {
		return nil
	}
	pods, err := hostns.FindPods("/proc", podUIDs(targets))
	if err != nil {
		return err
	}
	for _, target := range targets {
		pod := pods[target.PodUID]
		delete(pods, target.PodUID)
		if pod == nil {
			continue // between two sandboxes
		}
		if isClosed(done) || p.captures(pod) {
			_ = pod.Close()
			continue
		}
		p.forgetWaiting([]uint32{target.ID})
		if err := p.announce(p.addTarget(target, pod), announce); err != nil {
			return err
		}
	}
	return nil
}

func (p *Plugin) forgetWaiting(targets []uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = slices.DeleteFunc(p.waiting, func(w waiting) bool { return slices.Contains(targets, w.ID) })
}

func isClosed(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
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

// captures reports whether a pod's namespace is that of a target already.
func (p *Plugin) captures(ns *hostns.Netns) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, known := range p.netns {
		if known.Ino == ns.Ino {
			return true
		}
	}
	return false
}

// remade waits a moment for a pod, found in a namespace that is captured already,
// to be in another, or for done. It returns that, or nil, and closes ns.
func (p *Plugin) remade(target wire.Target, ns *hostns.Netns, done <-chan struct{}) (*hostns.Netns, error) {
	for deadline := time.Now().Add(remaking); ; {
		_ = ns.Close()
		if time.Now().After(deadline) {
			return nil, nil
		}
		select {
		case <-done:
			return nil, nil
		case <-time.After(lookGap):
		}
		found, err := hostns.FindPods("/proc", []string{target.PodUID})
		if err != nil {
			return nil, err
		}
		if ns = found[target.PodUID]; ns == nil || !p.captures(ns) {
			return ns, nil
		}
	}
}
