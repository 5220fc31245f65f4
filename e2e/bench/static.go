//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

func (b *bench) measureStatic(ctx context.Context) ([]row, error) {
	rows, err := imageRows(b.path("dist/retina-collector.tar"))
	if err != nil {
		return nil, err
	}
	memory, err := b.memoryRows(ctx)
	if err != nil {
		return rows, fmt.Errorf("collector's memory: %w", err)
	}
	rows = append(rows, memory...)
	version, err := b.versionRow(ctx)
	if err != nil {
		return rows, err
	}
	return append(rows, version), nil
}

// versionRow is how long the command takes to start.
func (b *bench) versionRow(ctx context.Context) (row, error) {
	r := row{What: "kubectl-retina version, 20 times", Unit: "ms", Target: atMost(60, "ms")}
	for range 20 {
		start := time.Now()
		if _, err := output(ctx, b.path("bin/kubectl-retina"), "version"); err != nil {
			return r, err
		}
		r.Ours = append(r.Ours, float64(time.Since(start).Microseconds())/1000)
	}
	b.say("static: version in %.0f ms", r.Ours.median())
	return r, nil
}

const mebibyte = 1 << 20

// memoryRows are what a collector holds at most while it captures a flood, its
// ring buffer included. It writes to a pipe, as it does in its container: the
// cache of a file would be counted as its own.
func (b *bench) memoryRows(ctx context.Context) ([]row, error) {
	charged := row{
		What: fmt.Sprintf("collector's memory in a flood, with its %d MiB ring (cgroup's peak)", ringBytes/mebibyte), Unit: "MiB", Target: atMost(96, "MiB"),
	}
	resident := row{What: "the same without the ring (RssAnon)", Unit: "MiB"}
	for round := range b.runs {
		peak, anonymous, err := b.collectorMemory(ctx)
		if err != nil {
			return nil, err
		}
		b.say("static %d of %d: collector's memory: %.1f MiB, RssAnon %.1f MiB", round+1, b.runs, peak/mebibyte, anonymous/mebibyte)
		charged.Ours = append(charged.Ours, peak/mebibyte)
		resident.Ours = append(resident.Ours, anonymous/mebibyte)
	}
	return []row{charged, resident}, nil
}

// collectorMemory returns in bytes what the kernel charged to the collector's
// cgroup at most, and its anonymous memory at the end of the flood.
func (b *bench) collectorMemory(ctx context.Context) (peak, anonymous float64, err error) {
	group, err := newMemoryGroup()
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, group.remove()) }()
	p, err := newPod(ctx)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	in, out, err := os.Pipe()
	if err != nil {
		return 0, 0, err
	}
	// The shell enters the group, so that everything the collector has is in it.
	cmd := command(ctx, "sh", "-c", `echo $$ >"$0/cgroup.procs" && exec "$1" run`, group.dir, b.path("bin/retina-collector"))
	c, err := newCollector(cmd, out, in, in.Close)
	out.Close()
	if err != nil {
		return 0, 0, err
	}
	if err := c.begin(p.uid); err != nil {
		return 0, 0, err
	}
	ended := make(chan error, 1)
	go func() {
		_, err := c.end()
		ended <- err
	}()
	_, _, floodErr := p.flood(ctx, floodTime)
	anonymous, statusErr := statusValue(cmd.Process.Pid, "RssAnon")
	err = errors.Join(floodErr, statusErr, c.say.WriteFrame(wire.KindStop, nil), <-ended)
	<-c.exited
	peak, peakErr := group.peak()
	return peak, anonymous, errors.Join(err, c.err, peakErr, c.close())
}

// statusValue reads a size in bytes from /proc/PID/status (proc_pid_status(5)).
func statusValue(pid int, name string) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			kilobytes, err := strconv.ParseFloat(strings.Fields(value)[0], 64)
			return kilobytes * 1024, err
		}
	}
	return 0, errors.Join(fmt.Errorf("process %d has no %s", pid, name), err)
}

// A memoryGroup is a cgroup that counts memory (cgroups(7)).
type memoryGroup struct{ dir, peakFile string }

const cgroupRoot = "/sys/fs/cgroup"

// memoryRoot is the outermost one.
func memoryRoot() memoryGroup {
	if dir := filepath.Join(cgroupRoot, "memory"); exists(dir) { // version 1
		return memoryGroup{dir: dir, peakFile: "memory.max_usage_in_bytes"}
	}
	return memoryGroup{dir: cgroupRoot, peakFile: "memory.peak"}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func newMemoryGroup() (memoryGroup, error) {
	g := memoryRoot()
	g.dir = filepath.Join(g.dir, fmt.Sprintf("retina-bench-%d", os.Getpid()))
	return g, os.Mkdir(g.dir, 0o755)
}

// peak is the most that was charged to the group, in bytes.
func (g memoryGroup) peak() (float64, error) {
	text, err := os.ReadFile(filepath.Join(g.dir, g.peakFile))
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
}

func (g memoryGroup) remove() error { return os.Remove(g.dir) }
