package metrics

import (
	"maps"
	"net/netip"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// nodeState is what one node's collectors have said.
type nodeState struct {
	about      Node
	limit      int
	targets    map[uint32]*target
	interfaces map[uint32]attached

	pending []*wire.Sample // parts of a sample that is not complete
	held    int            // entries of pending

	restarts uint64 // after which something may be missing
	before   uint64 // samples of all collectors before this one

	traffic     table[trafficKey, traffic]
	drops       table[wire.DropSample, amount] // keys have no numbers
	flows       table[wire.FlowKey, FlowValues]
	latency     table[uint32, latency] // by target
	retransmits table[wire.FlowKey, uint64]
	dns         table[dnsKey, dnsValues]
	stats       table[wire.StatSample, uint64] // keys have no number
	apiServers  table[netip.AddrPort, wire.APIServerSample]
	lost        table[wire.LostSample, uint64] // keys have no number
}

type target struct {
	party Party
	as    Party     // in reports; see Fold.identify
	order uint64    // in which targets were set
	ended time.Time // zero: it has not
}

// younger tells whether t took the place of other.
func (t *target) younger(other *target) bool {
	if t.ended.IsZero() != other.ended.IsZero() {
		return t.ended.IsZero()
	}
	return t.order > other.order
}

type attached struct {
	target      uint32
	name        string
	uplink, set bool
}

// A trafficKey outlives the IDs of interfaces.
type trafficKey struct {
	target uint32
	id     uint32 // of the interface, from 1; 0 for all that are gone
	name   string
	uplink bool
}

type traffic struct{ packetsIn, packetsOut, bytesIn, bytesOut uint64 }

type amount struct{ packets, bytes uint64 }

type latency struct{ connect, rtt wire.Histogram }

type dnsKey struct {
	target   uint32
	role     string
	server   netip.AddrPort
	protocol uint8
	name     string
	kind     string
}

type dnsValues struct {
	queries, responses, timeouts uint64
	codes                        map[string]uint64
	latency                      wire.Histogram
}

func newNodeState(name string, limit int) *nodeState {
	n := &nodeState{
		about: Node{Name: name}, limit: limit,
		targets: make(map[uint32]*target), interfaces: make(map[uint32]attached),

		traffic:     newTable[trafficKey](limit, sumTraffic),
		drops:       newTable[wire.DropSample](limit, sumAmounts),
		flows:       newTable[wire.FlowKey](limit, sumFlows),
		latency:     newTable[uint32](limit, sumLatency),
		retransmits: newTable[wire.FlowKey](limit, plus),
		dns:         newTable[dnsKey](limit, sumDNS),
		stats:       newTable[wire.StatSample](limit, plus),
		apiServers:  newTable[netip.AddrPort](wire.MaxAPIServers, sumAPIServers),
		lost:        newTable[wire.LostSample](maxLost, plus),
	}
	rest := func(k wire.FlowKey) wire.FlowKey {
		return wire.FlowKey{Target: k.Target, Protocol: k.Protocol, Role: k.Role}
	}
	n.flows.rest, n.retransmits.rest = rest, rest
	n.drops.rest = func(k wire.DropSample) wire.DropSample {
		k.Source, k.Destination = netip.AddrPort{}, netip.AddrPort{}
		return k
	}
	n.dns.rest = func(k dnsKey) dnsKey { return dnsKey{target: k.target, role: k.role, protocol: k.protocol} }
	n.traffic.rest = func(k trafficKey) trafficKey { return trafficKey{target: k.target, name: k.name, uplink: k.uplink} }
	return n
}

// restart ends all that counts. What is of this moment is kept until the new
// collector says otherwise.
func (n *nodeState) restart() {
	n.flush()
	if n.about.Samples > n.before { // not again for each attempt to start one
		n.restarts++
		n.before = n.about.Samples
	}
	n.traffic.rebase()
	n.traffic.collapse() // the new collector's interfaces have the same IDs
	n.drops.rebase()
	n.flows.rebase()
	n.latency.rebase()
	n.retransmits.rebase()
	n.dns.rebase()
	for k, e := range n.stats.entries {
		if !k.Gauge {
			n.stats.end(e)
		}
	}
	n.apiServers.rebase()
	n.lost.rebase()
	clear(n.interfaces)
}

func (n *nodeState) forget(over func(*target) bool) {
	gone := make(map[uint32]bool)
	for id, t := range n.targets {
		if over(t) {
			gone[id] = true
			delete(n.targets, id)
		}
	}
	if len(gone) == 0 {
		return
	}
	n.traffic.forget(func(k trafficKey) bool { return gone[k.target] })
	n.drops.forget(func(k wire.DropSample) bool { return gone[k.Target] })
	n.flows.forget(func(k wire.FlowKey) bool { return gone[k.Target] })
	n.latency.forget(func(k uint32) bool { return gone[k] })
	n.retransmits.forget(func(k wire.FlowKey) bool { return gone[k.Target] })
	n.dns.forget(func(k dnsKey) bool { return gone[k.target] })
	n.stats.forget(func(k wire.StatSample) bool { return gone[k.Target] })
	maps.DeleteFunc(n.interfaces, func(_ uint32, i attached) bool { return gone[i.target] })
}

func sumTraffic(a, b traffic) traffic {
	return traffic{
		plus(a.packetsIn, b.packetsIn), plus(a.packetsOut, b.packetsOut),
		plus(a.bytesIn, b.bytesIn), plus(a.bytesOut, b.bytesOut),
	}
}

func sumAmounts(a, b amount) amount {
	return amount{plus(a.packets, b.packets), plus(a.bytes, b.bytes)}
}

func sumLatency(a, b latency) latency {
	return latency{Merge(a.connect, b.connect), Merge(a.rtt, b.rtt)}
}

func sumDNS(a, b dnsValues) dnsValues {
	return dnsValues{
		plus(a.queries, b.queries), plus(a.responses, b.responses), plus(a.timeouts, b.timeouts),
		sumCounts(a.codes, b.codes), Merge(a.latency, b.latency),
	}
}

func sumAPIServers(a, b wire.APIServerSample) wire.APIServerSample {
	return wire.APIServerSample{
		Attempts: plus(a.Attempts, b.Attempts), Errors: sumCounts(a.Errors, b.Errors),
		Handshake: Merge(a.Handshake, b.Handshake), Latency: Merge(a.Latency, b.Latency),
	}
}

// sumCounts returns a map of its own; nil if a and b are empty.
func sumCounts(a, b map[string]uint64) map[string]uint64 {
	if len(a)+len(b) == 0 {
		return nil
	}
	sum := make(map[string]uint64, len(a)+len(b))
	maps.Copy(sum, a)
	for k, v := range b {
		sum[k] = plus(sum[k], v)
	}
	return sum
}
