// Package metrics folds what collectors count into one report, and does with
// reports what users want: group, sort, compare, judge, print.
//
// A [Fold] takes the samples of every node and knows the present state; a
// [Report] is a value, the state at one moment, cumulative since the collectors
// began. The difference of two is a report again, so a rate, a comparison with a
// file and the live view are the same thing.
package metrics

import (
	"net/netip"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// Party is somebody who sends or receives: a target, or the other side of a flow.
type Party struct {
	// Kind is "pod", "node", "service", "external" (an address outside the cluster) or "unknown".
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"` // of the pod, node or service
	Node      string `json:"node,omitempty"` // of a pod: where it runs
	// Workload is "Deployment/web"; of a pod without a controller "Pod/NAME".
	Workload string `json:"workload,omitempty"`
	// Service is the name of a service that selects the pod, in the pod's namespace;
	// the first by name when there are several.
	Service string `json:"service,omitempty"`
	Zone    string `json:"zone,omitempty"` // topology.kubernetes.io/zone of the node
	// Addresses are those of a target, one of a peer.
	Addresses []netip.Addr `json:"addresses,omitempty"`
	// Policies are the NetworkPolicies that select the pod, by name.
	Policies []string `json:"policies,omitempty"`
}

// A Directory knows whose an address is. It may be asked concurrently.
type Directory interface {
	// Party never fails: an address that nobody has is "external", or "unknown" if
	// nobody could be asked.
	Party(netip.Addr) Party
}

// APIVersion and Kind of a [Report] in JSON. Fields are added within a version,
// never renamed or given another meaning.
const (
	APIVersion = "metrics.retina.sh/v1"
	Kind       = "Report"
)

// Report is what was measured from Began to Ended.
type Report struct {
	APIVersion string    `json:"apiVersion"`
	Kind       string    `json:"kind"`
	Began      time.Time `json:"began"`
	Ended      time.Time `json:"ended"`
	By         By        `json:"by"`
	Plugins    []string  `json:"plugins"` // that were asked for, sorted
	// Rows are the numbers by By, sorted by their labels until [Report.Sort].
	Rows       []Row       `json:"rows"`
	Flows      []Flow      `json:"flows,omitempty"`
	Drops      []Drop      `json:"drops,omitempty"`
	DNS        []DNS       `json:"dns,omitempty"`
	Interfaces []Interface `json:"interfaces,omitempty"`
	Stats      []Stat      `json:"stats,omitempty"`
	APIServers []APIServer `json:"apiServers,omitempty"`
	// Nodes are all that were asked, sorted by name.
	Nodes []Node `json:"nodes"`
	// Lost is what could not be counted: where it is not empty, numbers are lower
	// bounds.
	Lost []Lost `json:"lost,omitempty"`
	// Skipped are targets that were selected and not measured.
	Skipped []Skipped `json:"skipped,omitempty"`
}

// Seconds is the time that the report covers.
func (r *Report) Seconds() float64 { return r.Ended.Sub(r.Began).Seconds() }

// Node is one node's part in a report.
type Node struct {
	Name   string `json:"name"`
	Kernel string `json:"kernel,omitempty"`
	// Unsupported is what this node's kernel cannot give.
	Unsupported []wire.PluginError `json:"unsupported,omitempty"`
	// Error is why the node's numbers are missing, or end early. One line.
	Error string `json:"error,omitempty"`
	// Samples is how many of its samples are in the report; without one, 0 says
	// nothing about the node.
	Samples uint64 `json:"samples"`
}

// Skipped is a target that was not measured.
type Skipped struct {
	Target string `json:"target"`
	Reason string `json:"reason"`
	// Party is set when the target should have been measured and could not be: then
	// the numbers of groups that it is in are lower bounds.
	Party *Party `json:"party,omitempty"`
}

// Lost is something that a node could not count.
type Lost struct {
	Node   string `json:"node"`
	Plugin string `json:"plugin"`
	What   string `json:"what"`
	Count  uint64 `json:"count"`
}

// By is what the rows of a report stand for.
type By string

// Values of By. A service's row sums up the pods that it selects.
const (
	ByPod       By = "pod"
	ByNode      By = "node"
	ByWorkload  By = "workload"
	ByNamespace By = "namespace"
	ByService   By = "service"
	ByFlow      By = "flow"
)

// Row is the numbers of one group. Of the fields of Party only those that all of
// the group have in common are set.
type Row struct {
	Party
	// Remote is the other side; only by flow. Then Protocol, Port and Role are set too.
	Remote   *Party `json:"remote,omitempty"`
	Protocol string `json:"protocol,omitempty"` // "TCP", "UDP", "ICMP", else the number
	Port     uint16 `json:"port,omitempty"`
	Role     string `json:"role,omitempty"`
	Targets  int    `json:"targets"` // how many pods or nodes are summed up
	// GoneTargets is how many of them have ended.
	GoneTargets int `json:"goneTargets,omitempty"`
	Values
}

// Values are the numbers of a target or a group of them, cumulative since the
// report began. In is towards the target. What a plugin that did not run would
// have counted is 0; [Report.Measured] tells.
type Values struct {
	PacketsIn  uint64 `json:"packetsIn"`
	PacketsOut uint64 `json:"packetsOut"`
	BytesIn    uint64 `json:"bytesIn"`
	BytesOut   uint64 `json:"bytesOut"`

	Drops     uint64 `json:"drops"` // packets
	DropBytes uint64 `json:"dropBytes"`

	Retransmits uint64 `json:"retransmits"` // segments
	SegmentsOut uint64 `json:"segmentsOut"` // of TCP, with those sent again

	Opened     uint64 `json:"opened"`
	Unanswered uint64 `json:"unanswered"`
	Refused    uint64 `json:"refused"`
	ResetsIn   uint64 `json:"resetsIn"`
	ResetsOut  uint64 `json:"resetsOut"`
	// FlagsIn and FlagsOut have the indexes wire.FlagFIN and so on.
	FlagsIn  [wire.NumFlags]uint64 `json:"flagsIn"`
	FlagsOut [wire.NumFlags]uint64 `json:"flagsOut"`

	Connect wire.Histogram `json:"connect,omitzero"`
	RTT     wire.Histogram `json:"rtt,omitzero"`
	// ConnectTimes and RTTTimes sum up the same times. By flow there are only these:
	// no histograms are kept for each flow.
	ConnectTimes wire.Times `json:"connectTimes,omitzero"`
	RTTTimes     wire.Times `json:"rttTimes,omitzero"`

	DNSQueries   uint64         `json:"dnsQueries"`
	DNSResponses uint64         `json:"dnsResponses"`
	DNSErrors    uint64         `json:"dnsErrors"` // responses with another code than NOERROR
	DNSTimeouts  uint64         `json:"dnsTimeouts"`
	DNSLatency   wire.Histogram `json:"dnsLatency,omitzero"` // of the target's own queries
}

// Flow is what one target exchanges with one address.
type Flow struct {
	Local    Party  `json:"local"`
	Remote   Party  `json:"remote"`
	Protocol string `json:"protocol"`
	Port     uint16 `json:"port,omitempty"`
	Role     string `json:"role,omitempty"` // of Local
	FlowValues
}

// FlowValues are a flow's numbers.
type FlowValues struct {
	PacketsIn  uint64 `json:"packetsIn"`
	PacketsOut uint64 `json:"packetsOut"`
	BytesIn    uint64 `json:"bytesIn"`
	BytesOut   uint64 `json:"bytesOut"`
	// SegmentsOut are of TCP, as on the wire: a packet may be many (GSO).
	SegmentsOut uint64     `json:"segmentsOut,omitempty"`
	FlagsIn     []uint64   `json:"flagsIn,omitempty"`
	FlagsOut    []uint64   `json:"flagsOut,omitempty"`
	Opened      uint64     `json:"opened,omitempty"`
	Unanswered  uint64     `json:"unanswered,omitempty"`
	Refused     uint64     `json:"refused,omitempty"`
	Connect     wire.Times `json:"connect,omitzero"`
	RTT         wire.Times `json:"rtt,omitzero"`
	Retransmits uint64     `json:"retransmits,omitempty"`
}

// Drop is packets that were thrown away for one reason. Source and Destination
// are nil when they are not known.
type Drop struct {
	Target      Party  `json:"target"`
	Node        string `json:"node"` // that dropped them
	Reason      string `json:"reason"`
	Hook        string `json:"hook,omitempty"`
	Function    string `json:"function,omitempty"`
	Direction   string `json:"direction,omitempty"` // seen from Target
	On          string `json:"on,omitempty"`        // "pod" or "node": whose network stack
	Protocol    string `json:"protocol,omitempty"`
	Source      *Side  `json:"source,omitempty"`
	Destination *Side  `json:"destination,omitempty"`
	Packets     uint64 `json:"packets"`
	Bytes       uint64 `json:"bytes"`
	// Hint says more about the reason: the NetworkPolicies that select the pod.
	Hint string `json:"hint,omitempty"`
}

// Side is one side of a packet.
type Side struct {
	Party Party  `json:"party"`
	Port  uint16 `json:"port,omitempty"`
}

// DNS is what one target asked one server for one name.
type DNS struct {
	Target    Party             `json:"target"`
	Role      string            `json:"role"`
	Server    Side              `json:"server"`
	Protocol  string            `json:"protocol"`
	Name      string            `json:"name"`
	Type      string            `json:"type"`
	Queries   uint64            `json:"queries"`
	Responses uint64            `json:"responses"`
	Codes     map[string]uint64 `json:"codes,omitempty"`
	Timeouts  uint64            `json:"timeouts,omitempty"`
	Latency   wire.Histogram    `json:"latency,omitzero"`
}

// Stat is one of the kernel's own numbers.
type Stat struct {
	Target    Party  `json:"target"`
	Interface string `json:"interface,omitempty"`
	Group     string `json:"group"`
	Name      string `json:"name"`
	Gauge     bool   `json:"gauge,omitempty"`
	Value     uint64 `json:"value"`
}

// APIServer is how one node reaches one address of the API server.
type APIServer struct {
	Node string `json:"node"`
	wire.APIServerSample
}
