// Package wire is the contract between the command and a collector: the
// specification that goes in on the collector's standard input, and the frames
// that come out on its standard output.
//
// Both programs import it and it imports nothing of theirs, so neither can
// pull the other's dependencies into its binary. Everything that is read from
// the other side is untrusted: lengths are bounded before anything is
// allocated, and a value outside its documented range is an error.
package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Version is the version of this contract. The command refuses a collector
// whose hello names another one, because both are built from one commit and a
// mismatch means that the wrong image was given.
const Version = 2

// Limits of a specification. They protect the collector from a broken command
// and keep a frame below MaxPayload.
const (
	MaxTargets   = 1024       // targets in one specification
	MinSnapLen   = 16         // bytes; less than an Ethernet header tells nothing
	MaxSnapLen   = 256 * 1024 // bytes; tcpdump's own maximum
	MinRingBytes = 1 << 20    // bytes
	MaxRingBytes = 1 << 30    // bytes
)

// Heartbeat times. The command pings more often than the collector's patience,
// so that one lost ping ends nothing.
const (
	PingInterval = 3 * time.Second
	// Silence is how long a collector waits for a word from the command before
	// it ends itself.
	Silence = 15 * time.Second
)

// Spec says what one collector does. It is the payload of the first frame that
// the command sends and holds everything the collector knows: it asks nobody.
type Spec struct {
	// Version must be [Version].
	Version int `json:"version"`
	// RunID names the run that this collector belongs to; it marks everything
	// that outlives a process (traffic-control filters on kernels before 6.6).
	// Lower-case letters and digits, 1 to 32 of them.
	RunID string `json:"runID"`
	// MaxSeconds ends the collector when it has run that long, whatever the
	// command says; > 0.
	MaxSeconds int64 `json:"maxSeconds"`
	// Packets asks for a packet capture. Nil: none.
	Packets *PacketsSpec `json:"packets,omitempty"`
	// Store keeps the packets on the node instead of streaming them. Nil: they
	// are streamed.
	Store *StoreSpec `json:"store,omitempty"`
	// Metrics asks for metrics instead of a capture. Nil: no.
	Metrics *MetricsSpec `json:"metrics,omitempty"`
	// Files asks for archives instead of a capture. Nil: no.
	Files *FilesSpec `json:"files,omitempty"`
	// Doctor asks for an examination of the node instead of a capture. Nil: no.
	Doctor *DoctorSpec `json:"doctor,omitempty"`
}

// ParseSpec reads a Spec. A field that is not known is an error: a collector that
// ignored a filter would send what nobody asked for.
func ParseSpec(payload []byte) (Spec, error) {
	var spec Spec
	decoder := json.NewDecoder(bytes.NewReader(payload))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&spec); err != nil {
		return Spec{}, fmt.Errorf("read spec: %w", err)
	}
	if decoder.More() {
		return Spec{}, errors.New("read spec: something comes behind it")
	}
	return spec, nil
}

// PacketsSpec is the part of a Spec for the packets plugin.
type PacketsSpec struct {
	// SnapLen is the number of bytes kept of each packet, MinSnapLen..MaxSnapLen.
	SnapLen uint32 `json:"snapLen"`
	// RingBytes is the size of the kernel's ring buffer in bytes, a power of
	// two in MinRingBytes..MaxRingBytes.
	RingBytes uint32 `json:"ringBytes"`
	// Targets are what to capture; at least one unless Follow is set, at most
	// MaxTargets.
	Targets []Target `json:"targets"`
	// Follow says that targets may come and go later, in KindTargets frames: there
	// may be none at a time, at first included.
	Follow bool `json:"follow,omitempty"`
	// Vantages say where the packets of pods are captured; none: VantagePod. On the
	// node itself they are packets of the node, which is a target of its own.
	Vantages []Vantage `json:"vantages,omitempty"`
	// Hook forces the way of attaching, for tests: "" (TCX, else a packet socket),
	// "tcx" or "socket".
	Hook string `json:"hook,omitempty"`
	// KubeletPort is the port that the node's kubelet listens on; packets of the
	// command's own stream are looked for there when Node targets exist. 0: unknown.
	KubeletPort uint16 `json:"kubeletPort,omitempty"`
	// HeadersOnly cuts every packet behind its last known header: no payload
	// leaves the node.
	HeadersOnly bool `json:"headersOnly,omitempty"`
	// Filter says which packets are captured. Nil: all.
	Filter *FilterSpec `json:"filter,omitempty"`
	// Interfaces are the names of those to capture on, of pods and nodes. None: those
	// that carry the target's packets.
	Interfaces []string `json:"interfaces,omitempty"`
}

