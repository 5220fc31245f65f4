// Package plan is what a virtual machine is told to do: a file in its initramfs.
package plan

import "time"

// Path is the file, JSON of a Plan.
const Path = "/plan.json"

// Collector is the collector's program in the machine.
const Collector = "/retina-collector"

// Plan is everything that one machine does.
type Plan struct {
	// Mark begins each line for package verdict.
	Mark    string   `json:"mark"`
	Modules []string `json:"modules"` // files, in the order of loading
	Suites  []Suite  `json:"suites"`
	Probes  []Probe  `json:"probes"`
}

// Suite is one program made by go test -c.
type Suite struct {
	Name    string        `json:"name"`
	Program string        `json:"program"`
	Dir     string        `json:"dir"` // where it runs: testdata is there
	Run     string        `json:"run,omitempty"`
	Limit   time.Duration `json:"limit"`
}

// Probe asks the collector for one plugin.
type Probe struct {
	Plugin string `json:"plugin"`
	// Hook forces the way of attaching, as in wire.PacketsSpec.
	Hook string `json:"hook,omitempty"`
}
