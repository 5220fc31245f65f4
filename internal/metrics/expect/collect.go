package expect

import (
	"fmt"
	"net/netip"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// A part is what one thing contributes to an expectation's value.
type part struct {
	name   string
	amount amount
}

// collect returns the parts that the labels select.
func (e *Expectation) collect(r *metrics.Report) []part {
	switch e.metric.source {
	case fromDrops:
		return e.drops(r)
	case fromDNS:
		return e.dns(r)
	case fromAPIServers:
		return e.apiServers(r)
	case fromLost:
		return e.losses(r)
	}
	if e.fromFlows() {
		return e.flows(r)
	}
	return e.rows(r)
}

func (e *Expectation) fromFlows() bool {
	return e.metric.source == fromRows && e.asks(flowLabels()...)
}

func (e *Expectation) rows(r *metrics.Report) []part {
	var parts []part
	nodes := make(map[string]bool) // that are selected themselves
	for i := range r.Rows {
		if row := &r.Rows[i]; row.Kind == metrics.KindNode && e.selects(&row.Party, nodeOf(&row.Party)) {
			nodes[row.Name] = true
		}
	}
	for i := range r.Rows {
		row := &r.Rows[i]
		if !e.selects(&row.Party, nodeOf(&row.Party)) || e.metric.seen && row.Kind != metrics.KindNode && nodes[row.Node] {
			continue
		}
		parts = append(parts, part{row.Describe(r.By), e.amount(&row.Values)})
	}
	return parts
}

func nodeOf(p *metrics.Party) string {
	if p.Kind == metrics.KindNode {
		return p.Name
	}
	return p.Node
}

// amount takes the directions into account that are asked for.
func (e *Expectation) amount(v *metrics.Values) amount {
	if e.metric.in == nil || !e.asks("direction") {
		return e.metric.of(v)
	}
	var a amount
	if e.has("direction", wire.DirectionIn) {
		a.count = plus(a.count, e.metric.in(v))
	}
	if e.has("direction", wire.DirectionOut) {
		a.count = plus(a.count, e.metric.out(v))
	}
	return a
}

func (e *Expectation) flows(r *metrics.Report) []part {
	var parts []part
	nodes := make(map[string]bool)
	matches := func(f *metrics.Flow) bool {
		return e.selects(&f.Local, nodeOf(&f.Local)) && e.has("remote", remoteNames(&f.Remote)...) && e.has("protocol", f.Protocol) &&
			e.has("port", fmt.Sprint(f.Port)) && e.has("role", f.Role)
	}
	for i := range r.Flows {
		if f := &r.Flows[i]; f.Local.Kind == metrics.KindNode && matches(f) {
			nodes[f.Local.Name] = true
		}
	}
	for i := range r.Flows {
		f := &r.Flows[i]
		if !matches(f) || e.metric.seen && f.Local.Kind != metrics.KindNode && nodes[f.Local.Node] {
			continue
		}
		values := f.Values()
		parts = append(parts, part{fmt.Sprintf("%s with %s %s %d", f.Local.Describe(), f.Remote, f.Protocol, f.Port), e.amount(&values)})
	}
	return parts
}

func (e *Expectation) drops(r *metrics.Report) []part {
	var parts []part
	for i := range r.Drops {
		d := &r.Drops[i]
		if !e.selects(&d.Target, nodeOf(&d.Target)) || !e.has("reason", d.Reason) || !e.has("hook", d.Hook) ||
			!e.has("direction", d.Direction) || !e.has("on", d.On) || !e.has("protocol", d.Protocol) {
			continue
		}
		var remotes, ports []string
		if other := d.Other(); other != nil {
			remotes = remoteNames(&other.Party)
			ports = []string{fmt.Sprint(d.Source.Port), fmt.Sprint(d.Destination.Port)}
		}
		if !e.has("remote", remotes...) || !e.has("port", ports...) {
			continue
		}
		name := d.Target.Describe() + " " + d.Reason
		if d.Hook != "" {
			name += " in " + d.Hook
		}
		parts = append(parts, part{name, e.metric.of(&metrics.Values{Drops: d.Packets, DropBytes: d.Bytes})})
	}
	return parts
}

// dns selects what targets have asked, unless the role is asked for: a query
// between two targets would count twice, and a server's latency is its own.
func (e *Expectation) dns(r *metrics.Report) []part {
	var parts []part
	for i := range r.DNS {
		d := &r.DNS[i]
		if !e.selects(&d.Target, nodeOf(&d.Target)) || !e.has("name", d.Name) || !e.has("type", d.Type) || !e.has("protocol", d.Protocol) ||
			!e.has("remote", remoteNames(&d.Server.Party)...) || !e.has("role", d.Role) || !e.asks("role") && d.Role == wire.RoleServer {
			continue
		}
		values := d.Values()
		values.DNSLatency = d.Latency
		if e.asks("code") {
			e.codes(d, &values)
		}
		parts = append(parts, part{d.Target.Describe() + " " + d.Name + " " + d.Type, e.metric.of(&values)})
	}
	return parts
}

// codes leaves only the responses whose codes are asked for. A ratio is still of
// all of them.
func (e *Expectation) codes(d *metrics.DNS, values *metrics.Values) {
	var responses, errors uint64
	for code, count := range d.Codes {
		if !e.has("code", code) {
			continue
		}
		responses = plus(responses, count)
		if code != "NOERROR" {
			errors = plus(errors, count)
		}
	}
	values.DNSErrors = errors
	if e.metric.unit != metrics.UnitRatio {
		values.DNSResponses = responses
	}
}

func (e *Expectation) apiServers(r *metrics.Report) []part {
	var parts []part
	for i := range r.APIServers {
		a := &r.APIServers[i]
		if !e.has("node", a.Node) || !e.has("remote", addressNames(a.Address)...) {
			continue
		}
		sum := amount{histogram: a.Latency}
		if e.metric.name == "apiserver_attempts" {
			sum.count = a.Attempts
		} else {
			for cause, count := range a.Errors {
				if e.has("reason", cause) {
					sum.count = plus(sum.count, count)
				}
			}
		}
		parts = append(parts, part{fmt.Sprintf("node %s to %s", a.Node, a.Address), sum})
	}
	return parts
}

func addressNames(a netip.AddrPort) []string { return []string{a.String(), a.Addr().String()} }

func (e *Expectation) losses(r *metrics.Report) []part {
	var parts []part
	for _, l := range r.Lost {
		if e.has("node", l.Node) && e.has("plugin", l.Plugin) {
			parts = append(parts, part{fmt.Sprintf("%s on node %s: %s", l.Plugin, l.Node, l.What), amount{count: l.Count}})
		}
	}
	return parts
}
