// Package inventory finds out what captures there are in a cluster, what became
// of each of them on each node, and which of our objects nobody needs any more.
//
// It knows what the API server knows: leases, collector pods, and the last word
// that a collector has left in its container's status. A [Live] adds what
// collectors that run say of themselves. What comes from a node is untrusted: its
// texts print on one line, and its numbers decide nothing.
package inventory

import (
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/session"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// The schema of what -o json and -o yaml print. Fields are only added; a change
// of a meaning changes the version.
const (
	APIVersion = "retina.sh/v1alpha1"
	Kind       = "Capture"
	ListKind   = "CaptureList"
)

// A State is what a capture does, as a whole or on one node.
type State string

// The states. Of a capture it is that of the node that has furthest to go.
const (
	Starting  State = "Starting"  // the collector does not capture yet
	Capturing State = "Capturing" // packets are captured
	Running   State = "Running"   // the collector runs; what it does could not be asked
	Uploading State = "Uploading" // the capture has ended, and the archive is made and stored
	Kept      State = "Kept"      // the archive is not in all its destinations: it waits to be downloaded
	Done      State = "Done"      // nothing more happens
	Failed    State = "Failed"    // see the reason
	Ending    State = "Ending"    // it is being deleted
)

// Active reports whether a collector is needed, by a capture that goes on or by
// an archive that is nowhere else.
func (s State) Active() bool {
	switch s {
	case Starting, Capturing, Running, Uploading, Kept:
		return true
	}
	return false
}

// Modes of a capture, values of [AnnotationMode].
const (
	ModeStream   = "stream"   // a command that still runs writes the packets
	ModeStore    = "store"    // nodes store archives, watched by a command
	ModeDetached = "detached" // nodes store archives, and no command is needed
)

// A CaptureList is the captures of a namespace, or of all: by namespace, then by
// name.
type CaptureList struct {
	APIVersion string    `json:"apiVersion"` // APIVersion
	Kind       string    `json:"kind"`       // ListKind
	Items      []Capture `json:"items"`
}

// A Capture is one run of collectors.
type Capture struct {
	APIVersion string `json:"apiVersion"` // APIVersion
	Kind       string `json:"kind"`       // Kind
	Name       string `json:"name"`
	Namespace  string `json:"namespace"` // of its objects
	Run        string `json:"run"`       // value of the label retina.sh/run
	Mode       string `json:"mode"`      // one of the modes
	Status     State  `json:"status"`
	// Reason is why the status is what it is, one line; "" when that says it all.
	Reason string `json:"reason,omitempty"`
	// Targets and Duration are as they were asked for; "" where that is not known.
	Targets  string `json:"targets,omitempty"`
	Duration string `json:"duration,omitempty"`
	// Destinations are the places that archives go to, without secrets.
	Destinations []string `json:"destinations"`
	// Pods is how many pods are captured.
	Pods int `json:"pods"`
	// Counts are those of all nodes that have told theirs; nil: none has.
	Counts *Counts `json:"counts,omitempty"`
	// Bytes is the size of the archives, and of the packet files where there is no
	// archive yet.
	Bytes     int64     `json:"bytes"`
	CreatedAt time.Time `json:"createdAt"`
	// ExpiresAt is when everything of the capture is deleted; nil when a command
	// decides about that, or when it is not known.
	ExpiresAt *time.Time `json:"expiresAt,omitempty"`
	// KeptUntil is when the first archive that waits to be downloaded is gone.
	KeptUntil *time.Time `json:"keptUntil,omitempty"`
	Nodes     []Node     `json:"nodes"` // by name

	lease leaseState
}

// Counts are packets, as in wire.Status.
type Counts struct {
	Packets     uint64 `json:"packets"`
	Bytes       uint64 `json:"bytes"` // captured
	Lost        uint64 `json:"lost"`
	Overwritten uint64 `json:"overwritten,omitempty"`
	Limited     uint64 `json:"limited,omitempty"`
}

// A Node is a capture's part on one node.
type Node struct {
	Name   string `json:"name"`
	Pod    string `json:"pod"` // of the collector
	Status State  `json:"status"`
	Reason string `json:"reason,omitempty"`
	Hint   string `json:"hint,omitempty"` // what to do about the reason
	Pods   int    `json:"pods"`
	// Live says that the collector itself has just told the following; else it is
	// its last word, if it has left one.
	Live      bool       `json:"live,omitempty"`
	Archive   string     `json:"archive,omitempty"` // without .tar.gz
	Counts    *Counts    `json:"counts,omitempty"`
	Bytes     int64      `json:"bytes"` // as in Capture
	StartedAt *time.Time `json:"startedAt,omitempty"`
	EndedAt   *time.Time `json:"endedAt,omitempty"`
	KeptUntil *time.Time `json:"keptUntil,omitempty"`
	Stores    []Store    `json:"stores,omitempty"`
	Warnings  []string   `json:"warnings,omitempty"`

	// Attachable says that the collector stores and can be talked to.
	Attachable bool `json:"-"`
	// Storage is what the pod has mounted, as the API server has it; nil for a
	// collector that streams.
	Storage *session.Storage `json:"-"`
	Image   string           `json:"-"` // of the collector
	UID     string           `json:"-"` // of the pod
}

// A Store is a node's archive at one destination.
type Store struct {
	Where  string `json:"where"` // the destination, without secrets
	Name   string `json:"name"`  // of the archive there
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256,omitempty"`
	Done   bool   `json:"done"`
	Error  string `json:"error,omitempty"`
	Hint   string `json:"hint,omitempty"`
}

// StatusText is the status with its reason.
func (c *Capture) StatusText() string {
	if c.Reason == "" {
		return string(c.Status)
	}
	return string(c.Status) + ": " + c.Reason
}

// Failures counts the nodes that have failed.
func (c *Capture) Failures() int {
	n := 0
	for i := range c.Nodes {
		if c.Nodes[i].Status == Failed {
			n++
		}
	}
	return n
}

// Find returns the capture of this name and namespace; of several, one that has a
// lease. Nil: there is none.
func (l *CaptureList) Find(namespace, name string) *Capture {
	var found *Capture
	for i := range l.Items {
		c := &l.Items[i]
		if c.Name == name && c.Namespace == namespace && (found == nil || c.lease.exists) {
			found = c
		}
	}
	return found
}

// add adds what a node has counted.
func (c *Counts) add(o Counts) {
	c.Packets += o.Packets
	c.Bytes += o.Bytes
	c.Lost += o.Lost
	c.Overwritten += o.Overwritten
	c.Limited += o.Limited
}

func countsOf(s *wire.Status) Counts {
	return Counts{Packets: s.Packets, Bytes: s.Bytes, Lost: s.Lost, Overwritten: s.Overwritten, Limited: s.Limited}
}
