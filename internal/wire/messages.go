package wire

// Hello is the collector's first frame: who it is.
type Hello struct {
	Version   int    `json:"version"`   // of the contract: [Version]
	Collector string `json:"collector"` // version of the program
	Kernel    string `json:"kernel"`    // uname -sr, as in "Linux 6.18.4"
	Arch      string `json:"arch"`      // GOARCH
	CPUs      int    `json:"cpus"`
	TimeNS    int64  `json:"timeNS"` // the node's wall clock, ns since 1970
}

// Ping is sent by the command: as a heartbeat, and to measure the clocks.
type Ping struct {
	Seq uint64 `json:"seq"`
}

// Pong answers a Ping at once.
type Pong struct {
	Seq    uint64 `json:"seq"`
	TimeNS int64  `json:"timeNS"` // the node's wall clock when it answered
}

// Link types of an Interface, as registered for pcap:
// https://www.tcpdump.org/linktypes.html.
const (
	LinkTypeEthernet uint16 = 1
	LinkTypeRaw      uint16 = 101
)

// Interface is one network interface that a collector has attached to.
type Interface struct {
	// ID counts from 0 within this collector and is the interface ID of its
	// packet blocks.
	ID       uint32 `json:"id"`
	Target   uint32 `json:"target"` // Target.ID
	Name     string `json:"name"`   // ifname within its netns
	Ifindex  int    `json:"ifindex"`
	LinkType uint16 `json:"linkType"`      // LinkTypeEthernet or LinkTypeRaw
	MAC      string `json:"mac,omitempty"` // "02:42:ac:11:00:02"
	MTU      int    `json:"mtu,omitempty"` // bytes
	Hook     string `json:"hook"`          // "tcx" or "socket"; of metrics: empty
	// Uplink is set for an interface of a node whose packets no other of its
	// interfaces has too: the sum over uplinks counts a packet once.
	Uplink bool `json:"uplink,omitempty"`
	// HostSide is set for the node's end of a pod's interface.
	HostSide bool `json:"hostSide,omitempty"`
}

// Ready says that every program is attached and counting, but nothing is sent
// until the command says go.
type Ready struct {
	SnapLen    uint32      `json:"snapLen"`
	Interfaces []Interface `json:"interfaces"` // by ID, without gaps
	// Failed are the targets that could not be attached; the others go on.
	Failed []TargetError `json:"failed,omitempty"`
	// Warnings are for the user, a line each.
	Warnings []string `json:"warnings,omitempty"`
	// Unsupported are plugins of a MetricsSpec that this node cannot run.
	Unsupported []PluginError `json:"unsupported,omitempty"`
}

// TargetError says why one target of a Spec is not captured.
type TargetError struct {
	Target uint32 `json:"target"` // Target.ID
	Cause  string `json:"cause"`  // one line
	Hint   string `json:"hint,omitempty"`
	// HostNetwork is set when the target is a pod on the node's own network.
	HostNetwork bool `json:"hostNetwork,omitempty"`
}

// Gone says that an interface has vanished, because its pod ended, or is not
// captured any more, because the command wanted that. No packet of it follows.
type Gone struct {
	Interface uint32 `json:"interface"` // Interface.ID
	Target    uint32 `json:"target"`
	TimeNS    int64  `json:"timeNS,omitempty"` // when that was noticed, by the node's wall clock
}

// InterfaceStats are the counts of one interface since go. All are cumulative.
// Seen = Captured + Lost when the collector has ended in order; Excluded ones
// are not Seen.
type InterfaceStats struct {
	ID        uint32 `json:"id"`
	Seen      uint64 `json:"seen"`     // packets that the filter let through
	Captured  uint64 `json:"captured"` // packets written to the stream
	Lost      uint64 `json:"lost"`     // packets that found the ring buffer full
	SeenBytes uint64 `json:"seenBytes"`
	// Excluded are packets of the command's own stream, left out on purpose.
	Excluded uint64 `json:"excluded,omitempty"`
}

// Failure ends a collector that cannot go on; nothing but an End may follow.
type Failure struct {
	Cause string `json:"cause"` // one line
	Hint  string `json:"hint,omitempty"`
}

// Reasons of an End. A collector whose command is gone sends none.
const (
	EndStop     = "stop"     // the command asked for it
	EndDeadline = "deadline" // Spec.MaxSeconds
	EndSignal   = "signal"   // SIGTERM: the pod is being deleted
	EndGone     = "gone"     // every interface has vanished
	EndFailure  = "failure"  // see the Failure before it

	// Of a storing collector's capture.
	EndDuration = "duration" // StoreSpec.MaxSeconds
	EndLimit    = "limit"    // StoreSpec.MaxFileBytes or MaxPackets
	EndDiskFull = "disk"     // StoreSpec.StagingBytes, or the node's disk is nearly full
	// Of the stream to a storing collector, which goes on or has no more to do.
	EndDetached = "detached"
	EndReleased = "released"
)

// End is the last frame of a stream. A stream without it was cut.
type End struct {
	Reason     string           `json:"reason"`
	Interfaces []InterfaceStats `json:"interfaces,omitempty"` // by ID
	// Frames and Bytes count everything written before this frame, headers
	// included.
	Frames uint64 `json:"frames"`
	Bytes  uint64 `json:"bytes"`
	// CRC32C is the Castagnoli CRC (RFC 3720, B.4) over those bytes.
	CRC32C uint32 `json:"crc32c"`
}
