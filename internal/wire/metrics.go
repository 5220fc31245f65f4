package wire

import (
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"time"
)

// Limits of a MetricsSpec.
const (
	MinInterval     = 200 * time.Millisecond // between two samples
	MaxInterval     = time.Minute
	MinTableEntries = 64 // entries of one table in the kernel
	MaxTableEntries = 1 << 18
	MaxAPIServers   = 16
)

// MetricsSpec is the part of a Spec for metrics.
type MetricsSpec struct {
	// Plugins are names of plugins.yaml; at least one.
	Plugins []string `json:"plugins"`
	// IntervalMS is the time between two samples in ms.
	IntervalMS uint32 `json:"intervalMS"`
	// Targets are what to measure, at most MaxTargets. More may follow in
	// KindTargets frames, so there may be none yet.
	Targets []Target `json:"targets,omitempty"`
	// EventsPerSecond asks for KindEvents frames, at most so many events a second;
	// the rest is counted. 0: no events.
	EventsPerSecond uint32 `json:"eventsPerSecond,omitempty"`
	// EventKinds are the kinds of events that are wanted, as EventDrop; none: all. The
	// others count neither as events nor as too many.
	EventKinds []string `json:"eventKinds,omitempty"`
	// TableEntries bounds each table in the kernel: flows, drops by tuple, names.
	// What does not fit is counted in Sample.Lost.
	TableEntries uint32 `json:"tableEntries"`
	// APIServers are the addresses that the apiserver plugin connects to.
	APIServers []netip.AddrPort `json:"apiServers,omitempty"`
	// Hook forces the way of attaching, as in PacketsSpec.
	Hook string `json:"hook,omitempty"`
}

// Interval is IntervalMS.
func (m *MetricsSpec) Interval() time.Duration {
	return time.Duration(m.IntervalMS) * time.Millisecond
}

func (m *MetricsSpec) validate() error {
	switch {
	case len(m.Plugins) == 0:
		return fmt.Errorf("spec asks for metrics of no plugin")
	case m.Interval() < MinInterval || m.Interval() > MaxInterval:
		return fmt.Errorf("interval %s is outside %s..%s", m.Interval(), MinInterval, MaxInterval)
	case m.TableEntries < MinTableEntries || m.TableEntries > MaxTableEntries:
		return fmt.Errorf("tables of %d entries are outside %d..%d", m.TableEntries, MinTableEntries, MaxTableEntries)
	case len(m.APIServers) > MaxAPIServers:
		return fmt.Errorf("%d API servers, want at most %d", len(m.APIServers), MaxAPIServers)
	case slices.ContainsFunc(m.EventKinds, func(kind string) bool { return !slices.Contains(EventKinds(), kind) }):
		return fmt.Errorf("unknown kind of events in %q", m.EventKinds)
	case m.Hook != "" && m.Hook != "tcx" && m.Hook != "socket":
		return fmt.Errorf("unknown hook %q", m.Hook)
	}
	return validateTargets(m.Targets)
}

// Targets changes what a collector of metrics measures, or what one of packets
// captures whose spec has Follow set. It is answered by one Attached; of packets,
// by one for each of Add, and by a Gone for each interface of Remove.
type Targets struct {
	Add    []Target `json:"add,omitempty"`
	Remove []uint32 `json:"remove,omitempty"` // Target.ID
}

// Validate reports the first thing that makes t unusable.
func (t *Targets) Validate() error { return validateTargets(t.Add) }

// Attached answers Targets.
type Attached struct {
	Interfaces []Interface   `json:"interfaces,omitempty"` // the new ones
	Failed     []TargetError `json:"failed,omitempty"`
	// Warnings are for the user, a line each.
	Warnings []string `json:"warnings,omitempty"`
	// TimeNS is when packets were attached to, by the node's wall clock.
	TimeNS int64 `json:"timeNS,omitempty"`
}

// PluginError says why a plugin, or a part of it, does not work on a node.
type PluginError struct {
	Plugin string `json:"plugin"`
	Cause  string `json:"cause"` // one line
	Hint   string `json:"hint,omitempty"`
	// Partial is set when the rest of the plugin works.
	Partial bool `json:"partial,omitempty"`
}

