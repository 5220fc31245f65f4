//go:build linux

package dropreason

import (
	"fmt"

	bpf "github.com/kubectl-retina/kubectl-retina/bpf/dropreason"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// Kinds of losses, as indexes of Plugin.lost.
const (
	lossAddresses = iota // counted without addresses
	lossNoRoom           // not counted
	lossMissed           // perhaps not counted
	lossKinds
)

// sampleLosses appends what could not be counted, where it has changed.
func (p *Plugin) sampleLosses(into *wire.Sample) error {
	addresses, err := p.kernelLost(bpf.DropreasonDropLostWITHOUT_ADDRESSES)
	if err != nil {
		return err
	}
	noRoom, err := p.kernelLost(bpf.DropreasonDropLostNOT_COUNTED)
	if err != nil {
		return err
	}
	missed, err := p.watch.Missed()
	if err != nil {
		return err
	}
	now := [lossKinds]uint64{
		lossAddresses: addresses + p.table.diverted.total().Packets,
		lossNoRoom:    noRoom,
		lossMissed:    missed,
	}
	what := [lossKinds]string{
		lossAddresses: "drops: table full, counted without addresses",
		lossNoRoom:    "drops: table full, not counted",
		lossMissed:    "drops, in any netns: more than two at once on a CPU, one may be missing",
	}
	for kind, count := range now {
		if count != p.lost[kind] {
			p.lost[kind] = count
			into.Lost = append(into.Lost, wire.LostSample{Plugin: Name, What: what[kind], Count: count})
		}
	}
	return nil
}

func (p *Plugin) kernelLost(kind bpf.DropreasonDropLost) (sum uint64, err error) {
	var perCPU []uint64
	if err := p.maps.Lost.Lookup(uint32(kind), &perCPU); err != nil {
		return 0, fmt.Errorf("read lost drops: %w", err)
	}
	for _, count := range perCPU {
		sum += count
	}
	return sum, nil
}
