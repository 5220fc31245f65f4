//go:build linux

package packets

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// maxListed is how many names of interfaces a message lists.
const maxListed = 16

// choose returns those of a target's interfaces that have the names asked for,
// and packets that the filter can let through. There is at least one. The warning, if
// any, says which is left out.
func (p *Plugin) choose(spec *wire.PacketsSpec, target wire.Target, list []spot) (chosen []spot, warning string, err error) {
	var refused error
	for _, i := range list {
		if len(spec.Interfaces) > 0 && !slices.Contains(spec.Interfaces, i.Name) {
			continue
		}
		if err := p.kernel.filter.check(i.Raw); err != nil {
			refused = fmt.Errorf("%s: interface %s: %w", target.Name, i.Name, err)
			continue
		}
		chosen = append(chosen, i)
	}
	switch {
	case len(chosen) > 0 && refused != nil:
		warning = refused.Error() + ": it is left out"
	case refused != nil:
		return nil, "", refused
	case len(chosen) == 0:
		return nil, "", fmt.Errorf("%s has no interface named %s: it has %s", target.Name, strings.Join(spec.Interfaces, " or "), names(list))
	}
	return chosen, warning, nil
}

func names(list []spot) string {
	var all []string
	for _, i := range list[:min(len(list), maxListed)] {
		all = append(all, i.Name)
	}
	if more := len(list) - len(all); more > 0 {
		all = append(all, fmt.Sprintf("%d more", more))
	}
	return strings.Join(all, ", ")
}
