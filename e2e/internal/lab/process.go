//go:build linux

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Process names a process so that a later one with the same pid is not taken
// for it.
type Process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks from boot to its start: proc_pid_stat(5), field 22
	Boot  string `json:"boot"`  // boot_id of the kernel that runs it
}

// Inspect returns the Process that has pid now.
func Inspect(pid int) (Process, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Process{}, fmt.Errorf("process %d: %w", pid, err)
	}
	_, start, err := parseStat(string(stat))
	if err != nil {
		return Process{}, fmt.Errorf("process %d: %w", pid, err)
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return Process{}, err
	}
	return Process{PID: pid, Start: start, Boot: strings.TrimSpace(string(boot))}, nil
}

// parseStat reads the state and the start time of a process from the text of
// /proc/PID/stat. Its second field, the name, may hold blanks and parentheses.
func parseStat(stat string) (state string, start uint64, err error) {
	end := strings.LastIndexByte(stat, ')')
	fields := strings.Fields(stat[end+1:])
	if end < 0 || len(fields) < 20 {
		return "", 0, errors.New("malformed stat")
	}
	start, err = strconv.ParseUint(fields[19], 10, 64)
	return fields[0], start, err
}

// Alive reports whether p still runs.
func (p Process) Alive() bool {
	now, err := Inspect(p.PID)
	if err != nil || now != p {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID))
	if err != nil {
		return false
	}
	state, _, err := parseStat(string(stat))
	return err == nil && state != "Z" && state != "X"
}

// Kill sends signal to p and waits until p has ended or ctx is done. It never
// signals another process that got the pid of p, and is content if p is gone.
func (p Process) Kill(ctx context.Context, signal unix.Signal) error {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("process %d: pidfd_open: %w", p.PID, err)
	}
	defer unix.Close(fd)
	if !p.Alive() {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, signal, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("process %d: %s: %w", p.PID, unix.SignalName(signal), err)
	}
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(poll, 50)
		if n > 0 {
			return nil
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("process %d: poll: %w", p.PID, err)
		}
		if ctx.Err() != nil {
			return fmt.Errorf("process %d does not end after %s: %w", p.PID, unix.SignalName(signal), ctx.Err())
		}
	}
}

// processes returns all processes for which match holds, given their
// directory in /proc.
func processes(match func(dir string) bool) ([]Process, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	var found []Process
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		p, err := Inspect(pid)
		// Looked up first and matched second: a process that changed in
		// between is no longer Alive and so is never signalled.
		if err == nil && match(dir) && p.Alive() {
			found = append(found, p)
		}
	}
	return found, nil
}

// machineVariable is in the environment of everything that is part of a
// cluster except the containers; its value is the state directory.
const machineVariable = "KUBECTL_RETINA_E2E_MACHINE"

// Marker returns the environment entry that marks the processes of the cluster
// with these settings.
func (s Settings) Marker() string { return machineVariable + "=" + s.State }

// Processes returns every process that carries the marker, also of a cluster
// whose record is lost. Containers are not among them: they die with their node.
func (s Settings) Processes() ([]Process, error) {
	marker := []byte(s.Marker())
	return processes(func(dir string) bool {
		environment, err := os.ReadFile(filepath.Join(dir, "environ"))
		if err != nil {
			return false
		}
		for entry := range bytes.SplitSeq(environment, []byte{0}) {
			if bytes.Equal(entry, marker) {
				return true
			}
		}
		return false
	})
}

// programs returns the processes on machine m that run the program called name.
func (m Machine) programs(name string) ([]Process, error) {
	namespace, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", m.Init.PID))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.Name, err)
	}
	return processes(func(dir string) bool {
		if own, err := os.Readlink(filepath.Join(dir, "ns/pid")); err != nil || own != namespace {
			return false
		}
		line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		program, _, _ := bytes.Cut(line, []byte{0})
		return err == nil && filepath.Base(string(program)) == name
	})
}

// waitUntil polls condition until it holds, fails or ctx is done.
func waitUntil(ctx context.Context, condition func() (bool, error)) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok, err := condition(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
