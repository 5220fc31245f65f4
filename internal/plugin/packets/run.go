//go:build linux

package packets

import (
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
	return p.reader.read(buf, int(p.reserved.Load()))
}

// Interfaces is how many interface IDs the packets that were read so far have, at
// least: they are below that. It is for the goroutine that calls Read.
func (p *Plugin) Interfaces() int { return p.reader.interfaces }

// Drain delivers what is left after Stop to write, and returns the final
// counts. Packets that were counted but never turned up are added to Lost.
func (p *Plugin) Drain(buf []byte, write func(payload []byte) error) ([]wire.InterfaceStats, error) {
	interfaces := int(p.reserved.Load())
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
