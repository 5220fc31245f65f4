package capture

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/kubectl-retina/kubectl-retina/internal/capture"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/oneline"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// Summary is what -o json and -o yaml print. Its fields are only added to; a
// change of a meaning changes the version.
type Summary struct {
	APIVersion string `json:"apiVersion"` // "retina.sh/v1alpha1"
	Kind       string `json:"kind"`       // "CaptureSummary"
	Name       string `json:"name"`       // of the capture
	// Detached says that the capture goes on: nothing of what follows is final.
	Detached bool `json:"detached,omitempty"`
	// Filter is what packets had to match, of pcap-filter(7) in normal form. Empty:
	// all were captured.
	Filter string `json:"filter,omitempty"`
	// Packets and Bytes are what is in the file; Bytes counts captured bytes.
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
	// Lost are packets that matched and are not in the file although they
	// belong there: a minimum when Complete is false.
	Lost uint64 `json:"lost"`
	// Overwritten are packets of older files of nodes' rings.
	Overwritten uint64 `json:"overwritten,omitempty"`
	// Complete says that every packet that matched is in Packets or in Lost, or
	// came after a limit.
	Complete bool `json:"complete"`
	// Limit is "packets" or "size" when one of these ended the capture, "node" when
	// one did on a node that stores.
	Limit           string        `json:"limit,omitempty"`
	DurationSeconds float64       `json:"durationSeconds"`
	Files           []string      `json:"files"`
	Warnings        []string      `json:"warnings"`
	Nodes           []SummaryNode `json:"nodes"`
	// Archives are what nodes have stored, or could not.
	Archives []SummaryArchive `json:"archives,omitempty"`
}

// SummaryNode is one node's part of a Summary.
type SummaryNode struct {
	Name    string `json:"name"`
	Ready   bool   `json:"ready"` // its collector has captured
	Packets uint64 `json:"packets"`
	Lost    uint64 `json:"lost"` // as in Summary
	Error   string `json:"error,omitempty"`
	// Pods are the pods that were to be captured, those that joined in the order in
	// which they came; Interfaces are the node's own, when the node was.
	Pods       []SummaryPod       `json:"pods"`
	Interfaces []SummaryInterface `json:"interfaces,omitempty"`
}

// SummaryPod is one pod's part of a Summary.
type SummaryPod struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// HostNetwork says that the pod uses the network of its node: it has no
	// interface of its own, those of the node were captured.
	HostNetwork bool `json:"hostNetwork,omitempty"`
	// Joined is when the pod became part of the running capture, and Left when its
	// capture ended before the others', both in RFC 3339. A pod whose sandbox was made
	// anew has left and joined.
	Joined     string             `json:"joined,omitempty"`
	Left       string             `json:"left,omitempty"`
	Error      string             `json:"error,omitempty"`
	Interfaces []SummaryInterface `json:"interfaces"`
}

// SummaryInterface is one interface's part of a Summary.
type SummaryInterface struct {
	Name string `json:"name"`
	// Vantage is "node" for the node's end of a pod's interface.
	Vantage string `json:"vantage,omitempty"`
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
	Lost    uint64 `json:"lost"`
}

// finish tells the result, and turns it into the error that the command ends
// with. outputErr is what was wrong with the output.
func (r *captureRun) finish(ctx context.Context, result *capture.Result, outputErr error, took time.Duration) error {
	r.remark(result)
	r.blameBrief()
	if r.summaryFormat() == "" {
		r.narrator.Info(r.headline(result, errors.Is(outputErr, capture.ErrReaderClosed)))
		for _, line := range r.comings() {
			r.narrator.Info(line)
		}
	}
	err := r.printSummary(r.summary(result, took))
	return r.verdict(ctx, result, errors.Join(outputErr, err))
}

// printSummary prints s as -o wants it.
func (r *captureRun) printSummary(s Summary) error {
	var text []byte
	var err error
	switch r.summaryFormat() {
	case "json":
		text, err = json.MarshalIndent(s, "", "  ")
		text = append(text, '\n')
	case "yaml":
		text, err = yaml.Marshal(s)
	default:
		return nil
	}
	if err == nil {
		_, err = r.streams.Out.Write(text)
	}
	return err
}

// remark warns of what the numbers do not say.
func (r *captureRun) remark(result *capture.Result) {
	for _, n := range r.nodes {
		if n.source == nil {
			continue
		}
		gone := map[uint32]bool{}
		for _, i := range n.source.Interfaces {
			if i.Gone && !gone[i.Target] && !r.following() {
				gone[i.Target] = true
				r.warn(n.plan.target(i.Target) + " ended during the capture: its packets until then are in the file")
			}
		}
		if n.source.Err != nil {
			r.warn(n.source.Err.Error())
		}
	}
	if result.Late > 0 {
		r.warn(fmt.Sprintf("%s packets are in the file after younger ones: a node's stream was behind by more than %s", comma(result.Late), capture.DefaultWindowTime))
	}
	if result.Packets == 0 && result.Lost == 0 && result.Complete {
		r.warn("no packet was seen: is there traffic? the interfaces were watched from ready to end")
	}
}

