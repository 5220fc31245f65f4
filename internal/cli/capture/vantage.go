package capture

import (
	"errors"
	"fmt"
	"slices"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// parseVantages reads --vantage.
func parseVantages(words []string) ([]wire.Vantage, error) {
	if len(words) == 0 {
		return nil, errors.New("--vantage is empty, want pod, node or both")
	}
	var all []wire.Vantage
	for _, word := range words {
		v := wire.Vantage(word)
		if v != wire.VantagePod && v != wire.VantageNode {
			return nil, fmt.Errorf("--vantage %q is not one of %s, %s", word, wire.VantagePod, wire.VantageNode)
		}
		if !slices.Contains(all, v) {
			all = append(all, v)
		}
	}
	return all, nil
}

// from has the packets of the plan's pods captured from these vantages. The node's
// own interfaces are of use only whole: behind NAT and in a tunnel a pod's packets
// do not have its address any more.
func (p *nodePlan) from(vantages []wire.Vantage) {
	if !slices.Contains(vantages, wire.VantageNode) {
		return // as without
	}
	p.packets.Vantages = vantages
	if !slices.ContainsFunc(p.packets.Targets, func(t wire.Target) bool { return t.Node }) {
		p.packets.Targets = append(p.packets.Targets, p.wholeNode())
	}
}
