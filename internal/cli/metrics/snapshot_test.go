package metrics

import (
	"bytes"
	"fmt"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// A plugin that was asked for by name and works nowhere has measured nothing.
func TestSnapshotCodeOfPlugins(t *testing.T) {
	unsupported := []wire.PluginError{{Plugin: metrics.PluginDrops, Cause: "no drop reasons"}}
	partly := []wire.PluginError{{Plugin: metrics.PluginDrops, Cause: "no hooks", Partial: true}}
	for _, test := range []struct {
		name  string
		named []string
		nodes [][]wire.PluginError
		want  int
	}{
		{"works", []string{metrics.PluginDrops}, [][]wire.PluginError{nil}, exit.Done},
		{"works nowhere", []string{metrics.PluginDNS, metrics.PluginDrops}, [][]wire.PluginError{unsupported, unsupported}, exit.Partial},
		{"works nowhere, and was not asked for", nil, [][]wire.PluginError{unsupported}, exit.Done},
		{"works somewhere", []string{metrics.PluginDrops}, [][]wire.PluginError{unsupported, nil}, exit.Done},
		{"works in part", []string{metrics.PluginDrops}, [][]wire.PluginError{partly}, exit.Done},
	} {
		report := metrics.Report{Plugins: []string{metrics.PluginDNS, metrics.PluginDrops}}
		for i, u := range test.nodes {
			report.Nodes = append(report.Nodes, metrics.Node{Name: fmt.Sprint("n", i), Samples: 1, Unsupported: u})
		}
		o := &snapshotOptions{options: &options{named: test.named}}
		if got := exit.Code(o.code(t.Context(), &report, nil)); got != test.want {
			t.Errorf("%s: code %d, want %d", test.name, got, test.want)
		}
	}
}

// Numbers that are not whole are told from those that are.
func TestSnapshotCode(t *testing.T) {
	party := &metrics.Party{Kind: metrics.KindPod, Namespace: "shop", Name: "web-1"}
	for name, test := range map[string]struct {
		report metrics.Report
		want   int
	}{
		"whole":                 {metrics.Report{Nodes: []metrics.Node{{Name: "n1"}}}, exit.Done},
		"left out on purpose":   {metrics.Report{Skipped: []metrics.Skipped{{Target: "pod shop/web-1", Reason: "is pending"}}}, exit.Done},
		"could not be measured": {metrics.Report{Skipped: []metrics.Skipped{{Target: "pod shop/web-1", Reason: "no netns", Party: party}}}, exit.Partial},
		"lost":                  {metrics.Report{Lost: []metrics.Lost{{Node: "n1", Count: 1}}}, exit.Partial},
		"a node failed":         {metrics.Report{Nodes: []metrics.Node{{Name: "n1", Error: "evicted"}}}, exit.Partial},
	} {
		if got := exit.Code((&snapshotOptions{options: &options{}}).code(t.Context(), &test.report, nil)); got != test.want {
			t.Errorf("%s: code %d, want %d", name, got, test.want)
		}
	}
}

// Nothing has changed is an empty list, which a script can go through.
func TestNoChangesAreAnEmptyList(t *testing.T) {
	report := &metrics.Report{By: metrics.ByPod}
	for _, format := range []string{"json", "yaml"} {
		var out bytes.Buffer
		o := &snapshotOptions{options: &options{streams: genericiooptions.IOStreams{Out: &out}}, before: report, format: format}
		if err := o.printChanges(report); err != nil || out.String() != "[]\n" {
			t.Errorf("%s: %q, %v", format, out.String(), err)
		}
	}
}
