package metrics

import (
	"cmp"
	"strings"
)

// Keys tell the entries of a report's sections apart: two reports have the same
// thing under the same key.

type flowKey struct {
	local, remote     partyKey
	localAt, remoteAt string // addresses
	protocol          string
	port              uint16
	role              string
}

func (f *Flow) key() flowKey {
	return flowKey{f.Local.key(), f.Remote.key(), addressOf(&f.Local), addressOf(&f.Remote), f.Protocol, f.Port, f.Role}
}

func (k flowKey) compare(l flowKey) int {
	return cmp.Or(
		k.local.compare(l.local), k.remote.compare(l.remote),
		strings.Compare(k.protocol, l.protocol), cmp.Compare(k.port, l.port), strings.Compare(k.role, l.role),
		strings.Compare(k.localAt, l.localAt), strings.Compare(k.remoteAt, l.remoteAt),
	)
}

// addressOf returns the address of a party that has one.
func addressOf(p *Party) string {
	if len(p.Addresses) != 1 {
		return ""
	}
	return p.Addresses[0].String()
}

type sideKey struct {
	party partyKey
	at    string
	port  uint16
	known bool
}

func (s *Side) key() sideKey {
	if s == nil {
		return sideKey{}
	}
	return sideKey{s.Party.key(), addressOf(&s.Party), s.Port, true}
}

func (k sideKey) compare(l sideKey) int {
	return cmp.Or(k.party.compare(l.party), strings.Compare(k.at, l.at), cmp.Compare(k.port, l.port))
}

type dropKey struct {
	target                                                partyKey
	node, reason, hook, function, direction, on, protocol string
	source, destination                                   sideKey
}

func (d *Drop) key() dropKey {
	return dropKey{
		d.Target.key(), d.Node, d.Reason, d.Hook, d.Function, d.Direction, d.On, d.Protocol, d.Source.key(), d.Destination.key(),
	}
}

func (k dropKey) compare(l dropKey) int {
	return cmp.Or(
		k.target.compare(l.target), strings.Compare(k.node, l.node),
		strings.Compare(k.reason, l.reason), strings.Compare(k.hook, l.hook), strings.Compare(k.function, l.function),
		strings.Compare(k.direction, l.direction), strings.Compare(k.on, l.on), strings.Compare(k.protocol, l.protocol),
		k.source.compare(l.source), k.destination.compare(l.destination),
	)
}

type dnsReportKey struct {
	target               partyKey
	role                 string
	server               sideKey
	protocol, name, kind string
}

func (d *DNS) key() dnsReportKey {
	return dnsReportKey{d.Target.key(), d.Role, d.Server.key(), d.Protocol, d.Name, d.Type}
}

func (k dnsReportKey) compare(l dnsReportKey) int {
	return cmp.Or(
		k.target.compare(l.target), strings.Compare(k.role, l.role), k.server.compare(l.server),
		strings.Compare(k.name, l.name), strings.Compare(k.kind, l.kind), strings.Compare(k.protocol, l.protocol),
	)
}

type statKey struct {
	target                 partyKey
	ifname, group, counter string
	gauge                  bool
}

func (s *Stat) key() statKey {
	return statKey{s.Target.key(), s.Interface, s.Group, s.Name, s.Gauge}
}

func (k statKey) compare(l statKey) int {
	return cmp.Or(
		k.target.compare(l.target), strings.Compare(k.group, l.group),
		strings.Compare(k.ifname, l.ifname), strings.Compare(k.counter, l.counter),
	)
}

type rowKey struct {
	party    partyKey
	remote   partyKey
	remoteAt string
	protocol string
	port     uint16
	role     string
}

func (k rowKey) compare(l rowKey) int {
	return cmp.Or(
		k.party.compare(l.party), k.remote.compare(l.remote), strings.Compare(k.remoteAt, l.remoteAt),
		strings.Compare(k.protocol, l.protocol), cmp.Compare(k.port, l.port), strings.Compare(k.role, l.role),
	)
}

// groupKey returns the group, by By, of a target; by flow, it lacks the other
// side. Nodes are their own group whatever By is, for they are in no namespace.
func groupKey(by By, p *Party, node string) rowKey {
	if by == ByNode {
		return rowKey{party: partyKey{kind: KindNode, name: node}}
	}
	key := p.key()
	if p.Kind == KindNode {
		return rowKey{party: key}
	}
	group := partyKey{kind: key.kind, namespace: key.namespace}
	switch by {
	case ByWorkload:
		group.name = p.Workload
	case ByService:
		group.name = p.Service
	case ByPod, ByFlow:
		group = key
	}
	return rowKey{party: group}
}

// rowKey is the key of a row of a report.
func (r *Row) key(by By) rowKey {
	node := r.Node
	if by == ByNode {
		node = r.Name
	}
	k := groupKey(by, &r.Party, node)
	if by == ByFlow && r.Remote != nil {
		k.remote, k.remoteAt = r.Remote.key(), addressOf(r.Remote)
		k.protocol, k.port, k.role = r.Protocol, r.Port, r.Role
	}
	return k
}
