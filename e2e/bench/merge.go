//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/capture"
	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

const (
	mergeStreams = 4
	mergePackets = 500_000 // in each
)

// A mix is a choice of packet sizes.
type mix struct {
	name string
	size func(i int) uint32 // of packet number i, in bytes
}

func mixes() []mix {
	return []mix{
		{"128 bytes", func(int) uint32 { return 128 }},
		{"64 to 1514 bytes (IMIX)", imix},
	}
}

// imix is the simple Internet mix: of twelve packets seven are small, four of
// middle size, and one fills the MTU.
func imix(i int) uint32 {
	switch i % 12 {
	case 0, 2, 4, 6, 8, 10, 11:
		return 64
	case 1, 3, 5, 7:
		return 590
	}
	return 1514
}

func (b *bench) measureMerge(ctx context.Context) (rows []row, err error) {
	for _, m := range mixes() {
		more, err := b.mergeMix(ctx, m)
		if err != nil {
			return rows, err
		}
		rows = append(rows, more...)
	}
	return rows, nil
}

// mergeMix merges the same packets with the command's merger and with mergecap.
func (b *bench) mergeMix(ctx context.Context, m mix) (_ []row, err error) {
	what := fmt.Sprintf("%d x %d packets of %s", mergeStreams, mergePackets, m.name)
	dir := filepath.Join(b.dir, "merge")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b.say("merge: writing %s", what)
	out := filepath.Join(dir, "merged.pcapng")
	ours := &merger{name: "ours", argv: []string{mergeCommand, out}, ordered: true}
	theirs := &merger{name: "mergecap", argv: []string{"mergecap", "-w", out}}
	for node := range mergeStreams {
		name := filepath.Join(dir, strconv.Itoa(node))
		if err := errors.Join(ctx.Err(), writeStreams(node, m.size, name+".pcapng", name+".frames")); err != nil {
			return nil, err
		}
		ours.argv, theirs.argv = append(ours.argv, name+".frames"), append(theirs.argv, name+".pcapng")
	}
	if ours.argv, err = self(ours.argv...); err != nil {
		return nil, err
	}
	ways := []*merger{ours, theirs}
	for round := range b.runs {
		for i := range ways {
			m := ways[(round+i)%len(ways)]
			if err := m.run(ctx, out); err != nil {
				return nil, fmt.Errorf("%s: %w", m.name, err)
			}
			b.say("merge %d of %d: %s after %.2f s, CPU %.2f s", round+1, b.runs, m.name, m.took[round], m.cpu[round])
		}
	}
	return []row{
		{
			What: what + "; times faster", Unit: "s", Ours: ours.took, Against: theirs.took, Whose: "mergecap",
			Ratio: over(theirs.took, ours.took), Target: ratioAtLeast(3),
		},
		{
			What: "CPU of that; times less", Unit: "s", Ours: ours.cpu, Against: theirs.cpu, Whose: "mergecap",
			Ratio: over(theirs.cpu, ours.cpu),
		},
	}, nil
}

// A merger is a way to merge.
type merger struct {
	name    string
	argv    []string
	ordered bool // the result must be in strict order of time

	took, cpu sample // seconds, a value a round
}

// run merges once and looks at the result.
func (m *merger) run(ctx context.Context, out string) error {
	defer os.Remove(out)
	cmd := command(ctx, m.argv[0], m.argv[1:]...)
	start := time.Now()
	if _, err := outputOf(cmd); err != nil {
		return err
	}
	m.took = append(m.took, time.Since(start).Seconds())
	m.cpu = append(m.cpu, cpuTime(cmd).Seconds())
	about, err := output(ctx, "capinfos", "-M", "-c", "-o", out)
	if err != nil {
		return err
	}
	if want := mergeStreams * mergePackets; !regexp.MustCompile(fmt.Sprintf(`(?m)^Number of packets: +%d$`, want)).MatchString(about) {
		return fmt.Errorf("capinfos does not find %d packets: %s", want, about)
	}
	if m.ordered && !regexp.MustCompile(`(?m)^Strict time order: +True$`).MatchString(about) {
		return fmt.Errorf("capinfos finds packets in disorder: %s", about)
	}
	return nil
}

// runMerge is a program of its own, as mergecap is: it merges streams of frames
// with the command's own merger.
func runMerge(ctx context.Context, path string, streams []string) (err error) {
	var sources []capture.Source
	for _, stream := range streams {
		f, err := os.Open(stream)
		if err != nil {
			return err
		}
		defer f.Close()
		sources = append(sources, capture.Source{
			Node: filepath.Base(stream), Frames: wire.NewReader(bufio.NewReader(f)),
			Interfaces: []capture.Interface{{Interface: pcapng.Interface{LinkType: wire.LinkTypeEthernet}}},
		})
	}
	out, err := capture.OpenOutput(ctx, path, nil, capture.Pcapng)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	// From files a stream can get ahead of the others without end, when the thread
	// that reads them has to wait; no packet shall come late because of that.
	result, err := capture.NewMerger(sources, out, capture.Options{WindowBytes: 1 << 30}).Run(ctx)
	if err == nil && (!result.Complete || result.Late > 0) {
		err = fmt.Errorf("merged %d packets, %d late, complete: %t", result.Packets, result.Late, result.Complete)
	}
	return err
}
