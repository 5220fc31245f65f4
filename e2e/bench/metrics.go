//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	retina "github.com/kubectl-retina/kubectl-retina"
)

const (
	// slotTime is how long each kind of traffic goes at once, and slots how often in
	// one measurement.
	slotTime = 20 * time.Millisecond
	slots    = 12
	// pauseTime is how long the pair waits after something has begun or ended.
	pauseTime = 300 * time.Millisecond
	// leastKept is the part of a pair's speed that is left with all plugins on.
	leastKept = 0.95
)

// speeds are what a pair did in one measurement. Each is the median of the slots.
type speeds struct {
	stream    float64 // Gbit/s
	datagrams float64 // thousands a second
	trips     float64 // thousands a second
	median    float64 // µs of a round trip
	p99       float64 // µs of a round trip, of all slots
}

// measure lets the kinds of traffic take turns.
func (p *pair) measure(ctx context.Context) (speeds, error) {
	var streams, datagrams, trips, micros sample
	for range slots {
		stream, streamErr := p.stream(slotTime)
		datagram, datagramErr := p.datagrams(slotTime)
		trip, each, tripErr := p.trips(slotTime)
		if err := errors.Join(streamErr, datagramErr, tripErr, ctx.Err()); err != nil {
			return speeds{}, err
		}
		streams, datagrams, trips = append(streams, stream*8/1e9), append(datagrams, datagram/1e3), append(trips, trip/1e3)
		micros = append(micros, each...)
	}
	return speeds{
		stream: streams.median(), datagrams: datagrams.median(), trips: trips.median(), median: micros.median(), p99: micros.percentile(99),
	}, nil
}

// between is what the pair would have done between two measurements.
func between(a, b speeds) speeds {
	return speeds{
		stream: (a.stream + b.stream) / 2, datagrams: (a.datagrams + b.datagrams) / 2, trips: (a.trips + b.trips) / 2,
		median: (a.median + b.median) / 2, p99: (a.p99 + b.p99) / 2,
	}
}

// A subject is something that looks at the pair's packets.
type subject struct {
	name  string
	begin func(context.Context, *pairWorld) (looker, error)
	// with is what the pair did meanwhile, without what it did before and after, both
	// round by round.
	with, without []speeds
}

// A looker is a subject that has begun.
type looker interface {
	// end ends it. The error says also when it has not seen all packets of the pair.
	end(context.Context, *pairWorld) error
}

// allOn is the name of the subject that is all plugins at once.
const allOn = "all plugins"

// subjects are each plugin alone, all of them, and what one would do by hand.
func (b *bench) subjects() ([]*subject, error) {
	catalogue, err := retina.Catalog()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, plugin := range catalogue.Plugins {
		if plugin.Command == "metrics" {
			names = append(names, plugin.Name)
		}
	}
	snapshot := func(name string, plugins ...string) *subject {
		return &subject{name: name, begin: func(ctx context.Context, w *pairWorld) (looker, error) {
			return b.beginSnapshot(ctx, w, plugins)
		}}
	}
	var all []*subject
	for _, name := range names {
		all = append(all, snapshot(name, name))
	}
	return append(all, snapshot(allOn, names...), &subject{name: byHand, begin: beginTcpdumps}), nil
}

// measureMetrics measures what metrics cost those who are measured, and the node.
func (b *bench) measureMetrics(ctx context.Context) (rows []row, err error) {
	subjects, err := b.subjects()
	if err != nil {
		return nil, err
	}
	w, err := b.openPairWorld(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.close(ctx)) }()
	for round := range b.runs {
		if err := b.round(ctx, w, subjects, round); err != nil {
			return nil, err
		}
	}
	rows = speedRows(subjects)
	costs, err := b.measureCosts(ctx, w, subjects)
	return append(rows, costs...), err
}

// round measures the pair with each subject, and without any before and after.
// The order is another one in each round.
func (b *bench) round(ctx context.Context, w *pairWorld, subjects []*subject, round int) error {
	ordered := slices.Concat(subjects[round%len(subjects):], subjects[:round%len(subjects)])
	if round%2 == 1 {
		slices.Reverse(ordered)
	}
	before, err := w.pair.measure(ctx)
	for _, s := range ordered {
		if err != nil {
			return err
		}
		with, subjectErr := s.measure(ctx, w)
		if subjectErr != nil {
			return fmt.Errorf("%s: %w", s.name, subjectErr)
		}
		var after speeds
		if after, err = w.pair.measure(ctx); err == nil {
			without := between(before, after)
			s.with, s.without, before = append(s.with, with), append(s.without, without), after
			b.say("metrics %d of %d: %s: stream %.2f of %.2f Gbit/s, datagrams %.0f of %.0f k/s, round trips %.1f of %.1f k/s", round+1, b.runs, s.name,
				with.stream, without.stream, with.datagrams, without.datagrams, with.trips, without.trips)
		}
	}
	return err
}

// measure is one measurement of the pair with s. When it returns, nothing of s is
// left.
func (s *subject) measure(ctx context.Context, w *pairWorld) (speeds, error) {
	looker, err := s.begin(ctx, w)
	if err != nil {
		return speeds{}, err
	}
	err = sleep(ctx, pauseTime)
	var with speeds
	if err == nil {
		with, err = w.pair.measure(ctx)
	}
	return with, errors.Join(err, looker.end(ctx, w), w.alone(ctx), sleep(ctx, pauseTime))
}

// column is one of the speeds, round by round.
func column(all []speeds, of func(speeds) float64) sample {
	out := make(sample, len(all))
	for i, s := range all {
		out[i] = of(s)
	}
	return out
}

// speedRows has a row for each kind of traffic and each subject, and how long a
// round trip takes.
func speedRows(subjects []*subject) []row {
	kinds := []struct {
		what, unit string
		of         func(speeds) float64
	}{
		{"TCP stream", "Gbit/s", func(s speeds) float64 { return s.stream }},
		{fmt.Sprintf("%d-byte datagrams", messageLen), "k/s", func(s speeds) float64 { return s.datagrams }},
		{"round trips", "k/s", func(s speeds) float64 { return s.trips }},
		{"median round trip", "µs", func(s speeds) float64 { return s.median }},
		{"99 % of round trips within", "µs", func(s speeds) float64 { return s.p99 }},
	}
	var rows []row
	for _, kind := range kinds {
		for _, s := range subjects {
			r := row{
				What: kind.what + ", " + s.name, Unit: kind.unit, Ours: column(s.with, kind.of), Against: column(s.without, kind.of), Whose: "without",
			}
			r.Ratio = over(r.Ours, r.Against)
			speed := strings.HasSuffix(kind.unit, "/s")
			if speed && s.name == allOn {
				r.Target = ratioAtLeast(leastKept)
			}
			if speed || s.name == allOn {
				rows = append(rows, r)
			}
		}
	}
	return rows
}
