package wire

import (
	"fmt"
	"slices"
)

// Kinds that an examining collector sends.
const (
	KindExamined Kind = 32 // Examined
	KindFiller   Kind = 33 // random bytes, to see how fast the stream is
)

// Limits of a DoctorSpec and of what answers it.
const (
	MaxTried    = 32
	MaxPrograms = 256
	MaxStreamMS = 10_000
	// FillerBytes is the payload of one KindFiller frame.
	FillerBytes = 256 << 10
)

// DoctorSpec asks a collector to examine its node. It answers with an Examined,
// waits for go, sends KindFiller frames for StreamMS, and ends.
type DoctorSpec struct {
	// Plugins are the names of those to try, at most MaxTried; "packets" is one.
	Plugins []string `json:"plugins"`
	// StreamMS is how long to fill the stream, at most MaxStreamMS. 0: not at all,
	// and go is not waited for.
	StreamMS int64 `json:"streamMS,omitempty"`
}

func (d *DoctorSpec) validate() error {
	switch {
	case len(d.Plugins) > MaxTried:
		return fmt.Errorf("%d plugins to try, at most %d", len(d.Plugins), MaxTried)
	case slices.Contains(d.Plugins, ""):
		return fmt.Errorf("a plugin without a name")
	case d.StreamMS < 0 || d.StreamMS > MaxStreamMS:
		return fmt.Errorf("stream of %d ms is outside 0..%d", d.StreamMS, MaxStreamMS)
	}
	return nil
}

// Examined is what a collector has found on its node. Its texts are one line
// each, and as untrusted as the node.
type Examined struct {
	// BootID is the kernel's: nodes with the same share one. Empty: unknown.
	BootID string `json:"bootID,omitempty"`
	// BTF and TCX say why the node has not the types of its kernel, or no TCX to
	// attach to; empty: it has.
	BTF string `json:"btf,omitempty"`
	TCX string `json:"tcx,omitempty"`
	// Lockdown is the kernel's lockdown mode, "integrity" or "confidentiality";
	// empty: none.
	Lockdown string `json:"lockdown,omitempty"`
	// Unsynchronised is set when nothing keeps the node's clock right.
	Unsynchronised bool `json:"unsynchronised,omitempty"`
	// Tried are the plugins of the spec, in its order.
	Tried []TriedPlugin `json:"tried,omitempty"`
	// Programs are the kernel's BPF programs that are named as ours, of collectors
	// that run and of others, oldest first, at most MaxPrograms.
	Programs []ProgramSeen `json:"programs,omitempty"`
	// ProgramsUnknown is why Programs are not known; empty: they are.
	ProgramsUnknown string `json:"programsUnknown,omitempty"`
}

// TriedPlugin is how loading, attaching and sampling one plugin went, in a
// network namespace made for that.
type TriedPlugin struct {
	Plugin string `json:"plugin"`
	Hook   string `json:"hook,omitempty"`  // as in Interface.Hook, of packets
	Cause  string `json:"cause,omitempty"` // why it failed; empty: it worked
	Hint   string `json:"hint,omitempty"`
	// Lacks are the parts that this node cannot give, a line each.
	Lacks []string `json:"lacks,omitempty"`
	// Micros is how long all of it took.
	Micros int64 `json:"micros"`
}

// ProgramSeen is one BPF program in the kernel.
type ProgramSeen struct {
	ID         uint32 `json:"id"`
	Name       string `json:"name"`
	AgeSeconds int64  `json:"ageSeconds"` // since it was loaded; -1: unknown
	// Held is set when a process that the node sees has it open.
	Held bool `json:"held,omitempty"`
}
