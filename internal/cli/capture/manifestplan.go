package capture

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/kube"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/narration"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/manifest"
	"github.com/kubectl-retina/kubectl-retina/internal/rights"
	"github.com/kubectl-retina/kubectl-retina/internal/session"
)

// A Plan is what capture create would do, as --dry-run=server prints it.
type Plan struct {
	APIVersion string `json:"apiVersion"` // retina.sh/v1alpha1
	Kind       string `json:"kind"`       // CapturePlan
	// Name is that of the capture. One that nobody chose ends with a suffix which
	// the next run draws anew.
	Name      string `json:"name"`
	Namespace string `json:"namespace"` // of the collectors
	Targets   string `json:"targets"`   // what was looked for
	// Filter is what packets must match. Nil: all are captured.
	Filter *PlanFilter `json:"filter,omitempty"`
	// Interfaces are the names of those that are captured on. None: those that carry
	// the targets' packets.
	Interfaces []string `json:"interfaces,omitempty"`
	// Nodes are those that would have a collector, by name.
	Nodes []PlanNode `json:"nodes"`
	// Ends says when the capture ends, each in words.
	Ends    []string     `json:"ends"`
	Outputs []string     `json:"outputs"`
	Rights  []PlanRight  `json:"rights"`
	Lease   *batchv1.Job `json:"lease"`
	// Problem is why the capture could not run; empty: nothing is known of.
	Problem  string   `json:"problem,omitempty"`
	Warnings []string `json:"warnings"`
}

// A PlanNode is a node that would have a collector. Which interfaces its targets
// have is known when that attaches.
type PlanNode struct {
	Name    string      `json:"name"`
	Targets []string    `json:"targets"` // "pod shop/web-1", "node n1"
	Pod     *corev1.Pod `json:"pod"`     // that would be created
}

// A PlanFilter is a filter as it is put into the kernel.
type PlanFilter struct {
	Text    string `json:"text"`    // of pcap-filter(7), in normal form
	Program string `json:"program"` // for Ethernet, as tcpdump -d lists it
	// Instructions is the length of the program.
	Instructions int `json:"instructions"`
	// Addresses stand now for the objects that it names.
	Addresses []string `json:"addresses,omitempty"`
}

// A PlanRight is what the user must be allowed to do.
type PlanRight struct {
	Right     string `json:"right"`     // "create pods/exec"
	Namespace string `json:"namespace"` // empty: all of them, or of no namespace
	Granted   bool   `json:"granted"`
	// For is what the right is for, if the run goes on without it; else empty.
	For string `json:"for,omitempty"`
}

// rehearse finds out what run would do, prints that, and creates nothing. It is
// an error if the run could not begin.
func (r *captureRun) rehearse(ctx context.Context) error {
	defer r.narrator.Close()
	err := r.aim(ctx)
	if err == nil {
		r.narrator.Status("looking for " + r.config.selection.String())
		r.resolved, err = r.config.selection.Resolve(ctx, r.cluster.Client)
	}
	if err != nil {
		return interrupted(ctx, kube.Explain(err))
	}
	preview, err := session.NewPreview(ctx, r.sessionConfig())
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return interrupted(ctx, nil)
	}
	watching, unwatch := context.WithCancel(ctx)
	defer unwatch()
	if err := r.watchAddresses(watching); err != nil {
		return interrupted(ctx, kube.Explain(err))
	}
	r.plan()
	if n := len(r.nodes); r.maxNodes > 0 && n > r.maxNodes {
		r.warn(fmt.Sprintf("%d nodes are more than --max-nodes %d: a run would ask first", n, r.maxNodes))
	}
	p := r.newPlan(preview)
	p.Rights = append(p.Rights, r.followRights(ctx, p.Rights)...)
	r.narrator.Close()
	if err := p.print(r.streams.Out, r.createOptions.output); err != nil {
		return err
	}
	if preview.Refused != nil {
		return hint.Wrap(exit.With(exit.Failed, preview.Refused), hint.Of(preview.Refused))
	}
	r.narrator.Info("nothing was created")
	return nil
}

func (r *captureRun) newPlan(preview *session.Preview) *Plan {
	p := &Plan{
		APIVersion: manifest.APIVersion, Kind: "CapturePlan", Name: r.uniqueName, Namespace: r.collectors.Namespace,
		Targets: r.resolved.Searched, Nodes: []PlanNode{}, Ends: r.ends(), Outputs: []string{}, Lease: preview.Lease,
		Warnings: append([]string{}, r.warnings...),
	}
	p.Filter, p.Interfaces = r.planFilter(), r.config.interfaces
	for i, n := range r.nodes {
		node := PlanNode{Name: n.plan.node.Name, Targets: []string{}}
		for _, t := range n.plan.packets.Targets {
			node.Targets = append(node.Targets, t.Name)
		}
		node.Pod = preview.Pod(i, node.Name, r.spec(n))
		p.Nodes = append(p.Nodes, node)
	}
	p.Outputs = append(p.Outputs, r.where()...)
	switch {
	case !r.config.stored || r.write != "":
		p.Outputs = append(p.Outputs, r.outputs()...)
	case len(p.Outputs) == 0:
		p.Outputs = append(p.Outputs, "the nodes, for capture download, for "+narration.Duration(r.keep))
	}
	for _, right := range preview.Rights {
		p.Rights = append(p.Rights, PlanRight{Right: right.Text, Namespace: p.Namespace, Granted: !right.Missing})
	}
	p.Rights = append(p.Rights, r.readRights()...)
	if preview.Refused != nil {
		p.Problem = preview.Refused.Error()
	}
	return p
}

