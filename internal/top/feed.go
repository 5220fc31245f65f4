package top

import (
	"slices"
	"sync"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
)

// A frame is what there is to show at one moment. It is never changed.
type frame struct {
	report *metrics.Report
	// delta is the difference to the report before; nil for the first.
	delta *deltas
	// tracks of report's rows, names of its DNS, by key.
	tracks map[string]track
	names  map[string]held
}

// deltas are the differences by key. What has not changed may be missing.
type deltas struct {
	seconds float64
	rows    map[string]*metrics.Row
	flows   map[string]*metrics.Flow
	drops   map[string]*metrics.Drop
	dns     map[string]*metrics.DNS
}

// A feed makes frames of a source's reports. It may be used concurrently.
type feed struct {
	source Source

	mu   sync.Mutex
	last map[metrics.By]*frame
}

func newFeed(source Source) *feed {
	return &feed{source: source, last: map[metrics.By]*frame{}}
}

// next asks the source, and returns nil while that has nothing.
func (f *feed) next(by metrics.By) *frame {
	f.mu.Lock()
	defer f.mu.Unlock()
	report, before := f.source.Report(by), f.last[by]
	if report == nil {
		return before
	}
	now := &frame{report: report}
	switch {
	case before == nil:
		now.follow(nil)
	case !report.Ended.After(before.report.Ended):
		// Nothing was measured in between: no rate can be told, the last one stays.
		now.delta, now.tracks, now.names = before.delta, before.tracks, before.names
	default:
		now.delta = compare(before.report, report)
		now.follow(before)
	}
	f.last[by] = now
	return now
}

// compare returns the differences between two reports.
func compare(before, after *metrics.Report) *deltas {
	diff := metrics.Diff(before, after)
	d := &deltas{
		seconds: after.Ended.Sub(before.Ended).Seconds(),
		rows:    make(map[string]*metrics.Row, len(diff.Rows)),
		flows:   make(map[string]*metrics.Flow, len(diff.Flows)),
		drops:   make(map[string]*metrics.Drop, len(diff.Drops)),
		dns:     make(map[string]*metrics.DNS, len(diff.DNS)),
	}
	for i := range diff.Rows {
		d.rows[rowKey(&diff.Rows[i])] = &diff.Rows[i]
	}
	for i := range diff.Flows {
		d.flows[flowKey(&diff.Flows[i])] = &diff.Flows[i]
	}
	for i := range diff.Drops {
		d.drops[dropKey(&diff.Drops[i])] = &diff.Drops[i]
	}
	for i := range diff.DNS {
		d.dns[dnsKey(&diff.DNS[i])] = &diff.DNS[i]
	}
	return d
}

// follow fills tracks and names: those of before go on, for what is still there.
func (f *frame) follow(before *frame) {
	f.tracks = make(map[string]track, len(f.report.Rows))
	f.names = make(map[string]held, len(f.report.DNS))
	if before == nil {
		return
	}
	for i := range f.report.Rows {
		key := rowKey(&f.report.Rows[i])
		t := before.tracks[key]
		change := f.delta.rows[key]
		if change == nil {
			change = &metrics.Row{}
		}
		t.add(f.perSecond(change.BytesIn+change.BytesOut), f.report.Ended, f.delta.seconds)
		t.p99 = t.p99.renew(&change.RTT, f.report.Ended)
		f.tracks[key] = t
	}
	for i := range f.report.DNS {
		key := dnsKey(&f.report.DNS[i])
		name := before.names[key]
		if change := f.delta.dns[key]; change != nil {
			name = name.renew(&change.Latency, f.report.Ended)
		}
		if !name.at.IsZero() {
			f.names[key] = name
		}
	}
}

// perSecond is the rate of a difference, or NaN when there is none yet.
func (f *frame) perSecond(change uint64) float64 {
	if f.delta == nil || f.delta.seconds <= 0 {
		return unknown()
	}
	return float64(change) / f.delta.seconds
}

// rowChange and the like return the difference of one entry: zero where nothing
// has changed.
func (f *frame) rowChange(key string) *metrics.Row {
	if f.delta != nil && f.delta.rows[key] != nil {
		return f.delta.rows[key]
	}
	return &metrics.Row{}
}

func (f *frame) flowChange(key string) *metrics.Flow {
	if f.delta != nil && f.delta.flows[key] != nil {
		return f.delta.flows[key]
	}
	return &metrics.Flow{}
}

func (f *frame) dropChange(key string) *metrics.Drop {
	if f.delta != nil && f.delta.drops[key] != nil {
		return f.delta.drops[key]
	}
	return &metrics.Drop{}
}

func (f *frame) dnsChange(key string) *metrics.DNS {
	if f.delta != nil && f.delta.dns[key] != nil {
		return f.delta.dns[key]
	}
	return &metrics.DNS{}
}

// measures reports whether one of the plugins was asked for.
func (f *frame) measures(plugins ...string) bool {
	return slices.ContainsFunc(plugins, func(p string) bool { return slices.Contains(f.report.Plugins, p) })
}

// elapsed is the time that the report covers.
func (f *frame) elapsed() time.Duration { return f.report.Ended.Sub(f.report.Began) }
