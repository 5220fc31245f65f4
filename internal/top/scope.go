package top

import (
	"slices"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
)

// A scope is what the user has entered: rows outside of it are not shown. Its
// zero value is everything.
type scope struct {
	name   string // for people
	node   string // name of a node: what runs on it, and it itself
	target string // partyID of a target
	// remote, with target, is one flow's other side.
	remote string
}

func (s scope) whole() bool { return s == scope{} }

// has reports whether what target does is in the scope.
func (s scope) has(target *metrics.Party) bool {
	switch {
	case s.target != "":
		return partyID(target) == s.target
	case s.node != "":
		return target.Node == s.node || target.Kind == metrics.KindNode && target.Name == s.node
	}
	return true
}

// hasWith reports the same for what target does with others. Whom it was done with
// may not be known: then it is in the scope.
func (s scope) hasWith(target *metrics.Party, others ...*metrics.Side) bool {
	if !s.has(target) {
		return false
	}
	if s.remote == "" || slices.Contains(others, nil) {
		return true
	}
	return slices.ContainsFunc(others, func(o *metrics.Side) bool { return partyID(&o.Party) == s.remote })
}
