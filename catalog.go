// Package retina holds the catalogue of the plugins, plugins.yaml, which lies in
// the root of the module where people find it.
package retina

import (
	_ "embed" // plugins.yaml
	"fmt"

	"sigs.k8s.io/yaml"
)

//go:embed plugins.yaml
var catalogueYAML []byte

// Catalogue is everything that plugins.yaml says, in its order.
type Catalogue struct {
	Contexts []Context         `json:"contexts"`
	Labels   map[string]string `json:"labels"` // what each label of any metric means
	Plugins  []Plugin          `json:"plugins"`
	// Endpoint are the metrics about metrics serve itself.
	Endpoint []Metric `json:"endpoint"`
}

// Context is what a metric's series stand for, with the labels that say so.
type Context struct {
	Name    string   `json:"name"`
	Summary string   `json:"summary"`
	Labels  []string `json:"labels"`
}

// Names of the contexts.
const (
	ContextNode     = "node"
	ContextPod      = "pod"
	ContextRemote   = "remote"
	ContextEndpoint = "endpoint"
)

// Plugin is one data source of a collector.
type Plugin struct {
	Name string `json:"name"`
	// Command is what uses it: "metrics" or "capture".
	Command     string `json:"command"`
	Summary     string `json:"summary"` // one line
	Description string `json:"description"`
	Kernel      string `json:"kernel"` // the first Linux that it runs on, as in "5.8"
	// Needs is what else it needs on the node.
	Needs   []string `json:"needs"`
	Hooks   []Hook   `json:"hooks"`
	Blind   []string `json:"blind"` // what it cannot see
	Metrics []Metric `json:"metrics"`
}

// Hook is a place in the kernel where a plugin gets its data.
type Hook struct {
	Kind   string `json:"kind"`   // "tcx", "tp_btf", "procfs" ...
	At     string `json:"at"`     // the tracepoint, function, file or address
	Kernel string `json:"kernel"` // the first Linux that has it
	// Fallback is what happens without it; "none": the plugin does not run.
	Fallback string `json:"fallback"`
}

// Types of a metric, as Prometheus names them.
const (
	Counter   = "counter"
	Gauge     = "gauge"
	Histogram = "histogram"
)

// Metric is one metric of the Prometheus endpoint.
type Metric struct {
	Name string `json:"name"`
	// Retina is Retina's name of it, or "". When it is another one, the endpoint
	// serves the same values under it too, untyped.
	Retina string `json:"retina,omitempty"`
	Type   string `json:"type"`
	// Unit is what is counted, or the unit of a histogram's buckets.
	Unit    string `json:"unit"`
	Context string `json:"context"`
	// Remote is the plugin that the metric comes from in the remote context, or ""
	// when it has none.
	Remote string `json:"remote,omitempty"`
	// Labels are its own, besides those of its context.
	Labels []string `json:"labels"`
	// Report are the paths in a report's JSON that have its values.
	Report []string `json:"report,omitempty"`
	// Group is the group of the report's stats that has them, or "".
	Group string `json:"group,omitempty"`
	// Expect are the names by which metrics snapshot --expect and --sort-by know its
	// values.
	Expect []string `json:"expect,omitempty"`
	Help   string   `json:"help"`
}

// Catalog reads the catalogue that the program was built with. Its caller owns
// what it returns.
func Catalog() (*Catalogue, error) { return parse(catalogueYAML) }

// parse reads a catalogue and refuses keys that it does not know.
func parse(text []byte) (*Catalogue, error) {
	c := new(Catalogue)
	if err := yaml.UnmarshalStrict(text, c); err != nil {
		return nil, fmt.Errorf("read plugins.yaml: %w", err)
	}
	return c, nil
}

// Plugin returns the plugin with a name, or nil.
func (c *Catalogue) Plugin(name string) *Plugin {
	for i := range c.Plugins {
		if c.Plugins[i].Name == name {
			return &c.Plugins[i]
		}
	}
	return nil
}

// Metrics returns the metrics of all plugins and of the endpoint.
func (c *Catalogue) Metrics() []Metric {
	var all []Metric
	for i := range c.Plugins {
		all = append(all, c.Plugins[i].Metrics...)
	}
	return append(all, c.Endpoint...)
}

// Context returns the context with a name, or nil.
func (c *Catalogue) Context(name string) *Context {
	for i := range c.Contexts {
		if c.Contexts[i].Name == name {
			return &c.Contexts[i]
		}
	}
	return nil
}

// LabelsOf returns the labels that series of m have in one context or another,
// its own among them, and "le" for the buckets of a histogram.
func (c *Catalogue) LabelsOf(m *Metric) []string {
	labels := append([]string{}, m.Labels...)
	contexts := []string{m.Context}
	if m.Remote != "" {
		contexts = append(contexts, ContextRemote)
	}
	for _, name := range contexts {
		if context := c.Context(name); context != nil {
			labels = append(labels, context.Labels...)
		}
	}
	if m.Type == Histogram {
		labels = append(labels, "le")
	}
	return labels
}

// Series returns the names of the series that m is served as.
func (m *Metric) Series() []string {
	if m.Type == Histogram {
		return []string{m.Name + "_bucket", m.Name + "_sum", m.Name + "_count"}
	}
	if m.Retina != "" && m.Retina != m.Name {
		return []string{m.Name, m.Retina}
	}
	return []string{m.Name}
}