// A Vantage is a place where a pod's packets can be seen.
type Vantage string

// The vantages.
const (
	VantagePod  Vantage = "pod"  // the pod's own interfaces, in its netns
	VantageNode Vantage = "node" // the other ends of those, on the node
)

// From reports whether the packets of pods are captured from v.
func (p *PacketsSpec) From(v Vantage) bool {
	return slices.Contains(p.Vantages, v) || len(p.Vantages) == 0 && v == VantagePod
}

// Target is one thing to capture on a node: a pod, or the node itself.
type Target struct {
	// ID is chosen by the command, unique in the Spec, and comes back in
	// Interface.Target and Gone.Target.
	ID uint32 `json:"id"`
	// Name is used in messages only: "pod shop/web-1" or "node n1".
	Name string `json:"name"`
	// PodUID is the UID that the pod's cgroup is named after: metadata.uid, or
	// for a static pod the kubernetes.io/config.hash annotation. Empty for a node.
	PodUID string `json:"podUID,omitempty"`
	// Node asks for the node's own interfaces instead of a pod's.
	Node bool `json:"node,omitempty"`
	// Addrs are the pod's addresses, for what the node does with its packets. Only
	// metrics need them.
	Addrs []netip.Addr `json:"addrs,omitempty"`
}

// Validate reports the first thing that makes s unusable.
func (s *Spec) Validate() error {
	switch {
	case s.Version != Version:
		return fmt.Errorf("spec version %d, this collector speaks %d", s.Version, Version)
	case !validRunID(s.RunID):
		return fmt.Errorf("run ID %q is not 1 to 32 lower-case letters and digits", s.RunID)
	case s.MaxSeconds <= 0:
		return fmt.Errorf("maximum run time %d s is not positive", s.MaxSeconds)
	case s.Doctor != nil:
		if s.Packets != nil || s.Store != nil || s.Metrics != nil || s.Files != nil {
			return errors.New("spec asks for an examination and for something else")
		}
		return s.Doctor.validate()
	case s.Files != nil:
		if s.Packets != nil || s.Store != nil || s.Metrics != nil {
			return errors.New("spec asks for files and for something else")
		}
		return s.Files.Dir.validate()
	case s.Metrics != nil:
		if s.Packets != nil || s.Store != nil {
			return errors.New("spec asks for metrics and for packets")
		}
		return s.Metrics.validate()
	case s.Packets == nil:
		return errors.New("spec asks for nothing")
	}
	if s.Store != nil {
		if err := s.Store.validate(); err != nil {
			return err
		}
	}
	return s.Packets.validate()
}

func (p *PacketsSpec) validate() error {
	switch {
	case p.SnapLen < MinSnapLen || p.SnapLen > MaxSnapLen:
		return fmt.Errorf("snaplen %d is outside %d..%d", p.SnapLen, MinSnapLen, MaxSnapLen)
	case p.RingBytes < MinRingBytes || p.RingBytes > MaxRingBytes || p.RingBytes&(p.RingBytes-1) != 0:
		return fmt.Errorf("ring of %d bytes is not a power of two in %d..%d", p.RingBytes, MinRingBytes, MaxRingBytes)
	case len(p.Targets) == 0 && !p.Follow:
		return errors.New("0 targets, want at least one")
	case p.Hook != "" && p.Hook != "tcx" && p.Hook != "socket":
		return fmt.Errorf("unknown hook %q", p.Hook)
	case len(p.Interfaces) > MaxInterfaceNames:
		return fmt.Errorf("%d names of interfaces, want at most %d", len(p.Interfaces), MaxInterfaceNames)
	}
	if p.Filter != nil {
		if err := p.Filter.validate(); err != nil {
			return err
		}
	}
	for _, v := range p.Vantages {
		if v != VantagePod && v != VantageNode {
			return fmt.Errorf("unknown vantage %q", v)
		}
	}
	return validateTargets(p.Targets)
}

func validateTargets(targets []Target) error {
	if len(targets) > MaxTargets {
		return fmt.Errorf("%d targets, want at most %d", len(targets), MaxTargets)
	}
	seen := make(map[uint32]bool, len(targets))
	for _, t := range targets {
		switch {
		case seen[t.ID]:
			return fmt.Errorf("target ID %d is used twice", t.ID)
		case t.Node == (t.PodUID != ""):
			return fmt.Errorf("target %q must be a pod or a node", t.Name)
		}
		seen[t.ID] = true
	}
	return nil
}

func validRunID(id string) bool {
	if len(id) == 0 || len(id) > 32 {
		return false
	}
	for _, r := range id {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') {
			return false
		}
	}
	return true
}
