//go:build linux

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// programTime is what one BPF program has done.
type programTime struct {
	name string
	runs uint64
	took time.Duration
}

// programTimes is what the BPF programs of processes do while something goes on,
// the most expensive first. What the kernel's clocks take for a run is not in it.
func programTimes(ctx context.Context, pids []int, while func(context.Context) error) (spent []programTime, err error) {
	enabled, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		return nil, fmt.Errorf("statistics of BPF programs: %w", err)
	}
	defer func() { err = errors.Join(err, enabled.Close()) }()
	clocks, err := emptyRun()
	if err != nil {
		return nil, err
	}
	before, err := readProgramTimes(pids)
	if err != nil {
		return nil, err
	}
	if err := while(ctx); err != nil {
		return nil, err
	}
	after, err := readProgramTimes(pids)
	if err != nil {
		return nil, err
	}
	// One program is there once for each interface.
	names := map[string]programTime{}
	for id, now := range after {
		sum, was := names[now.name], before[id]
		names[now.name] = programTime{name: now.name, runs: sum.runs + now.runs - was.runs, took: sum.took + now.took - was.took}
	}
	for _, p := range names {
		if p.runs > 0 {
			p.took = max(0, p.took-time.Duration(float64(p.runs)*clocks))
			spent = append(spent, p)
		}
	}
	slices.SortFunc(spent, func(a, b programTime) int { return cmp.Compare(b.took, a.took) })
	return spent, nil
}

// emptyRun is how many ns a run of a program that does nothing takes, as the
// kernel measures it.
func emptyRun() (ns float64, err error) {
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "empty", Type: ebpf.SchedCLS, License: "MIT", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		return 0, fmt.Errorf("empty BPF program: %w", err)
	}
	defer program.Close()
	if _, err := program.Run(&ebpf.RunOptions{Data: make([]byte, messageLen), Repeat: 100_000}); err != nil {
		return 0, fmt.Errorf("empty BPF program: %w", err)
	}
	stats, err := program.Stats()
	if err != nil {
		return 0, err
	}
	return float64(stats.Runtime.Nanoseconds()) / float64(stats.RunCount), nil
}

// readProgramTimes is what the BPF programs of processes have done so far, by the
// programs' IDs.
func readProgramTimes(pids []int) (map[ebpf.ProgramID]programTime, error) {
	times := map[ebpf.ProgramID]programTime{}
	for _, pid := range pids {
		ids, err := programIDs(pid)
		if err != nil {
			return nil, err
		}
		for _, id := range ids {
			if times[id], err = readProgramTime(id); err != nil {
				return nil, err
			}
		}
	}
	if len(times) == 0 {
		return nil, errors.New("the collector has no BPF programs")
	}
	return times, nil
}

func readProgramTime(id ebpf.ProgramID) (programTime, error) {
	program, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return programTime{}, fmt.Errorf("BPF program %d: %w", id, err)
	}
	defer program.Close()
	info, err := program.Info()
	if err != nil {
		return programTime{}, err
	}
	stats, err := program.Stats()
	if err != nil {
		return programTime{}, err
	}
	return programTime{name: info.Name, runs: stats.RunCount, took: stats.Runtime}, nil
}

// programIDs are those of the programs and links that a process has open
// (proc_pid_fdinfo(5)).
func programIDs(pid int) ([]ebpf.ProgramID, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	if err != nil {
		return nil, err
	}
	var ids []ebpf.ProgramID
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // closed meanwhile
		}
		for line := range strings.Lines(string(text)) {
			if value, ok := strings.CutPrefix(line, "prog_id:"); ok {
				id, err := strconv.ParseUint(strings.TrimSpace(value), 10, 32)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", file, err)
				}
				ids = append(ids, ebpf.ProgramID(id))
			}
		}
	}
	return ids, nil
}
