package metrics

import (
	"testing"

	"github.com/kubectl-retina/kubectl-retina/internal/target"
)

// A node that nothing is wanted of keeps nothing: in a cluster that grows and shrinks
// there are many in a day.
func TestIdleNodeKeepsNothing(t *testing.T) {
	o := &observer{}
	n := newNodeState(o, "n1")
	n.looping = true
	n.wanted["uid-1"] = &wanted{id: 1, pod: &target.Pod{}}
	n.gone[0] = &wanted{pod: &target.Pod{}}
	if n.idle() || !n.looping || len(n.gone) != 1 {
		t.Error("a node with a target is idle")
	}
	delete(n.wanted, "uid-1")
	if !n.idle() || n.looping || len(n.gone) != 0 {
		t.Errorf("looping %v, %d that are gone", n.looping, len(n.gone))
	}
}
