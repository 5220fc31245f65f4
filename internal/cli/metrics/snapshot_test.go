package metrics

import (
	"testing"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
)

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
		if got := exit.Code((&snapshotOptions{}).code(t.Context(), &test.report, nil)); got != test.want {
			t.Errorf("%s: code %d, want %d", name, got, test.want)
		}
	}
}
