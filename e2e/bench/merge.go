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

func (b *bench) measureMerge(ctx context.Context) ([]row, error) {
	b.say("merge: writing %d streams of %d packets", mergeStreams, mergePackets)
	var files, streams []string
	for node := range mergeStreams {
		name := filepath.Join(b.dir, strconv.Itoa(node))
		files, streams = append(files, name+".pcapng"), append(streams, name+".frames")
		defer os.Remove(files[node])
		defer os.Remove(streams[node])
		if err := writeStreams(node, files[node], streams[node]); err != nil {
			return nil, err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	out := filepath.Join(b.dir, "merged.pcapng")
	merge, err := self(append([]string{mergeCommand, out}, streams...)...)
	if err != nil {
		return nil, err
	}
	ways := []*merger{{name: "ours", argv: merge, ordered: true}, {name: "mergecap", argv: append([]string{"mergecap", "-w", out}, files...)}}
	for round := range b.runs {
		for i := range ways {
			m := ways[(round+i)%len(ways)]
			if err := m.run(ctx, out); err != nil {
				return nil, fmt.Errorf("%s: %w", m.name, err)
			}
			b.say("merge %d of %d: %s after %.2f s, CPU %.2f s", round+1, b.runs, m.name, m.took[round], m.cpu[round])
		}
	}
	what := fmt.Sprintf("%d x %d packets", mergeStreams, mergePackets)
	ours, theirs := ways[0], ways[1]
	return []row{
		{
			What: what + ", files to file; how many times faster", Unit: "s", Ours: ours.took, Against: theirs.took, Whose: "mergecap",
			Ratio: over(theirs.took, ours.took), Target: ratioAtLeast(3),
		},
		{
			What: what + ", CPU; how many times less", Unit: "s", Ours: ours.cpu, Against: theirs.cpu, Whose: "mergecap",
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

// size is how long packet number i is, in bytes: the simple Internet mix, where
// of twelve packets seven are small, four of middle size, and one fills the MTU.
func size(i int) uint32 {
	switch i % 12 {
	case 0, 2, 4, 6, 8, 10, 11:
		return 64
	case 1, 3, 5, 7:
		return 590
	}
	return 1514
}

// writeStreams writes the packets of one node twice: as a pcapng file, and as a
// collector's frames. There, among 64 packets, two neighbours are in disorder, as
// those of two CPUs may be.
func writeStreams(node int, file, stream string) (err error) {
	pcap, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pcap.Close()) }()
	frames, err := os.Create(stream)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, frames.Close()) }()
	sorted, toFrames := bufio.NewWriterSize(pcap, 1<<20), bufio.NewWriterSize(frames, 1<<20)
	w := wire.NewWriter(toFrames)
	header := pcapng.Interface{LinkType: wire.LinkTypeEthernet}.Append(pcapng.Section{}.Append(nil))
	if _, err := sorted.Write(header); err != nil {
		return err
	}
	payload := make([]byte, wire.PacketsHeaderLen)
	var block, held []byte
	data := make([]byte, 1514)
	at := int64(1_700_000_000_000_000_000) + int64(node)*97
	for i := range mergePackets {
		at += 1000
		block = pcapng.AppendEPB(block[:0], 0, at, size(i), size(i), 1, data)
		if _, err := sorted.Write(block); err != nil {
			return err
		}
		if i%64 == 62 {
			held = append(held[:0], block...)
			continue
		}
		payload = append(append(payload, block...), held...)
		held = held[:0]
		if len(payload) >= 256<<10 || i == mergePackets-1 {
			wire.PacketsHeader{CompleteNS: at, Seen: uint64(i + 1)}.Put(payload)
			if err := w.WriteFrame(wire.KindPackets, payload); err != nil {
				return err
			}
			payload = payload[:wire.PacketsHeaderLen]
		}
	}
	counts := []wire.InterfaceStats{{Seen: mergePackets, Captured: mergePackets}}
	return errors.Join(w.WriteEnd(wire.End{Reason: wire.EndStop, Interfaces: counts}), sorted.Flush(), toFrames.Flush())
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
			Node: filepath.Base(stream), Frames: wire.NewReader(bufio.NewReaderSize(f, 64<<10)),
			Interfaces: []capture.Interface{{Interface: pcapng.Interface{LinkType: wire.LinkTypeEthernet}}},
		})
	}
	out, err := capture.OpenOutput(path, nil, capture.Pcapng)
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