// Sample is what the plugins have counted. Every number is cumulative since go,
// unless it says otherwise. An entry is in a sample when it has changed since
// the one before; a reader keeps the others. The last sample of a stream comes
// right before its End and has every change up to then.
//
// A sample that is larger than a frame comes in several, all but the last with
// More set. They have the same Seq.
type Sample struct {
	Seq    uint64 `json:"seq"`
	TimeNS int64  `json:"timeNS"` // the node's wall clock
	More   bool   `json:"more,omitempty"`

	Traffic     []TrafficSample    `json:"traffic,omitempty"`     // packetforward
	Drops       []DropSample       `json:"drops,omitempty"`       // dropreason
	Flows       []FlowSample       `json:"flows,omitempty"`       // packetparser
	Latency     []LatencySample    `json:"latency,omitempty"`     // packetparser
	Retransmits []RetransmitSample `json:"retransmits,omitempty"` // tcpretrans
	DNS         []DNSSample        `json:"dns,omitempty"`         // dns
	Stats       []StatSample       `json:"stats,omitempty"`       // linuxutil
	APIServers  []APIServerSample  `json:"apiServers,omitempty"`  // apiserver

	// Lost is what could not be counted as it should.
	Lost []LostSample `json:"lost,omitempty"`
}

// TrafficSample counts the packets of one interface. In is towards the target.
type TrafficSample struct {
	Interface  uint32 `json:"interface"` // Interface.ID
	PacketsIn  uint64 `json:"packetsIn"`
	PacketsOut uint64 `json:"packetsOut"`
	BytesIn    uint64 `json:"bytesIn"` // with the link-layer header
	BytesOut   uint64 `json:"bytesOut"`
}

// Directions of a packet, seen from the target.
const (
	DirectionIn      = "ingress"
	DirectionOut     = "egress"
	DirectionForward = "forward" // neither from nor to the node, but through it
)

// DropSample counts packets that the kernel has thrown away for one reason.
type DropSample struct {
	Target uint32 `json:"target"`
	// Reason is the kernel's name without its prefix, as in "NETFILTER_DROP" or
	// "NO_SOCKET" (include/net/dropreason-core.h), or "CILIUM_" and Cilium's own.
	Reason string `json:"reason"`
	// Hook is the netfilter hook of a NETFILTER_DROP where it is known: "PREROUTING",
	// "INPUT", "FORWARD", "OUTPUT", "POSTROUTING", "INGRESS" or "EGRESS".
	Hook string `json:"hook,omitempty"`
	// Function is the kernel's function that dropped the packet, if known.
	Function  string `json:"function,omitempty"`
	Direction string `json:"direction,omitempty"` // "": unknown
	// On is the network namespace that dropped it: "pod" or "node".
	On       string `json:"on,omitempty"`
	Protocol uint8  `json:"protocol,omitempty"` // IP protocol; 0: unknown, or not IP
	// Source and Destination are invalid when the packet is not IP, or the table was
	// full. Ports are 0 where the protocol has none.
	Source      netip.AddrPort `json:"source,omitzero"`
	Destination netip.AddrPort `json:"destination,omitzero"`
	Packets     uint64         `json:"packets"`
	Bytes       uint64         `json:"bytes"` // from the network header on
	// Ended is as in FlowSample.
	Ended bool `json:"ended,omitempty"`
}

// Roles of a target in a flow or a DNS exchange.
const (
	RoleClient = "client" // the target has opened the connection, or asks
	RoleServer = "server"
)

// FlowKey names what a target exchanges with one address: all connections of one
// protocol to or from one port. The client's ports do not count.
type FlowKey struct {
	Target   uint32     `json:"target"`
	Protocol uint8      `json:"protocol"` // IP protocol
	Local    netip.Addr `json:"local"`    // of the target, or behind the target when that is a node
	Remote   netip.Addr `json:"remote"`
	Port     uint16     `json:"port,omitempty"` // the server's; 0 for a protocol without ports
	Role     string     `json:"role,omitempty"` // of the target; "": unknown
}

