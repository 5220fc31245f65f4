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
	// remote, with target, is one flow's other side. The services are those by which
	// either end may be addressed.
	remote                       string
	targetService, remoteService service
}

// A service is one that a party is behind, or the party itself.
type service struct {
	id     string // partyID; "" is none
	itself bool
}

func serviceOf(p *metrics.Party) service {
	switch {
	case p.Kind == metrics.KindService:
		return service{partyID(p), true}
	case p.Service != "":
		return service{partyID(&metrics.Party{Kind: metrics.KindService, Namespace: p.Namespace, Name: p.Service}), false}
	}
	return service{}
}

// between is the scope of what two parties exchange, seen from the first.
func between(name string, target, remote *metrics.Party) scope {
	return scope{
		name: name, target: partyID(target), remote: partyID(remote),
		targetService: serviceOf(target), remoteService: serviceOf(remote),
	}
}

// isEnd tells whether p is the one with this ID, by its name or by the service that
// the one is and the other is behind: before and after the translation of addresses.
func isEnd(id string, behind service, p *metrics.Party) bool {
	own := serviceOf(p)
	return partyID(p) == id || own.id != "" && own.id == behind.id && own.itself != behind.itself
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

// hasDrop reports the same for a drop. A flow's packets are dropped at either end of
// it, and are of the target there.
func (s scope) hasDrop(d *metrics.Drop) bool {
	if s.remote == "" {
		return s.has(&d.Target)
	}
	known := d.Source != nil && d.Destination != nil
	with := func(id string, behind service) bool {
		return isEnd(id, behind, &d.Source.Party) || isEnd(id, behind, &d.Destination.Party)
	}
	if s.has(&d.Target) {
		return !known || with(s.remote, s.remoteService)
	}
	return known && isEnd(s.remote, s.remoteService, &d.Target) && with(s.target, s.targetService)
}
