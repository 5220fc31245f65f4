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

// BornAfter returns which of the namespaces, given by inode number, have only
// processes that began after the moment, and at least one. procfs is "/proc". A
// moment is exact to 10 ms; what began within them counts as older.
func BornAfter(procfs string, moment time.Duration, inos []uint64) (map[uint64]bool, error) {
	wanted := make(map[string]uint64, len(inos))
	for _, ino := range inos {
		wanted[fmt.Sprintf("net:[%d]", ino)] = ino
	}
	entries, err := os.ReadDir(procfs)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	oldest := make(map[uint64]time.Duration, len(inos))
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
		born[ino] = began > moment
	}
	return born, nil
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
