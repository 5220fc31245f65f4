//go:build linux

package collector

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/headers"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/packets"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

const (
	// buffers is how many frames may wait for the stream while the next one is
	// filled. What waits longer waits in the ring buffer.
	buffers = 4
	// quiet is how often a frame without packets says that there were none.
	quiet = 200 * time.Millisecond
	// lookAround is how often vanished interfaces and other collectors are looked
	// for.
	lookAround = time.Second
)

// capture is a packet capture that is attached and ready.
type capture struct {
	*run
	spec   *wire.PacketsSpec
	plugin *packets.Plugin
	node   atomic.Bool // the node itself is a target
	gone   bool        // no interface is left
	known  announced
}

func newCapture(r *run, spec *wire.PacketsSpec, plugin *packets.Plugin) *capture {
	c := &capture{run: r, spec: spec, plugin: plugin, known: newAnnounced(plugin.Ready().Interfaces)}
	c.node.Store(capturesNode(spec))
	return c
}

// execute waits for go, captures until something ends it, and sends what is left
// and the End frame.
func (c *capture) execute(ctx context.Context) error {
	// Looking for others takes a while on a busy node: not between go and the first
	// packet.
	if c.node.Load() {
		if err := c.plugin.ExcludeOthers(); err != nil {
			return err
		}
	}
	reason, err := c.wait(ctx, c.commands.start, nil)
	if err != nil {
		return err
	}
	if reason != "" {
		return c.send.end(wire.End{Reason: reason, Interfaces: c.emptyStats()})
	}
	if err := c.plugin.Go(); err != nil {
		return err
	}
	p := c.startPump()
	reason, err = c.wait(ctx, p.allGone, p.failed)
	close(p.done)
	if err != nil {
		return err // the stream may be stuck: wait for nobody
	}
	if reason == "" {
		reason = wire.EndGone
	}
	// The capture ends now, however long it takes to send what it has.
	if err := c.plugin.Stop(); err != nil {
		return err
	}
	return c.attended(func() error { return c.finish(p, reason) })
}

// finish sends everything that is left, and the End frame.
func (c *capture) finish(p *pump, reason string) error {
	p.all.Wait() // what was read goes out before what Drain will find
	select {
	case err := <-p.failed:
		return err
	default:
	}
	stats, err := c.plugin.Drain(make([]byte, packets.FrameCapacity), c.sendPackets)
	if err != nil {
		return err
	}
	return c.send.end(wire.End{Reason: reason, Interfaces: stats})
}

// emptyStats are the counts of a capture that never began.
func (c *capture) emptyStats() []wire.InterfaceStats {
	stats := make([]wire.InterfaceStats, len(c.plugin.Ready().Interfaces))
	for i := range stats {
		stats[i].ID = uint32(i)
	}
	return stats
}

// A pump reads the ring and writes the stream at the same time.
type pump struct {
	done    chan struct{} // closed by whoever wants it to end
	allGone chan struct{} // closed when no interface is left
	failed  chan error    // at most three
	all     sync.WaitGroup
}

func (c *capture) startPump() *pump {
	p := &pump{done: make(chan struct{}), allGone: make(chan struct{}), failed: make(chan error, 3)}
	free, full := make(chan []byte, buffers), make(chan []byte, buffers)
	for range buffers {
		free <- make([]byte, packets.FrameCapacity)
	}
	if c.spec.Follow {
		p.all.Go(func() {
			if err := c.follow(p.done); err != nil {
				c.known.end()
				p.failed <- err
			}
		})
	}
	p.all.Go(func() {
		defer close(full)
		if err := c.fill(free, full, p.allGone, p.done); err != nil {
			p.failed <- err
		}
	})
	p.all.Go(func() {
		if err := c.empty(full, free); err != nil {
			p.failed <- fmt.Errorf("%w: write to the stream: %w", errUnheard, err)
		}
	})
	return p
}

// fill reads packets into free buffers until done.
func (c *capture) fill(free <-chan []byte, full chan<- []byte, allGone, done chan struct{}) error {
	var lastLook time.Time // at once: others may have come while we waited for go
	lastSent := time.Now()
	for {
		var buf []byte
		select {
		case <-done:
			return nil
		case buf = <-free:
		}
		for {
			payload, err := c.plugin.Read(buf)
			if err != nil {
				return err
			}
			now := time.Now()
			if now.Sub(lastLook) >= lookAround {
				lastLook = now
				if err := c.lookAround(allGone); err != nil {
					return err
				}
			}
			if len(payload) > wire.PacketsHeaderLen || now.Sub(lastSent) >= quiet {
				lastSent = now
				c.known.await(c.plugin.Interfaces())
				full <- payload
				break
			}
			select {
			case <-done:
				return nil
			default:
			}
		}
	}
}

// lookAround reports interfaces that have vanished, closes allGone once when
// none is left and none can follow, and looks for other collectors of the node.
func (c *capture) lookAround(allGone chan struct{}) error {
	if c.node.Load() {
		if err := c.plugin.ExcludeOthers(); err != nil {
			return err
		}
	}
	gone, all, err := c.plugin.Gone()
	if err != nil {
		return err
	}
	for _, g := range gone {
		if err := c.send.json(wire.KindGone, g); err != nil {
			return err
		}
	}
	if all && !c.gone && !c.spec.Follow {
		c.gone = true
		close(allGone)
	}
	return nil
}

// empty writes full buffers to the stream and gives them back.
func (c *capture) empty(full <-chan []byte, free chan<- []byte) error {
	for payload := range full {
		if err := c.sendPackets(payload); err != nil {
			// Let fill see its done channel instead of a full one.
			go func() {
				for range full {
				}
			}()
			return err
		}
		free <- payload[:cap(payload)]
	}
	return nil
}

func (c *capture) sendPackets(payload []byte) error {
	if c.spec.HeadersOnly {
		blocks, err := headers.TrimBlocks(payload[wire.PacketsHeaderLen:], c.known.types())
		if err != nil {
			return err
		}
		payload = payload[:wire.PacketsHeaderLen+len(blocks)]
	}
	return c.send.frame(wire.KindPackets, payload)
}
