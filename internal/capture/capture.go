// Package capture merges the packets of many collectors, while they run, into
// one capture file in the order of time.
//
// It takes readers and values and knows neither Kubernetes nor eBPF.
package capture

import (
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// A FrameReader reads one collector's stream, as a wire.Reader does: the payload
// is in buf or in a new slice, and io.EOF comes only after an End frame that
// agrees with what arrived.
type FrameReader interface {
	ReadFrame(buf []byte) (wire.Kind, []byte, error)
}

// An Interface is one interface that a collector captures on, as the file's
// reader will see it.
type Interface struct {
	pcapng.Interface
	// Target is wire.Interface.Target; it is handed through to the Result.
	Target uint32
	// Ifname is the interface's name on its node, and HostSide wire.Interface.HostSide;
	// they are handed through, too.
	Ifname   string
	HostSide bool
	// JoinedNS is when the interface became part of a running capture, in ns since
	// 1970 by the node's clock; 0: it was there from the beginning.
	JoinedNS int64
}

// Joined is what becomes part of a running capture.
type Joined struct {
	Interfaces []Interface   // in the order of their wire.Interface.ID
	Names      []pcapng.Name // written to the file before their packets
}

// A Source is one collector's stream from its first packet on.
type Source struct {
	Node string
	// Interfaces are the collector's, by wire.Interface.ID.
	Interfaces []Interface
	// Names are written to the file when the source is added to a merge that runs.
	Names []pcapng.Name
	// ClockOffsetNS is added to the node's timestamps, so that all sources'
	// times are of one clock.
	ClockOffsetNS int64
	// Frames is read by one goroutine until it returns an error. Frames of
	// kinds that are not about packets are ignored.
	Frames FrameReader
	// Attached, if set, is told of the collector's wire.Attached frames, by the
	// goroutine that reads, and describes what has been attached, all of it. If it
	// is not set these frames are ignored.
	Attached func(wire.Attached) Joined
}

// Defaults of Options.
const (
	DefaultWindowBytes = 64 << 20
	DefaultWindowTime  = 5 * time.Second
)

// Options say how to merge.
type Options struct {
	// Section is the file's own header.
	Section pcapng.Section
	// Names are written to the file after its interfaces.
	Names []pcapng.Name
	// WindowBytes and WindowTime bound how much, and how long, packets wait for
	// those of a node that is behind; 0 means the default. Packets that come
	// after their turn are written all the same and counted in Result.Late.
	WindowBytes int64
	WindowTime  time.Duration
	// MaxPackets ends the file after that many packets, the first in the order
	// of the file. 0: no limit.
	MaxPackets uint64
	// MaxBytes ends the file before it, header and statistics included, grows
	// beyond that. 0: no limit.
	MaxBytes int64
	// Stop, if set, is called at most once, from the goroutine of Run, when a
	// limit is reached or the output fails: the collectors should be told to
	// end. It must return soon.
	Stop func()
	// Ended, if set, is called from the goroutine of Run when a source, given by
	// its index, has ended: in order if err is nil. It must return soon.
	Ended func(source int, err error)

	// When the capture was, in ns since 1970; 0: it is now.
	startNS, endNS int64
}

func (o Options) withDefaults() Options {
	if o.WindowBytes <= 0 {
		o.WindowBytes = DefaultWindowBytes
	}
	if o.WindowTime <= 0 {
		o.WindowTime = DefaultWindowTime
	}
	if o.Stop == nil {
		o.Stop = func() {}
	}
	if o.Ended == nil {
		o.Ended = func(int, error) {}
	}
	return o
}

// Totals are a running capture's counts.
type Totals struct {
	Packets   uint64 // in the file
	Bytes     uint64 // captured bytes of those packets
	FileBytes int64  // length of the file
	Seen      uint64 // packets that the collectors have seen
	Lost      uint64 // packets that are lost
}
