package metrics

import (
	"fmt"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// maxHeld bounds the entries of a sample in parts: as a multiple of what a table
// may have.
const maxHeld = 8

// add keeps s, and applies it when it is complete. One that never becomes complete
// is applied in pieces rather than kept for ever: all its numbers are true.
func (n *nodeState) add(s *wire.Sample) {
	n.pending = append(n.pending, s)
	n.held += 1 + len(s.Traffic) + len(s.Drops) + len(s.Flows) + len(s.Latency) + len(s.Retransmits) +
		len(s.DNS) + len(s.Stats) + len(s.APIServers) + len(s.Lost)
	if !s.More || n.held > maxHeld*n.limit {
		n.flush()
	}
}

func (n *nodeState) flush() {
	for _, s := range n.pending {
		n.apply(s)
		if !s.More {
			n.about.Samples++
		}
	}
	n.pending, n.held = nil, 0
}

func (n *nodeState) apply(s *wire.Sample) {
	for _, t := range s.Traffic {
		n.applyTraffic(t)
	}
	for _, d := range s.Drops {
		n.applyDrop(d)
	}
	for _, f := range s.Flows {
		n.applyFlow(f)
	}
	for _, l := range s.Latency {
		if n.targets[l.Target] != nil {
			n.latency.set(l.Target, latency{cleanHistogram(l.Connect), cleanHistogram(l.RTT)}, false)
		}
	}
	for _, r := range s.Retransmits {
		if n.targets[r.Target] != nil {
			n.retransmits.set(cleanKey(r.FlowKey), r.Segments, r.Ended)
		}
	}
	for _, d := range s.DNS {
		n.applyDNS(d)
	}
	for _, st := range s.Stats {
		n.applyStat(st)
	}
	for _, a := range s.APIServers {
		a.Errors = cleanCounts(a.Errors)
		a.Handshake, a.Latency = cleanHistogram(a.Handshake), cleanHistogram(a.Latency)
		n.apiServers.set(a.Address, a, false)
	}
	for _, l := range s.Lost {
		n.lost.set(wire.LostSample{Plugin: clean(l.Plugin, maxWord), What: clean(l.What, maxText)}, l.Count, false)
	}
}

func (n *nodeState) applyTraffic(t wire.TrafficSample) {
	i := n.interfaces[t.Interface]
	if !i.set || n.targets[i.target] == nil {
		return
	}
	n.traffic.set(trafficKey{i.target, t.Interface + 1, i.name, i.uplink}, traffic{t.PacketsIn, t.PacketsOut, t.BytesIn, t.BytesOut}, false)
}

func (n *nodeState) applyDrop(d wire.DropSample) {
	if n.targets[d.Target] == nil {
		return
	}
	v, ended := amount{d.Packets, d.Bytes}, d.Ended
	d.Packets, d.Bytes, d.Ended = 0, 0, false
	d.Reason, d.Hook, d.Function = clean(d.Reason, maxWord), clean(d.Hook, maxWord), clean(d.Function, maxWord)
	d.Direction = cleanDirection(d.Direction)
	if d.On != "pod" && d.On != "node" {
		d.On = ""
	}
	n.drops.set(d, v, ended)
}

func (n *nodeState) applyFlow(f wire.FlowSample) {
	if n.targets[f.Target] == nil {
		return
	}
	n.flows.set(cleanKey(f.FlowKey), FlowValues{
		PacketsIn: f.PacketsIn, PacketsOut: f.PacketsOut, BytesIn: f.BytesIn, BytesOut: f.BytesOut, SegmentsOut: f.SegmentsOut,
		FlagsIn: cleanFlags(f.FlagsIn), FlagsOut: cleanFlags(f.FlagsOut),
		Opened: f.Opened, Unanswered: f.Unanswered, Refused: f.Refused, Connect: f.Connect, RTT: f.RTT,
	}, f.Ended)
}

func cleanKey(k wire.FlowKey) wire.FlowKey {
	k.Role = cleanRole(k.Role)
	// A zone is a name of the node's; the directory knows addresses without.
	k.Local, k.Remote = k.Local.WithZone("").Unmap(), k.Remote.WithZone("").Unmap()
	return k
}

func (n *nodeState) applyDNS(d wire.DNSSample) {
	if n.targets[d.Target] == nil {
		return
	}
	key := dnsKey{d.Target, cleanRole(d.Role), d.Server, d.Protocol, clean(d.Name, maxName), clean(d.Type, maxWord)}
	n.dns.set(key, dnsValues{d.Queries, d.Responses, d.Timeouts, cleanCounts(d.Codes), cleanHistogram(d.Latency)}, d.Ended)
}

func (n *nodeState) applyStat(s wire.StatSample) {
	if n.targets[s.Target] == nil {
		return
	}
	v := s.Value
	s.Value = 0
	s.Interface, s.Group, s.Name = clean(s.Interface, maxWord), clean(s.Group, maxWord), clean(s.Name, maxWord)
	n.stats.set(s, v, false)
}

// refusals returns what this side had no room for.
func (n *nodeState) refusals() []Lost {
	var lost []Lost
	for _, r := range []struct {
		plugin, what string
		count        uint64
		limit        int
	}{
		{"packetforward", "interfaces", n.traffic.refused, n.traffic.limit},
		{"dropreason", "drops", n.drops.refused, n.drops.limit},
		{"packetparser", "flows", n.flows.refused, n.flows.limit},
		{"packetparser", "targets", n.latency.refused, n.latency.limit},
		{"tcpretrans", "flows", n.retransmits.refused, n.retransmits.limit},
		{"dns", "names", n.dns.refused, n.dns.limit},
		{"linuxutil", "numbers", n.stats.refused, n.stats.limit},
		{"apiserver", "addresses", n.apiServers.refused, n.apiServers.limit},
		{"collector", "kinds of losses", n.lost.refused, n.lost.limit},
	} {
		if r.count > 0 {
			what := fmt.Sprintf("%s: the command keeps %d of a node", r.what, r.limit)
			lost = append(lost, Lost{Node: n.about.Name, Plugin: r.plugin, What: what, Count: r.count})
		}
	}
	return lost
}
