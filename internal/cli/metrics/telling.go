package metrics

import (
	"slices"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
	"github.com/kubectl-retina/kubectl-retina/internal/oneline"
)

// maxWarned is how many warnings are remembered, not to be told again.
const maxWarned = 1000

// warn tells the user, once.
func (o *observer) warn(text string) {
	text = oneline.Text(text)
	o.mu.Lock()
	said := o.warned[text]
	if len(o.warned) >= maxWarned {
		clear(o.warned) // some may be told again: better than to keep all for ever
	}
	o.warned[text] = true
	o.mu.Unlock()
	if !said {
		o.narrator.Warn(text)
	}
}

// skip notes a target that is not measured.
func (o *observer) skip(s metrics.Skipped) {
	s.Target, s.Reason = oneline.Text(s.Target), oneline.Text(s.Reason)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.skipped = slices.DeleteFunc(o.skipped, func(other metrics.Skipped) bool { return other.Target == s.Target })
	o.skipped = append(o.skipped, s)
	o.fold.SetSkipped(o.skipped)
}

// unskip forgets that a target was not measured: now it is.
func (o *observer) unskip(name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	before := len(o.skipped)
	o.skipped = slices.DeleteFunc(o.skipped, func(s metrics.Skipped) bool { return s.Target == oneline.Text(name) })
	if len(o.skipped) < before {
		o.fold.SetSkipped(o.skipped)
	}
}