// Indexes of FlowSample.FlagsIn and FlagsOut. A SYN with ACK counts as SYNACK
// only; every other segment counts once for each of its flags.
const (
	FlagFIN = iota
	FlagSYN
	FlagSYNACK
	FlagACK
	FlagRST
	FlagPSH
	FlagURG
	FlagECE
	FlagCWR
	FlagNS
	NumFlags
)

// FlowSample counts one flow. In is towards the target.
type FlowSample struct {
	FlowKey
	PacketsIn  uint64 `json:"packetsIn,omitempty"`
	PacketsOut uint64 `json:"packetsOut,omitempty"`
	BytesIn    uint64 `json:"bytesIn,omitempty"` // from the network header on
	BytesOut   uint64 `json:"bytesOut,omitempty"`
	// SegmentsOut are segments of TCP as on the wire, where a packet may be many (GSO).
	SegmentsOut uint64 `json:"segmentsOut,omitempty"`
	// Flags of TCP; empty for other protocols.
	FlagsIn  []uint64 `json:"flagsIn,omitempty"`
	FlagsOut []uint64 `json:"flagsOut,omitempty"`
	// Opened are handshakes that were completed, Failed those that were not: no
	// SYN-ACK came in 3 s (Unanswered), or a reset (Refused).
	Opened     uint64 `json:"opened,omitempty"`
	Unanswered uint64 `json:"unanswered,omitempty"`
	Refused    uint64 `json:"refused,omitempty"`
	// Connect is the time from SYN to SYN-ACK, RTT the kernel's smoothed round trip
	// of the target's own sockets.
	Connect Times `json:"connect,omitzero"`
	RTT     Times `json:"rtt,omitzero"`
	// Ended is set in the last sample of a flow that has been idle and was taken out
	// of the table. Should it come back, it counts from 0.
	Ended bool `json:"ended,omitempty"`
}

// Times sums up measured times, in µs.
type Times struct {
	Count uint64 `json:"count"`
	Sum   uint64 `json:"sum"`
	Max   uint64 `json:"max,omitempty"`
	Last  uint64 `json:"last,omitempty"`
}

// LatencySample is how a target's times are distributed.
type LatencySample struct {
	Target  uint32    `json:"target"`
	Connect Histogram `json:"connect,omitzero"` // SYN to SYN-ACK
	RTT     Histogram `json:"rtt,omitzero"`     // smoothed, one value for each segment received
}

// A Histogram counts times. Its bucket n holds values from BucketMin(n) to
// BucketMin(n+1)-1 µs: four buckets for each power of two, so a value is known
// to a quarter or better.
type Histogram struct {
	Sum     uint64   `json:"sum"`               // µs
	Buckets []uint64 `json:"buckets,omitempty"` // without zeros at the end
}

// Observe adds a time. One that is negative counts as 0.
func (h *Histogram) Observe(d time.Duration) {
	us := uint64(max(d, 0) / time.Microsecond)
	h.Sum += us
	bucket := Bucket(us)
	for len(h.Buckets) <= bucket {
		h.Buckets = append(h.Buckets, 0)
	}
	h.Buckets[bucket]++
}

// NumBuckets is the length of a Histogram at most: for values of 32 bits.
const NumBuckets = 124

// Bucket returns the index of the bucket that holds a value of µs. Values of
// more than 32 bits are in the last one.
func Bucket(us uint64) int {
	if us > 1<<32-1 {
		us = 1<<32 - 1
	}
	if us < 4 {
		return int(us)
	}
	log2 := bits.Len64(us) - 1
	return (log2-1)*4 + int(us>>(log2-2)&3)
}

// BucketMin returns the smallest value, in µs, of bucket n.
func BucketMin(n int) uint64 {
	if n < 4 {
		return uint64(n)
	}
	return uint64(4+n%4) << (n/4 - 1)
}

// RetransmitSample counts the TCP segments of a flow that the target has sent
// again.
type RetransmitSample struct {
	FlowKey
	Segments uint64 `json:"segments"`
	// Ended is as in FlowSample.
	Ended bool `json:"ended,omitempty"`
}