// ends says what ends the capture.
func (r *captureRun) ends() []string {
	var all []string
	if r.config.duration > 0 {
		all = append(all, "after "+narration.Duration(r.config.duration))
	}
	switch mb := r.sizeLimitMB(); {
	case mb > 0 && r.fileCount > 0:
		// Files take turns: no end.
	case mb > 0 && r.config.stored:
		all = append(all, fmt.Sprintf("on each node at %d MB", mb))
	case mb > 0:
		all = append(all, fmt.Sprintf("at %d MB", mb))
	}
	if r.packetCount > 0 {
		all = append(all, fmt.Sprintf("after %d packets", r.packetCount))
	}
	if r.config.duration == 0 {
		all = append(all, "when it is stopped, or after "+narration.Duration(maxCapture))
	}
	return all
}

// readRights are those that finding the targets and the secrets took: they are
// there, or this command would have ended.
func (r *captureRun) readRights() []PlanRight {
	var all []PlanRight
	add := func(namespace string, rights ...string) {
		for _, right := range rights {
			if one := (PlanRight{Right: right, Namespace: namespace, Granted: true}); !slices.Contains(all, one) {
				all = append(all, one)
			}
		}
	}
	for _, part := range r.config.selection.Parts() {
		for _, right := range rights.ForTarget(part.Kind, part.Name != "" || len(part.Names) > 0) {
			add(part.Namespace, right.String())
		}
	}
	if r.flags.Changed("blob-upload-secret") || r.flags.Changed("s3-secret") {
		add(r.collectors.Namespace, "get secrets")
	}
	return all
}

// print writes the plan as json, yaml, or for people.
func (p *Plan) print(w io.Writer, format string) error {
	var text []byte
	var err error
	switch format {
	case "json":
		text, err = json.MarshalIndent(p, "", "  ")
		text = append(text, '\n')
	case "yaml":
		text, err = yaml.Marshal(p)
	default:
		text, err = p.text()
	}
	if err == nil {
		_, err = w.Write(text)
	}
	return err
}

// text shows the pod of one node: the others' differ in names and numbers.
func (p *Plan) text() ([]byte, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "capture %s of %s, by collectors in namespace %s\n", p.Name, clean(p.Targets), p.Namespace)
	fmt.Fprintf(&b, "ends: %s\n", strings.Join(p.Ends, ", "))
	if f := p.Filter; f != nil {
		fmt.Fprintf(&b, "filter: %s\n", clean(f.Text))
		if len(f.Addresses) > 0 {
			fmt.Fprintf(&b, "  addresses now: %s\n", strings.Join(f.Addresses, " "))
		}
		fmt.Fprintf(&b, "  program of %d instructions:\n", f.Instructions)
		for line := range strings.Lines(f.Program) {
			b.WriteString("    " + line)
		}
	}
	if len(p.Interfaces) > 0 {
		fmt.Fprintf(&b, "interfaces: %s\n", clean(strings.Join(p.Interfaces, ", ")))
	}
	for _, where := range p.Outputs {
		fmt.Fprintf(&b, "to: %s\n", clean(where))
	}
	fmt.Fprintf(&b, "nodes: %d (which interfaces there are shows when a collector attaches)\n", len(p.Nodes))
	for _, n := range p.Nodes {
		fmt.Fprintf(&b, "  %s: %s\n", n.Name, strings.Join(n.Targets, ", "))
	}
	b.WriteString("rights:\n")
	for _, r := range p.Rights {
		granted, where := "yes", "in namespace "+r.Namespace
		if !r.Granted {
			granted = "NO "
		}
		if r.Namespace == "" {
			where = "in the whole cluster"
		}
		if r.For != "" {
			where += " (not needed; to " + r.For + ")"
		}
		fmt.Fprintf(&b, "  %s  %s %s\n", granted, r.Right, where)
	}
	pod, err := yaml.Marshal(p.Nodes[0].Pod)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(&b, "job: %s/%s, which runs nothing and takes the pods with it\n", p.Lease.Namespace, p.Lease.Name)
	fmt.Fprintf(&b, "pod on each node, here on %s:\n", p.Nodes[0].Name)
	for line := range strings.Lines(string(pod)) {
		b.WriteString("  " + line)
	}
	return []byte(b.String()), nil
}
