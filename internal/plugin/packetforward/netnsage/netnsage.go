//go:build linux

// Package netnsage tells network namespaces that were made after a moment from
// older ones. The kernel does not say when a namespace was made, and gives the
// numbers of ended ones to new ones; but a pod's is as old as the oldest process
// in it, which for a pod is its sandbox.
package netnsage

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// tick is the unit of times in /proc/PID/stat. USER_HZ is 100 on everything that
// runs Go.
const tick = 10 * time.Millisecond

// Now is the present moment as [BornAfter] wants it: time since boot, suspension
// included.
func Now() (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0, fmt.Errorf("read clock since boot: %w", err)
	}
	return time.Duration(ts.Nano()), nil
}

// BornAfter returns which of the namespaces, given by inode number with a moment for
// each, have only processes that began after their moment, and at least one. procfs is
// "/proc". A moment is exact to 10 ms; what began within them counts as older.
func BornAfter(procfs string, moments map[uint64]time.Duration) (map[uint64]bool, error) {
	wanted := make(map[string]uint64, len(moments))
	for ino := range moments {
		wanted[fmt.Sprintf("net:[%d]", ino)] = ino
	}
	entries, err := os.ReadDir(procfs)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	oldest := make(map[uint64]time.Duration, len(moments))
	for _, entry := range entries {
		if _, err := strconv.Atoi(entry.Name()); err != nil {
			continue
		}
		dir := filepath.Join(procfs, entry.Name())
		name, err := os.Readlink(filepath.Join(dir, "ns/net"))
		if err != nil {
			continue // it has ended
		}
		ino, ok := wanted[name]
		if !ok {
			continue
		}
		began, ok := startTime(dir)
		if first, known := oldest[ino]; ok && (!known || began < first) {
			oldest[ino] = began
		}
	}
	born := make(map[uint64]bool, len(oldest))
	for ino, began := range oldest {
		born[ino] = began > moments[ino]
	}
	return born, nil
}

// A Memory remembers since when namespaces are counted, so that what is counted from
// its beginning is not counted so twice. The kernel uses inode numbers again, the
// lowest ones first, so there are never many.
type Memory struct {
	procfs  string
	began   time.Duration            // before that, nothing counts
	counted map[uint64]time.Duration // since boot, by inode
}

// Remember returns a Memory of nothing. What is there already is no new namespace.
func Remember(procfs string) (*Memory, error) {
	now, err := Now()
	return &Memory{procfs: procfs, began: now, counted: make(map[uint64]time.Duration)}, err
}

// New returns which of the namespaces began after the Memory and were not in any
// earlier call: a number that was belongs to a new one only if all of its processes
// began after that call.
func (m *Memory) New(inos []uint64) (map[uint64]bool, error) {
	now, err := Now()
	if err != nil {
		return nil, err
	}
	moments := make(map[uint64]time.Duration, len(inos))
	for _, ino := range inos {
		moments[ino] = max(m.began, m.counted[ino])
		m.counted[ino] = now
	}
	return BornAfter(m.procfs, moments)
}

func startTime(processDir string) (time.Duration, bool) {
	stat, err := os.ReadFile(filepath.Join(processDir, "stat"))
	if err != nil {
		return 0, false
	}
	return parseStat(stat)
}

// parseStat returns when a process began, of its /proc/PID/stat: field 22. The
// second, its name, may hold anything, parentheses and spaces too (proc(5)).
func parseStat(stat []byte) (time.Duration, bool) {
	end := bytes.LastIndexByte(stat, ')')
	if end < 0 {
		return 0, false
	}
	fields := bytes.Fields(stat[end+1:]) // from the third on
	if len(fields) < 20 {
		return 0, false
	}
	ticks, err := strconv.ParseInt(string(fields[19]), 10, 64)
	if err != nil || ticks < 0 || ticks > int64(1<<63-1)/int64(tick) {
		return 0, false
	}
	return time.Duration(ticks) * tick, true
}
