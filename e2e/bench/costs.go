//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/hostns"
)

const (
	// costTime is how long each measurement of used CPU time takes: two samples of
	// the collector.
	costTime  = 2 * time.Second
	costTimes = 3
)

// byHand is what one does without us.
const byHand = "tcpdump -w /dev/null"

// tcpdumps is a tcpdump at each end of the pair.
type tcpdumps []*tcpdump

func beginTcpdumps(ctx context.Context, w *pairWorld) (looker, error) {
	var all tcpdumps
	for _, netns := range []*hostns.Netns{w.pair.client, w.pair.server} {
		path := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), netns.FD())
		t, err := startTcpdump(ctx, os.DevNull, "nsenter", "--net="+path, "--")
		if err != nil {
			return nil, errors.Join(err, all.end(ctx, w))
		}
		all = append(all, t)
	}
	return all, nil
}

// end implements looker. A tcpdump that has missed packets is no failure of the
// measurement.
func (all tcpdumps) end(context.Context, *pairWorld) error {
	_, err := all.stop()
	return err
}

// stop ends them and returns how many packets they have kept.
func (all tcpdumps) stop() (kept uint64, err error) {
	for _, t := range all {
		captured, stopErr := t.end()
		kept, err = kept+captured.kept, errors.Join(err, stopErr)
	}
	return kept, err
}

// processes are what all of it runs.
func (all tcpdumps) processes() []int {
	var pids []int
	for _, t := range all {
		pids = append(pids, t.cmd.Process.Pid)
	}
	return pids
}

// measureCosts measures what a collector with all plugins uses on its node.
func (b *bench) measureCosts(ctx context.Context, w *pairWorld, subjects []*subject) ([]row, error) {
	all := subjects[slices.IndexFunc(subjects, func(s *subject) bool { return s.name == allOn })]
	ours, err := b.collectorCosts(ctx, w, all)
	if err != nil {
		return nil, fmt.Errorf("collector's costs: %w", err)
	}
	theirs, missed, err := byHandCosts(ctx, w)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", byHand, err)
	}
	return []row{
		{What: "CPU of a collector with all plugins, no traffic", Unit: "%", Ours: ours.idle},
		{What: "CPU of that collector in a flood of datagrams", Unit: "%", Ours: ours.busy, Against: theirs, Whose: byHand, Ratio: over(ours.busy, theirs)},
		// Ours is no measurement: a collector that misses one fails the bench.
		{What: "packets of that flood missed", Unit: "%", Ours: sample{0}, Against: missed, Whose: byHand},
		{What: "time of BPF programs for each of those datagrams, both ends together", Unit: "ns", Ours: sample{ours.datagramNS}},
		{What: "memory of that collector, with its maps (cgroup's peak)", Unit: "MiB", Ours: sample{ours.charged / mebibyte}},
		{What: "the same without what is shared and the kernel's (RssAnon)", Unit: "MiB", Ours: sample{ours.anonymous / mebibyte}},
	}, nil
}

// byHandCosts returns the share of a CPU that tcpdumps use in a flood, and the
// part of its packets, in %, that they do not keep.
func byHandCosts(ctx context.Context, w *pairWorld) (shares, missed sample, err error) {
	looker, err := beginTcpdumps(ctx, w)
	if err != nil {
		return nil, nil, err
	}
	all, before := looker.(tcpdumps), w.pair.packets
	shares, err = cpuShares(ctx, all.processes(), w.flood)
	kept, stopErr := all.stop()
	packets := float64(w.pair.packets - before)
	return shares, sample{max(0, 1-float64(kept)/packets) * 100}, errors.Join(err, stopErr)
}

// costs are what one collector has used.
type costs struct {
	idle, busy         sample  // % of one CPU
	datagramNS         float64 // ns of its BPF programs for one datagram
	charged, anonymous float64 // bytes
}

