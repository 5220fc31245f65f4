//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"time"

	"github.com/kubectl-retina/kubectl-retina/e2e/kernels/plan"
	"github.com/kubectl-retina/kubectl-retina/e2e/kernels/verdict"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

const (
	probeLimit = 2 * time.Minute
	// probeTime is how long a plugin counts.
	probeTime = 500 * time.Millisecond
	packets   = "packets"
)

// probe runs the collector for one plugin, with the machine as its target, as the
// command would: until it is ready, go, and stop.
func (m *machine) probe(p plan.Probe) {
	answer := &verdict.Probe{Plugin: p.Plugin, Forced: p.Hook}
	before, err := objects()
	if err == nil {
		err = converse(p, answer)
	}
	if err != nil {
		answer.Error = err.Error()
	}
	answer.Left = left(before)
	m.send(verdict.Message{Probe: answer})
}

func spec(p plan.Probe) wire.Spec {
	s := wire.Spec{Version: wire.Version, RunID: "kernels", MaxSeconds: 120}
	targets := []wire.Target{{ID: 1, Name: "node kernel-test", Node: true}}
	if p.Plugin == packets {
		s.Packets = &wire.PacketsSpec{SnapLen: wire.MaxSnapLen, RingBytes: wire.MinRingBytes, Targets: targets, Hook: p.Hook}
		return s
	}
	s.Metrics = &wire.MetricsSpec{
		Plugins: []string{p.Plugin}, IntervalMS: 200, Targets: targets, TableEntries: 1024, EventsPerSecond: 10, Hook: p.Hook,
		APIServers: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:6443")},
	}
	return s
}

func converse(p plan.Probe, answer *verdict.Probe) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), probeLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, plan.Collector, "run")
	cmd.Stderr = os.Stdout
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() {
		if e := errors.Join(stdin.Close(), cmd.Wait()); e != nil && answer.Refused == (verdict.Reason{}) {
			err = errors.Join(err, e)
		}
	}()
	c := conversation{write: wire.NewWriter(stdin), read: wire.NewReader(bufio.NewReader(stdout)), answer: answer}
	return c.whole(spec(p))
}

type conversation struct {
	write  *wire.Writer
	read   *wire.Reader
	answer *verdict.Probe
}

func (c *conversation) whole(s wire.Spec) error {
	if err := c.write.WriteJSON(wire.KindSpec, s); err != nil {
		return err
	}
	ready, err := c.until(wire.KindReady)
	if err != nil || ready == nil {
		return err
	}
	if err := c.ready(ready); err != nil {
		return err
	}
	if err := c.write.WriteFrame(wire.KindGo, nil); err != nil {
		return err
	}
	time.Sleep(probeTime)
	if err := c.write.WriteFrame(wire.KindStop, nil); err != nil {
		return err
	}
	_, err = c.until(wire.KindEnd)
	return err
}

// until reads frames until one of this kind and returns its payload: nil when the
// collector has failed, which is an answer too.
func (c *conversation) until(kind wire.Kind) ([]byte, error) {
	for {
		got, payload, err := c.read.ReadFrame(nil)
		switch {
		case errors.Is(err, io.EOF):
			return nil, fmt.Errorf("no frame of kind %d", kind)
		case err != nil:
			return nil, err
		case got == kind:
			return payload, nil
		case got == wire.KindFailure:
			var f wire.Failure
			if err := json.Unmarshal(payload, &f); err != nil {
				return nil, err
			}
			c.answer.Refused = verdict.Reason{Cause: f.Cause, Hint: f.Hint}
			return nil, nil
		}
	}
}

// ready notes what the collector can do here.
func (c *conversation) ready(payload []byte) error {
	var ready wire.Ready
	if err := json.Unmarshal(payload, &ready); err != nil {
		return err
	}
	for _, i := range ready.Interfaces {
		c.answer.Hook = i.Hook
	}
	for _, f := range ready.Failed {
		c.answer.Refused = verdict.Reason{Cause: f.Cause, Hint: f.Hint}
	}
	for _, u := range ready.Unsupported {
		reason := verdict.Reason{Cause: u.Cause, Hint: u.Hint}
		if u.Partial {
			c.answer.Lacks = append(c.answer.Lacks, reason)
		} else {
			c.answer.Refused = reason
		}
	}
	return nil
}
