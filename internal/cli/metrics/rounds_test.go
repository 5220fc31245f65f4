package metrics

import (
	"testing"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
)

// TestRoundsAreEven has two nodes whose samples do not come in turn.
func TestRoundsAreEven(t *testing.T) {
	now := time.Unix(1000, 0)
	samples := map[string]uint64{}
	report := func(metrics.By) *metrics.Report {
		return &metrics.Report{Nodes: []metrics.Node{{Name: "n1", Samples: samples["n1"]}, {Name: "n2", Samples: samples["n2"]}}}
	}
	r := newRounds(report, time.Second, func() time.Time { return now })
	sample := func(node string, after time.Duration) {
		now = now.Add(after)
		samples[node]++
		r.sampled(node, 2)
	}
	want := func(n1, n2 uint64) {
		t.Helper()
		got := r.Report(metrics.ByPod)
		if got.Nodes[0].Samples != n1 || got.Nodes[1].Samples != n2 {
			t.Errorf("report has %d and %d samples, want %d and %d", got.Nodes[0].Samples, got.Nodes[1].Samples, n1, n2)
		}
	}
	want(0, 0)
	sample("n1", 0)
	want(0, 0)
	sample("n2", 900*time.Millisecond)
	want(1, 1)
	sample("n2", 100*time.Millisecond)
	sample("n1", 0)
	want(2, 2)
	// n2 is gone: the other is not kept waiting for ever.
	sample("n1", time.Second)
	want(2, 2)
	sample("n1", time.Second)
	want(4, 2)
}
