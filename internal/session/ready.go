package session

import (
	"fmt"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// checkReady refuses a ready that does not fit the spec, and makes its texts
// fit for a line on a terminal: they come from a node.
func checkReady(ready *wire.Ready, spec wire.Spec) error {
	targets := make(map[uint32]bool)
	for _, t := range specTargets(spec) {
		targets[t.ID] = true
	}
	for i := range ready.Interfaces {
		in := &ready.Interfaces[i]
		if in.ID != uint32(i) || !targets[in.Target] {
			return fmt.Errorf("collector's interface %d has ID %d and target %d, which the spec does not ask for", i, in.ID, in.Target)
		}
		if in.LinkType != wire.LinkTypeEthernet && in.LinkType != wire.LinkTypeRaw {
			return fmt.Errorf("collector's interface %d has the unknown link type %d", i, in.LinkType)
		}
		in.Name, in.MAC, in.Hook = oneLine(in.Name), oneLine(in.MAC), oneLine(in.Hook)
	}
	for i := range ready.Failed {
		failed := &ready.Failed[i]
		if !targets[failed.Target] {
			return fmt.Errorf("collector could not attach to target %d, which the spec does not ask for", failed.Target)
		}
		failed.Cause, failed.Hint = oneLine(failed.Cause), oneLine(failed.Hint)
	}
	for i, warning := range ready.Warnings {
		ready.Warnings[i] = oneLine(warning)
	}
	for i := range ready.Unsupported {
		u := &ready.Unsupported[i]
		u.Plugin, u.Cause, u.Hint = oneLine(u.Plugin), oneLine(u.Cause), oneLine(u.Hint)
	}
	return nil
}

// specTargets are the targets of spec, whatever is done with them.
func specTargets(spec wire.Spec) []wire.Target {
	switch {
	case spec.Packets != nil:
		return spec.Packets.Targets
	case spec.Metrics != nil:
		return spec.Metrics.Targets
	}
	return nil
}

// attaches reports whether a collector with this spec attaches to targets, says
// ready, and waits for go.
func attaches(spec *wire.Spec) bool {
	return spec != nil && (spec.Packets != nil || spec.Metrics != nil)
}
