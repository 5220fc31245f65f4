// Package doctor judges what was found of a cluster and its nodes: whether
// captures and measurements will work there, and what to do if not.
package doctor

import (
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/oneline"
)

// The schema of what -o json and -o yaml print. Fields are only added; a change
// of a meaning changes the version.
const (
	APIVersion = "retina.sh/v1alpha1"
	Kind       = "DoctorReport"
)

// A Status is the verdict on one thing.
type Status string

// The verdicts, from good to bad.
const (
	OK      Status = "ok"
	Warn    Status = "warn"    // it works, with less
	Unknown Status = "unknown" // it could not be found out
	Fail    Status = "fail"    // something will not work
)

// badness orders verdicts.
func badness(s Status) int {
	switch s {
	case OK:
		return 0
	case Warn:
		return 1
	case Unknown:
		return 2
	}
	return 3
}

// Names of checks. A plugin's is PluginCheck and its name.
const (
	CheckRights    = "rights"         // to run collectors
	CheckTargets   = "rights/targets" // to find targets
	CheckExtras    = "rights/extras"  // to do and tell more
	CheckNamespace = "namespace"      // whether it takes collectors
	CheckLeftovers = "leftovers"      // in the cluster, or in a node's kernel
	CheckNodes     = "nodes"          // which there are
	CheckCollector = "collector"      // pulling the image and starting
	CheckKernel    = "kernel"
	CheckBTF       = "btf"
	CheckTCX       = "tcx"
	CheckClock     = "clock"
	CheckStream    = "stream"
	PluginCheck    = "plugin/"
)

// A Check is one thing that was looked at.
type Check struct {
	Name   string `json:"name"`           // one of the Check constants
	Node   string `json:"node,omitempty"` // "": the cluster
	Status Status `json:"status"`
	Detail string `json:"detail"`         // one line
	Hint   string `json:"hint,omitempty"` // what to do about it, one line
	// Value is what was measured, in Unit: of clock the node's offset from this
	// machine in "s", of stream "MB/s" of 1,000,000 bytes, of collector "s" until
	// it answered, of a plugin "s" that trying took.
	Value *float64 `json:"value,omitempty"`
	Unit  string   `json:"unit,omitempty"`
}

// A Report is all checks: those of the cluster, then the nodes' by name.
type Report struct {
	APIVersion string    `json:"apiVersion"` // APIVersion
	Kind       string    `json:"kind"`       // Kind
	CreatedAt  time.Time `json:"createdAt"`
	// Status is the worst of all checks.
	Status    Status  `json:"status"`
	Namespace string  `json:"namespace"` // where collectors run
	Image     string  `json:"image"`     // of the collectors
	Checks    []Check `json:"checks"`
}

// Add adds checks. Their texts are made to fit on a line.
func (r *Report) Add(checks ...Check) {
	if r.Status == "" {
		r.Status = OK
	}
	for _, c := range checks {
		c.Name, c.Node, c.Detail, c.Hint = oneline.Text(c.Name), oneline.Text(c.Node), oneline.Text(c.Detail), oneline.Text(c.Hint)
		if badness(c.Status) > badness(r.Status) {
			r.Status = c.Status
		}
		r.Checks = append(r.Checks, c)
	}
}

// Count is how many checks have this verdict.
func (r *Report) Count(s Status) int {
	n := 0
	for i := range r.Checks {
		if r.Checks[i].Status == s {
			n++
		}
	}
	return n
}

// measured is a check with a number.
func measured(c Check, value float64, unit string) Check {
	c.Value, c.Unit = &value, unit
	return c
}
