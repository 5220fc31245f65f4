//go:build linux

package collector

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/collector/examine"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/scope"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// examine answers a DoctorSpec: what was found, and then how fast the stream is.
func (r *run) examine(ctx context.Context, spec *wire.DoctorSpec) error {
	err := r.attended(func() error {
		found, err := examine.Node(spec, tryMeasuring)
		if err != nil {
			return err
		}
		return r.send.json(wire.KindExamined, found)
	})
	if err != nil {
		return err
	}
	if spec.StreamMS == 0 {
		return r.send.end(wire.End{Reason: wire.EndStop})
	}
	reason, err := r.wait(ctx, r.commands.start, nil)
	if err != nil {
		return err
	}
	if reason == "" {
		reason = wire.EndStop
		err = r.attended(func() error { return r.fill(ctx, time.Duration(spec.StreamMS)*time.Millisecond) })
	}
	if err != nil {
		return err
	}
	return r.send.end(wire.End{Reason: reason})
}

// fill sends as much as the stream takes. The bytes are random, so that nothing
// on the way makes them fewer.
func (r *run) fill(ctx context.Context, length time.Duration) error {
	payload := make([]byte, wire.FillerBytes)
	if _, err := rand.Read(payload); err != nil {
		return err
	}
	for began := time.Now(); time.Since(began) < length && ctx.Err() == nil; {
		if err := r.send.frame(wire.KindFiller, payload); err != nil {
			return err
		}
	}
	return nil
}

// tryMeasuring has one plugin measure the thread's network namespace for a moment:
// all of a measurement but for the waiting.
func tryMeasuring(name string) (lacks []string, err error) {
	s, err := scope.New(scope.Options{TableEntries: wire.MinTableEntries, EventsPerSecond: 1})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	plugin, err := openSource(name, s)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, plugin.Close()) }()
	added, failed, err := s.Add([]wire.Target{{Name: "a network namespace made for this", Node: true}})
	if err == nil && len(failed) > 0 {
		err = errors.New(failed[0].Cause)
	}
	if err == nil {
		err = plugin.Attach(added)
	}
	if err == nil {
		err = plugin.Start()
	}
	if err == nil {
		err = s.Run(true)
	}
	if err == nil {
		err = errors.Join(plugin.Sample(&wire.Sample{}), s.Run(false))
	}
	for _, m := range plugin.Missing() {
		lacks = append(lacks, m.Cause)
	}
	return lacks, err
}
