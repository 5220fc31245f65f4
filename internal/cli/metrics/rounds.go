package metrics

import (
	"sync"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
)

// rounds gives reports that have the same number of new samples of each node, so
// that rates between two of them are even: nodes and the screen have clocks of
// their own. It may be used concurrently.
type rounds struct {
	report   func(metrics.By) *metrics.Report
	interval time.Duration
	now      func() time.Time

	mu      sync.Mutex
	heard   map[string]bool // nodes, in this round
	began   time.Time       // of this round
	wanted  map[metrics.By]bool
	reports map[metrics.By]*metrics.Report // of the last round
}

func newRounds(report func(metrics.By) *metrics.Report, interval time.Duration, now func() time.Time) *rounds {
	return &rounds{
		report: report, interval: interval, now: now,
		heard: map[string]bool{}, wanted: map[metrics.By]bool{}, reports: map[metrics.By]*metrics.Report{},
	}
}

// Report returns the report of the last round; for a grouping that nobody has
// wanted so far, the present state.
func (r *rounds) Report(by metrics.By) *metrics.Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wanted[by] = true
	if r.reports[by] == nil {
		r.reports[by] = r.report(by)
	}
	return r.reports[by]
}

// sampled says that a node's sample is in. The round is over when each of nodes
// has sent one, or when the slowest has had half an interval more than it should
// need.
func (r *rounds) sampled(node string, nodes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if r.began.IsZero() {
		r.began = now
	}
	r.heard[node] = true
	if len(r.heard) < nodes && now.Sub(r.began) < r.interval*3/2 {
		return
	}
	clear(r.heard)
	r.began = now
	for by := range r.wanted {
		r.reports[by] = r.report(by)
	}
}
