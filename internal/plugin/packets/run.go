//go:build linux

package packets

import (
	"fmt"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// FrameCapacity is what a buffer for Read should hold, so that it never grows
// for packets of usual size.
const FrameCapacity = frameBytes + 128<<10

// drainTime is how long Drain waits on an empty ring for what is missing: it
// was never committed then. The time that writing takes does not count.
const drainTime = 2 * time.Second

// Read returns the payload of the next KindPackets frame, in buf if it fits.
// It waits for packets for some milliseconds and returns a payload without any
// when none came. It is not safe for concurrent use.
func (p *Plugin) Read(buf []byte) ([]byte, error) {
	return p.reader.read(buf, len(p.ready.Interfaces))
}

// Drain delivers what is left after Stop to write, and returns the final
// counts. Packets that were counted but never turned up are added to Lost.
func (p *Plugin) Drain(buf []byte, write func(payload []byte) error) ([]wire.InterfaceStats, error) {
	interfaces := len(p.ready.Interfaces)
	for deadline := time.Now().Add(drainTime); ; {
		payload, err := p.reader.read(buf, interfaces)
		if err != nil {
			return nil, err
		}
		if len(payload) > wire.PacketsHeaderLen {
			if err := write(payload); err != nil {
				return nil, err
			}
			deadline = time.Now().Add(drainTime)
		}
		stats, err := p.reader.stats(interfaces)
		if err != nil {
			return nil, err
		}
		if settled(stats) {
			return stats, nil
		}
		if time.Now().After(deadline) {
			for i := range stats {
				stats[i].Lost = stats[i].Seen - stats[i].Captured
			}
			return stats, nil
		}
	}
}

// settled reports whether every packet that was seen is captured or lost: no
// program is between counting a packet and recording it any more.
func settled(stats []wire.InterfaceStats) bool {
	for _, s := range stats {
		if s.Seen != s.Captured+s.Lost {
			return false
		}
	}
	return true
}

// Gone returns the interfaces that have vanished since the last call, because
// their pods ended. all is true once none is left.
func (p *Plugin) Gone() (gone []wire.Gone, all bool, err error) {
	all = true
	for id := range p.watched {
		w := &p.watched[id]
		if !w.gone {
			exists, err := w.ns.HasInterface(w.ifindex)
			if err != nil {
				return nil, false, fmt.Errorf("look for interface %d: %w", id, err)
			}
			if w.gone = !exists; w.gone {
				gone = append(gone, wire.Gone{Interface: uint32(id), Target: p.ready.Interfaces[id].Target})
			}
		}
		all = all && w.gone
	}
	return gone, all, nil
}
