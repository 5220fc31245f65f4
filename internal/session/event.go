package session

import "time"

// A Phase is a step of starting a collector.
type Phase string

// The phases of a Start, in order. Pulling is left out when the image is on
// the node, and when the user may not watch events.
const (
	PhaseCreating   Phase = "creating"   // asking the API server for the pod
	PhasePulling    Phase = "pulling"    // the kubelet pulls the image
	PhaseStarting   Phase = "starting"   // the kubelet starts the container
	PhaseConnecting Phase = "connecting" // opening the exec stream
	PhaseAttaching  Phase = "attaching"  // the collector has said hello
	PhaseReady      Phase = "ready"      // every program is attached
)

// An Event is one step of one Start.
type Event struct {
	Node    string
	Phase   Phase
	Elapsed time.Duration // since Start was called
}
