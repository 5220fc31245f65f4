package metrics

import (
	"net/netip"
	"slices"
	"strings"
)

// Kinds of a [Party].
const (
	KindPod      = "pod"
	KindNode     = "node"
	KindService  = "service"
	KindExternal = "external"
	KindUnknown  = "unknown"
)

// String names p for people: "shop/web-1", "svc shop/web", "node n1", else its
// address or what kind it is.
func (p Party) String() string {
	name := p.Name
	if p.Namespace != "" {
		name = p.Namespace + "/" + name
	}
	switch {
	case p.Name == "" && len(p.Addresses) == 1:
		return p.Addresses[0].String()
	case p.Name == "" && p.Namespace != "":
		return p.Namespace
	case p.Name == "":
		return p.Kind
	case p.Kind == KindService:
		return "svc " + name
	case p.Kind == KindNode:
		return "node " + name
	}
	return name
}

// at returns p with one of its addresses only.
func (p Party) at(addr netip.Addr) Party {
	p.Addresses = nil
	if addr.IsValid() {
		p.Addresses = []netip.Addr{addr}
	}
	return p
}

// common returns what p and q have in common.
func (p Party) common(q Party) Party {
	for _, pair := range []struct{ a, b *string }{
		{&p.Kind, &q.Kind}, {&p.Namespace, &q.Namespace}, {&p.Name, &q.Name}, {&p.Node, &q.Node},
		{&p.Workload, &q.Workload}, {&p.Service, &q.Service}, {&p.Zone, &q.Zone},
	} {
		if *pair.a != *pair.b {
			*pair.a = ""
		}
	}
	if !slices.Equal(p.Addresses, q.Addresses) {
		p.Addresses = nil
	}
	if !slices.Equal(p.Policies, q.Policies) {
		p.Policies = nil
	}
	return p
}

// A partyKey tells parties apart.
type partyKey struct {
	kind, namespace, name string
	address               netip.Addr // of one without a name
}

func (p Party) key() partyKey {
	k := partyKey{kind: p.Kind, namespace: p.Namespace, name: p.Name}
	if p.Name == "" && len(p.Addresses) == 1 {
		k.address = p.Addresses[0]
	}
	return k
}

func (k partyKey) compare(l partyKey) int {
	for _, c := range []int{
		strings.Compare(k.kind, l.kind), strings.Compare(k.namespace, l.namespace),
		strings.Compare(k.name, l.name), k.address.Compare(l.address),
	} {
		if c != 0 {
			return c
		}
	}
	return 0
}