// headline is the summary in one line. With readerLeft, what was written has
// been enough for who reads it.
func (r *captureRun) headline(result *capture.Result, readerLeft bool) string {
	pods, nodes := 0, 0
	complete, lost := result.Complete || readerLeft, comma(result.Lost)+" lost"
	for _, n := range r.nodes {
		if n.source == nil {
			continue
		}
		nodes++
		pods += n.capturedPods()
		if n.source.Err != nil {
			complete, lost = false, "at least "+comma(result.Lost)+" lost"
		}
	}
	from := plural(nodes, "node")
	if pods > 0 {
		from = plural(pods, "pod") + " on " + from
	}
	text := fmt.Sprintf("%s: %s from %s, %s", r.output.Name(), plural(int(min(result.Packets, math.MaxInt32)), "packet"), from, lost)
	switch result.Limit {
	case capture.PacketLimit:
		text += "; ended by --packet-count"
	case capture.SizeLimit:
		text += "; ended by --max-size"
	}
	if readerLeft {
		text += "; ended by the reader"
	}
	if !complete {
		text += "; incomplete"
	}
	return text
}

// capturedPods counts the pods that were captured on interfaces of their own.
func (n *nodeRun) capturedPods() int {
	failed := map[uint32]bool{}
	for _, f := range n.failed {
		if n.plan.isPod(f.Target) {
			failed[f.Target] = true
		}
	}
	pods := map[string]bool{}
	for id := range n.plan.pods {
		if !failed[uint32(id)] && !n.missed(uint32(id)) {
			pods[n.plan.pods[id].UID] = true
		}
	}
	return len(pods)
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return comma(uint64(n)) + " " + word + "s"
}

// verdict chooses the exit code.
func (r *captureRun) verdict(ctx context.Context, result *capture.Result, outputErr error) error {
	if errors.Is(outputErr, capture.ErrReaderClosed) {
		outputErr = nil // the reader had enough, as head(1) does
	}
	switch {
	case outputErr != nil:
		code := exit.Failed
		if result.Packets > 0 {
			code = exit.Partial
		}
		return exit.With(code, outputErr)
	case ctx.Err() != nil:
		return exit.With(exit.Interrupted, exit.ErrSilent)
	}
	for _, n := range r.nodes {
		if n.err != nil || len(n.failed) > 0 {
			return exit.With(exit.Partial, exit.ErrSilent)
		}
	}
	if r.joining.refuses() {
		return exit.With(exit.Partial, exit.ErrSilent)
	}
	if result.Lost > 0 {
		return exit.With(exit.Partial, hint.Wrap(fmt.Errorf("%s packets were lost", comma(result.Lost)),
			"fewer targets or --packet-size 128 leave less to send"))
	}
	return nil
}

func (r *captureRun) summary(result *capture.Result, took time.Duration) Summary {
	r.warningsMu.Lock()
	defer r.warningsMu.Unlock()
	s := Summary{
		APIVersion: "retina.sh/v1alpha1", Kind: "CaptureSummary", Name: r.uniqueName, Filter: r.config.filterText(),
		Packets: result.Packets, Bytes: result.CapBytes, Lost: result.Lost, Complete: result.Complete,
		Limit: string(result.Limit), DurationSeconds: math.Round(took.Seconds()*1000) / 1000,
		Files: []string{}, Warnings: append([]string{}, r.warnings...), Nodes: []SummaryNode{},
	}
	for _, n := range r.nodes {
		if n.source != nil {
			s.Files = r.output.files()
		}
		if n.follow.added && n.source == nil && n.err == nil && len(n.failed) == 0 {
			continue // the capture ended while its collector was starting
		}
		s.Nodes = append(s.Nodes, n.summary())
		s.Complete = s.Complete && n.err == nil
	}
	s.Nodes = r.joining.addRefused(s.Nodes)
	return s
}

func (n *nodeRun) summary() SummaryNode {
	s := SummaryNode{Name: n.plan.node.Name, Ready: n.source != nil, Pods: []SummaryPod{}}
	if n.err != nil {
		s.Error = oneline.Text(n.err.Error())
	}
	pods := n.summaryPods()
	for id := range pods {
		if !n.missed(uint32(id)) {
			s.Pods = append(s.Pods, pods[id])
		}
	}
	for k, pod := range n.plan.hostNetwork {
		one := SummaryPod{Namespace: pod.Namespace, Name: pod.Name, HostNetwork: true, Interfaces: []SummaryInterface{}}
		if k < len(n.follow.hosts) {
			one.Joined, one.Left = stamp(n.follow.hosts[k].joined), stamp(n.follow.hosts[k].left)
		}
		s.Pods = append(s.Pods, one)
	}
	if n.source == nil {
		return s
	}
	s.Lost = n.source.Lost
	for _, i := range n.source.Interfaces {
		s.Packets += i.Packets
		if !n.plan.isPod(i.Target) {
			s.Interfaces = append(s.Interfaces, summaryInterface(i))
		}
	}
	return s
}

// summaryPods are all pods of the plan, by wire.Target.ID.
func (n *nodeRun) summaryPods() []SummaryPod {
	pods := make([]SummaryPod, len(n.plan.pods))
	for id, pod := range n.plan.pods {
		pods[id] = SummaryPod{Namespace: pod.Namespace, Name: pod.Name, Interfaces: []SummaryInterface{}}
		joined, left := n.stay(uint32(id))
		pods[id].Joined, pods[id].Left = stamp(joined), stamp(left)
	}
	for _, f := range n.failed {
		if n.plan.isPod(f.Target) {
			pods[f.Target].Error = oneline.Text(f.Cause)
		}
	}
	if n.source != nil {
		for _, i := range n.source.Interfaces {
			if n.plan.isPod(i.Target) {
				pods[i.Target].Interfaces = append(pods[i.Target].Interfaces, summaryInterface(i))
			}
		}
	}
	return pods
}

func summaryInterface(i capture.InterfaceResult) SummaryInterface {
	one := SummaryInterface{Name: i.Ifname, Packets: i.Packets, Bytes: i.CapBytes, Lost: i.Lost}
	if i.HostSide {
		one.Vantage = string(wire.VantageNode)
	}
	return one
}
