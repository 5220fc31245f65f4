//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

const (
	floodTime = 3 * time.Second
	// settleTime is what a capture gets after the flood to take what is left.
	settleTime = 500 * time.Millisecond
)

// A capturer captures the packets of a pod into a file.
type capturer interface {
	// stop ends the capture in order and says what came of it. The counts have
	// been compared with what the file holds.
	stop(ctx context.Context) (captured, error)
}

// captured is what came of one capture.
type captured struct {
	seen, kept uint64        // packets
	cpu        time.Duration // of the capturing process, from the moment that it captured
}

// A way is a way to capture a flood.
type way struct {
	name  string
	begin func(ctx context.Context, p *pod, file string) (capturer, error)
	floods
}

// floods are what one way did, a value a round.
type floods struct {
	rate sample // packets a second that were sent
	lost sample // of the packets seen, in %
	cpu  sample // seconds for a million packets kept
}

func (b *bench) measureFlood(ctx context.Context) (rows []row, err error) {
	p, err := newPod(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	none, ours, theirs := &way{name: "no capture"}, &way{name: "retina-collector", begin: b.beginCollector}, &way{name: "tcpdump -w", begin: beginTcpdump}
	ways := []*way{none, ours, theirs}
	for round := range b.runs {
		for i := range ways {
			w := ways[(round+i)%len(ways)]
			if err := b.flood(ctx, p, w); err != nil {
				return nil, fmt.Errorf("%s: %w", w.name, err)
			}
			b.say("flood %d of %d: %s: sent %.2f M/s, lost %s%%, %s CPU s per million", round+1, b.runs, w.name,
				w.rate[round]/1e6, last(w.lost), last(w.cpu))
		}
	}
	return floodRows(none.floods, ours.floods, theirs.floods), nil
}

func last(s sample) string {
	if len(s) == 0 {
		return "-"
	}
	return number(s[len(s)-1])
}

func floodRows(none, ours, theirs floods) []row {
	keptRate := func(f floods) sample { return over(f.rate, none.rate) }
	million := func(s sample) sample { return each(func(a, _ float64) float64 { return a / 1e6 }, s, s) }
	return []row{
		{What: fmt.Sprintf("%d-byte frames sent, no capture", frameLen), Unit: "M/s", Ours: million(none.rate)},
		{
			What: "sender's rate, of that with no capture", Unit: "x", Ours: keptRate(ours), Against: keptRate(theirs), Whose: "tcpdump -w",
			Ratio: over(ours.rate, theirs.rate), Target: ratioAtLeast(1),
		},
		{
			What: "packets lost, of those seen", Unit: "%", Ours: ours.lost, Against: theirs.lost, Whose: "tcpdump -w",
			Target: &target{Of: "ours", Bound: "<=", Value: theirs.lost.median(), Unit: "%", Text: "tcpdump"},
		},
		{
			What: "CPU of the capturing process, per million kept", Unit: "s", Ours: ours.cpu, Against: theirs.cpu, Whose: "tcpdump -w",
			Ratio: over(ours.cpu, theirs.cpu), Target: ratioAtMost(1.5),
		},
	}
}

// flood is one flood under one way of capturing.
func (b *bench) flood(ctx context.Context, p *pod, w *way) error {
	var c capturer
	file := filepath.Join(b.dir, "flood")
	if w.begin != nil {
		var err error
		if c, err = w.begin(ctx, p, file); err != nil {
			return err
		}
		defer os.Remove(file)
	}
	sent, took, err := p.flood(ctx, floodTime)
	err = errors.Join(err, sleep(ctx, settleTime))
	if c != nil {
		result, stopErr := c.stop(ctx)
		if err := errors.Join(err, stopErr); err != nil {
			return err
		}
		if result.seen < sent || result.kept == 0 {
			return fmt.Errorf("sent %d packets, %d were seen and %d kept", sent, result.seen, result.kept)
		}
		w.lost = append(w.lost, float64(result.seen-result.kept)/float64(result.seen)*100)
		w.cpu = append(w.cpu, result.cpu.Seconds()/float64(result.kept)*1e6)
	}
	w.rate = append(w.rate, float64(sent)/took.Seconds())
	return err
}