// DNSSample counts what was asked for one name.
type DNSSample struct {
	Target   uint32         `json:"target"`
	Role     string         `json:"role"`
	Server   netip.AddrPort `json:"server"`   // who was asked
	Protocol uint8          `json:"protocol"` // 17 or 6
	// Name ends without a dot and is lower case, with \DDD for what does not print
	// (RFC 4343); "." is the root. "" stands for all names that the table had no room
	// for.
	Name string `json:"name"`
	Type string `json:"type"` // "A", "AAAA", "HTTPS", "TYPE123"

	Queries   uint64            `json:"queries"`
	Responses uint64            `json:"responses"`
	Codes     map[string]uint64 `json:"codes,omitempty"` // of the responses: "NOERROR", "NXDOMAIN", "RCODE17"
	// Timeouts are queries without a response in 5 s.
	Timeouts uint64    `json:"timeouts,omitempty"`
	Latency  Histogram `json:"latency,omitzero"`
	// Ended is as in FlowSample.
	Ended bool `json:"ended,omitempty"`
}

// StatSample is one of the kernel's own numbers about a network namespace or an
// interface, or of group "dns" what the dns plugin has seen and that is no part of
// an exchange.
type StatSample struct {
	Target    uint32 `json:"target"`
	Interface string `json:"interface,omitempty"` // ifname; "": the namespace
	// Group is "tcp", "udp", "ip", "socket", "interface", "conntrack" or "dns"; Name the
	// kernel's own (RFC 2012 and 2013 for /proc/net/snmp, else as in /proc/net/netstat),
	// or "malformed_messages", "unmatched_responses" and "midstream_segments" of "dns".
	Group string `json:"group"`
	Name  string `json:"name"`
	// Gauge says that Value is of this moment. Otherwise it counts since go.
	Gauge bool   `json:"gauge,omitempty"`
	Value uint64 `json:"value"`
}

// APIServerSample is how a node reaches one address of the API server.
type APIServerSample struct {
	Address   netip.AddrPort    `json:"address"`
	Attempts  uint64            `json:"attempts"`
	Errors    map[string]uint64 `json:"errors,omitempty"` // "refused", "timeout", "unreachable", "reset", "tls"
	Handshake Histogram         `json:"handshake,omitzero"`
	Latency   Histogram         `json:"latency,omitzero"` // to the server's answer to a TLS hello
}

// LostSample says what a plugin could not count.
type LostSample struct {
	Plugin string `json:"plugin"`
	What   string `json:"what"` // as in "flows: table full"
	Count  uint64 `json:"count"`
}

// Kinds of an Event.
const (
	EventDrop       = "drop"
	EventReset      = "reset"
	EventRetransmit = "retransmit"
	EventDNS        = "dns"     // an error code, or no response
	EventConnect    = "connect" // a connection that was not established
)

// EventKinds returns the kinds of an Event, in the order in which they are shown.
func EventKinds() []string {
	return []string{EventDrop, EventReset, EventRetransmit, EventDNS, EventConnect}
}

// Event is one thing that went wrong.
type Event struct {
	TimeNS      int64          `json:"timeNS"` // the node's wall clock
	Kind        string         `json:"kind"`
	Target      uint32         `json:"target"`
	Protocol    uint8          `json:"protocol,omitempty"`
	Source      netip.AddrPort `json:"source,omitzero"`
	Destination netip.AddrPort `json:"destination,omitzero"`
	Direction   string         `json:"direction,omitempty"`
	// Reason is one word: a drop's reason, "NXDOMAIN", "timeout", "refused", "sent" or
	// "received" for a reset.
	Reason string `json:"reason,omitempty"`
	// Detail is more, for people: the function, the name that was asked for.
	Detail string `json:"detail,omitempty"`
}

// Events carries events in the order of their time, more or less.
type Events struct {
	Events []Event `json:"events,omitempty"`
	// Suppressed counts, since go, those over EventsPerSecond.
	Suppressed uint64 `json:"suppressed,omitempty"`
}
