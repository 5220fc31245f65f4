//go:build linux

package dropreason

import (
	"sync"

	bpf "github.com/kubectl-retina/kubectl-retina/bpf/dropreason"
)

// names turns numbers and addresses of the kernel into names. Events ask for them
// in a goroutine of their own.
type names struct {
	symbols *symbols // never changes

	mu      sync.Mutex
	reasons *reasons
}

// reason names a reason.
func (n *names) reason(number uint32) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.reasons.name(number)
}

// resolve replaces addresses of code by what is shown of them: the function's
// start, and the hook in the place of the callers.
func (n *names) resolve(key *bpf.DropreasonDropKey) {
	h := hookUnknown
	if key.Reason == n.reasons.netfilter {
		// Bridges call some hooks themselves.
		h = n.hookAt(key.Callers[0], key.Callers[1], key.Location)
	}
	key.Callers = [2]uint64{uint64(h)}
	key.Location, _ = n.symbols.function(key.Location)
}

// hookAt tells the hook by places in the kernel, the one nearest to netfilter
// first.
func (n *names) hookAt(places ...uint64) hook {
	var functions []string
	for _, place := range places {
		_, name := n.symbols.function(place)
		functions = append(functions, name)
	}
	return hookOf(functions...)
}
