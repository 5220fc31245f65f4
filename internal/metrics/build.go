package metrics

import (
	"net/netip"
	"slices"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// Report returns the present state, which shares nothing with the fold that it
// changes.
//
// Packets and bytes of a pod are the sum over its interfaces, those of a node the
// sum over its uplinks. Where packetforward did not run and packetparser did, they
// are the sum over flows, and bytes count from the network header on. A node's
// row, by node, has its own traffic and connections if the node is a target, which
// the pods' cross too, and else the sum of its pods'; what is attributed to one
// target only (drops, retransmits, DNS) is always the sum.
//
// SegmentsOut are the kernel's OutSegs and RetransSegs where linuxutil has them,
// else the segments sent in flows; of a node, only in flows from its own addresses.
func (f *Fold) Report(by By) *Report {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := &Report{
		APIVersion: APIVersion, Kind: Kind, Began: f.began, Ended: f.ended, By: by,
		Plugins: append([]string{}, f.opts.Plugins...), Rows: []Row{},
		Skipped: slices.Clone(f.skipped),
	}
	if r.Ended.Before(r.Began) {
		r.Ended = f.opts.Now()
	}
	f.parties.renew(f.opts.Directory, f.addresses())
	f.identify()
	b := &builder{report: r, parties: &f.parties, groups: newGroups(by)}
	r.Nodes = f.abouts()
	for i := range r.Nodes {
		b.node(f.nodes[r.Nodes[i].Name], &r.Nodes[i])
	}
	r.Rows = b.groups.rows()
	r.sortSections()
	return r
}

// addresses returns the parties that are targets, by address. An address that
// several have had is the directory's to tell.
func (f *Fold) addresses() map[netip.Addr]Party {
	own := make(map[netip.Addr]Party)
	twice := make(map[netip.Addr]bool)
	for _, n := range f.nodes {
		for _, t := range n.targets {
			for _, addr := range t.party.Addresses {
				if other, ok := own[addr]; ok && other.key() != t.party.key() {
					twice[addr] = true
				}
				own[addr] = t.party
			}
		}
	}
	for addr := range twice {
		delete(own, addr)
	}
	return own
}

// identify gives targets with the same name, such as a pod and the one that took
// its place, one identity: that of the youngest, the one that is still there.
func (f *Fold) identify() {
	youngest := make(map[partyKey]*target)
	for _, n := range f.nodes {
		for _, t := range n.targets {
			key := t.party.key()
			if other := youngest[key]; other == nil || t.younger(other) {
				youngest[key] = t
			}
		}
	}
	for _, n := range f.nodes {
		for _, t := range n.targets {
			t.as = youngest[t.party.key()].party
		}
	}
}

// A builder puts the nodes' state into a report.
type builder struct {
	report  *Report
	parties *parties
	groups  *groups
}

func (b *builder) node(n *nodeState, about *Node) {
	sums := make(map[uint32]*targetSum, len(n.targets))
	for id := range n.targets {
		sums[id] = &targetSum{}
	}
	runs := func(plugin string) bool {
		return slices.Contains(b.report.Plugins, plugin) && about.unsupported(plugin) == nil
	}
	b.flows(n, sums, !runs(PluginForward) && runs(PluginFlows))
	if runs(PluginForward) {
		b.traffic(n, sums)
	}
	b.drops(n, sums)
	b.dns(n, sums)
	b.stats(n, sums)
	n.apiServers.all(func(address netip.AddrPort, v wire.APIServerSample) {
		v.Address = address
		b.report.APIServers = append(b.report.APIServers, APIServer{Node: about.Name, APIServerSample: v})
	})
	n.lost.all(func(l wire.LostSample, count uint64) {
		if count > 0 {
			b.report.Lost = append(b.report.Lost, Lost{Node: about.Name, Plugin: l.Plugin, What: l.What, Count: count})
		}
	})
	if n.restarts > 0 {
		b.report.Lost = append(b.report.Lost, Lost{Node: about.Name, Plugin: "collector", What: "restarted: what happened meanwhile", Count: n.restarts})
	}
	b.report.Lost = append(b.report.Lost, n.refusals()...)
	b.groups.addNode(n, sums)
}

// flows takes in flows and retransmits. Their packets are the target's traffic
// only where nothing better counts it.
func (b *builder) flows(n *nodeState, sums map[uint32]*targetSum, asTraffic bool) {
	all := make(map[wire.FlowKey]FlowValues, len(n.flows.entries))
	n.flows.all(func(k wire.FlowKey, v FlowValues) { all[k] = v })
	n.retransmits.all(func(k wire.FlowKey, segments uint64) {
		v := all[k]
		v.Retransmits = segments
		all[k] = v
	})
	for k, v := range all {
		t, sum := n.targets[k.Target], sums[k.Target]
		flow := Flow{
			Local: t.as.at(k.Local), Remote: b.parties.at(k.Remote),
			Protocol: ProtocolName(k.Protocol), Port: k.Port, Role: k.Role, FlowValues: v,
		}
		b.report.Flows = append(b.report.Flows, flow)
		values := v.Values()
		b.groups.addFlow(t, &flow, &values)
		if k.Protocol == protocolTCP && (t.party.Kind != KindNode || ownAddress(t.party, k.Local)) {
			sum.flowSegments = plus(sum.flowSegments, v.SegmentsOut)
		}
		sum.own.Retransmits = plus(sum.own.Retransmits, v.Retransmits)
		values.Retransmits, values.SegmentsOut = 0, 0
		if !asTraffic {
			values.PacketsIn, values.PacketsOut, values.BytesIn, values.BytesOut = 0, 0, 0, 0
		}
		sum.seen.Add(&values)
	}
	n.latency.all(func(id uint32, l latency) {
		sums[id].seen.Connect, sums[id].seen.RTT = l.connect, l.rtt
	})
}

func ownAddress(p Party, local netip.Addr) bool {
	return len(p.Addresses) == 0 || !local.IsValid() || slices.Contains(p.Addresses, local)
}

func (b *builder) traffic(n *nodeState, sums map[uint32]*targetSum) {
	n.traffic.all(func(k trafficKey, v traffic) {
		t := n.targets[k.target]
		if t.party.Kind == KindNode && !k.uplink {
			return
		}
		b.report.Interfaces = append(b.report.Interfaces, Interface{
			Target: t.as, Name: k.name,
			PacketsIn: v.packetsIn, PacketsOut: v.packetsOut, BytesIn: v.bytesIn, BytesOut: v.bytesOut,
		})
		sums[k.target].seen.Add(&Values{
			PacketsIn: v.packetsIn, PacketsOut: v.packetsOut, BytesIn: v.bytesIn, BytesOut: v.bytesOut,
		})
	})
}

func (b *builder) drops(n *nodeState, sums map[uint32]*targetSum) {
	n.drops.all(func(k wire.DropSample, v amount) {
		t := n.targets[k.Target]
		drop := Drop{
			Target: t.as, Node: n.about.Name, Reason: k.Reason, Hook: k.Hook, Function: k.Function,
			Direction: k.Direction, On: k.On, Protocol: ProtocolName(k.Protocol),
			Source: b.side(k.Source), Destination: b.side(k.Destination),
			Packets: v.packets, Bytes: v.bytes,
		}
		drop.Hint = dropHint(&drop)
		b.report.Drops = append(b.report.Drops, drop)
		values := Values{Drops: v.packets, DropBytes: v.bytes}
		sums[k.Target].own.Add(&values)
		b.groups.addDrop(t, &drop, &values)
	})
}

// side returns nil for one that is not known.
func (b *builder) side(at netip.AddrPort) *Side {
	if !at.Addr().IsValid() {
		return nil
	}
	return &Side{Party: b.parties.at(at.Addr()), Port: at.Port()}
}

func (b *builder) dns(n *nodeState, sums map[uint32]*targetSum) {
	n.dns.all(func(k dnsKey, v dnsValues) {
		t := n.targets[k.target]
		d := DNS{
			Target: t.as, Role: k.role, Server: Side{Party: b.parties.at(k.server.Addr()), Port: k.server.Port()},
			Protocol: ProtocolName(k.protocol), Name: k.name, Type: k.kind,
			Queries: v.queries, Responses: v.responses, Codes: v.codes, Timeouts: v.timeouts, Latency: v.latency,
		}
		b.report.DNS = append(b.report.DNS, d)
		values := d.Values()
		sums[k.target].own.Add(&values)
		b.groups.addDNS(t, &d, &values)
	})
}

// Values returns the numbers of d as those of a target. Latency is the target's own
// only: as a server it sees how long it took itself.
func (d *DNS) Values() Values {
	v := Values{DNSQueries: d.Queries, DNSResponses: d.Responses, DNSTimeouts: d.Timeouts, DNSErrors: d.Errors()}
	if d.Role != wire.RoleServer {
		v.DNSLatency = d.Latency
	}
	return v
}

func (d *DNS) merge(other *DNS) {
	d.Queries, d.Responses = plus(d.Queries, other.Queries), plus(d.Responses, other.Responses)
	d.Timeouts = plus(d.Timeouts, other.Timeouts)
	d.Codes, d.Latency = sumCounts(d.Codes, other.Codes), Merge(d.Latency, other.Latency)
}

// Errors is the number of responses with another code than NOERROR.
func (d *DNS) Errors() uint64 {
	var errors uint64
	for code, count := range d.Codes {
		if code != "NOERROR" {
			errors = plus(errors, count)
		}
	}
	return errors
}

func (b *builder) stats(n *nodeState, sums map[uint32]*targetSum) {
	n.stats.all(func(k wire.StatSample, v uint64) {
		if k.Gauge && !n.targets[k.Target].ended.IsZero() {
			return // it was of a moment that is over
		}
		b.report.Stats = append(b.report.Stats, Stat{
			Target: n.targets[k.Target].as, Interface: k.Interface, Group: k.Group, Name: k.Name, Gauge: k.Gauge, Value: v,
		})
		if k.Group != "tcp" || k.Interface != "" || k.Gauge {
			return
		}
		sum := sums[k.Target]
		switch k.Name {
		case "OutSegs": // without those sent again (RFC 2012)
			sum.outSegs = plus(sum.outSegs, v)
		case "RetransSegs":
			sum.retransSegs = plus(sum.retransSegs, v)
		}
	})
}