func (b *bench) collectorCosts(ctx context.Context, w *pairWorld, all *subject) (c costs, err error) {
	looker, err := all.begin(ctx, w)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, looker.end(ctx, w)) }()
	pids, err := w.collectorProcesses(ctx)
	if err != nil {
		return c, err
	}
	if err := sleep(ctx, pauseTime); err != nil {
		return c, err
	}
	if c.idle, err = cpuShares(ctx, pids, sleep); err != nil {
		return c, err
	}
	if c.busy, err = cpuShares(ctx, pids, w.flood); err != nil {
		return c, err
	}
	b.say("metrics: collector with all plugins: %s %% of a CPU without traffic, %s %% in a flood", number(c.idle.median()), number(c.busy.median()))
	if c.datagramNS, err = b.datagramTime(ctx, w, pids); err != nil {
		return c, err
	}
	for _, pid := range pids {
		anonymous, err := statusValue(pid, "RssAnon")
		if err != nil {
			return c, err
		}
		c.anonymous += anonymous
	}
	// The youngest is in the collector's own container.
	group, err := memoryGroupOf(slices.Max(pids))
	if err != nil {
		return c, err
	}
	c.charged, err = group.peak()
	return c, err
}

// datagramTime returns how many ns the BPF programs of processes take for one
// datagram.
func (b *bench) datagramTime(ctx context.Context, w *pairWorld, pids []int) (float64, error) {
	before := w.pair.packets
	spent, err := programTimes(ctx, pids, func(ctx context.Context) error { return w.flood(ctx, costTime) })
	if err != nil {
		return 0, err
	}
	datagrams := float64(w.pair.packets-before) / 2 // each is a packet at two ends
	var sum float64
	for _, p := range spent {
		took := float64(p.took.Nanoseconds())
		sum += took / datagrams
		b.say("metrics: BPF program %s: %s runs and %s ns for a datagram, %s ns a run", p.name,
			number(float64(p.runs)/datagrams), number(took/datagrams), number(took/float64(p.runs)))
	}
	return sum, nil
}

// flood is traffic that is a packet for each little work.
func (w *pairWorld) flood(ctx context.Context, d time.Duration) error {
	_, err := w.pair.datagrams(d)
	return errors.Join(err, ctx.Err())
}

// cpuShares is how much of one CPU, in %, processes use while something goes on,
// each time anew.
func cpuShares(ctx context.Context, pids []int, while func(context.Context, time.Duration) error) (sample, error) {
	var shares sample
	for range costTimes {
		before, beforeErr := cpuTimeOf(pids)
		start := time.Now()
		err := while(ctx, costTime)
		took := time.Since(start)
		after, afterErr := cpuTimeOf(pids)
		if err := errors.Join(beforeErr, err, afterErr); err != nil {
			return nil, err
		}
		shares = append(shares, (after-before).Seconds()/took.Seconds()*100)
	}
	return shares, nil
}

// cpuTimeOf is what running processes have used so far.
func cpuTimeOf(pids []int) (sum time.Duration, err error) {
	for _, pid := range pids {
		used, err := cpuTimeNow(pid)
		if err != nil {
			return 0, err
		}
		sum += used
	}
	return sum, nil
}

// collectorProcesses are the processes of the collector's pod.
func (w *world) collectorProcesses(ctx context.Context) ([]int, error) {
	uid, err := w.ask(ctx, "", "get", "pods", "-n", w.namespace, "-l", "!"+ownLabel, "-o", "jsonpath={.items[*].metadata.uid}")
	if err != nil {
		return nil, err
	}
	groups, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, path := range groups {
		text, err := os.ReadFile(path)
		if err != nil || uid == "" || !strings.Contains(string(text), uid) {
			continue // another pod's, or it has ended meanwhile
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			return nil, err
		}
		pids = append(pids, pid)
	}
	if len(pids) == 0 {
		return nil, fmt.Errorf("collector pod %q: %w", uid, hostns.ErrNoProcess)
	}
	return pids, nil
}

// memoryGroupOf returns the cgroup that a process's memory is charged to.
func memoryGroupOf(pid int) (memoryGroup, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return memoryGroup{}, err
	}
	g := memoryRoot()
	controllers := ""
	if g.dir != cgroupRoot { // version 1
		controllers = "memory"
	}
	for line := range strings.Lines(string(text)) {
		if parts := strings.SplitN(strings.TrimSpace(line), ":", 3); len(parts) == 3 && parts[1] == controllers {
			g.dir = filepath.Join(g.dir, parts[2])
			return g, nil
		}
	}
	return g, fmt.Errorf("process %d has no cgroup that counts memory", pid)
}
