//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// describeMachine says where the numbers come from, a line each.
func describeMachine(ctx context.Context, dir string) []string {
	var uts unix.Utsname
	_ = unix.Uname(&uts) // then it is called nothing
	load := loadAverage()
	lines := []string{
		fmt.Sprintf("%s, Linux %s, %d CPUs (%s), load %.1f, files in %s", time.Now().UTC().Format("2006-01-02 15:04 UTC"),
			unix.ByteSliceToString(uts.Release[:]), runtime.NumCPU(), cpuModel(), load, dir),
		"compared with " + firstLine(output(ctx, "tcpdump", "--version")) + ", " + firstLine(output(ctx, "mergecap", "--version")),
	}
	if load > float64(runtime.NumCPU())/2 {
		lines = append(lines, "WARNING: the machine does other work too: these numbers are noisy")
	}
	return lines
}

// loadAverage is that of the last minute.
func loadAverage() float64 {
	text, _ := os.ReadFile("/proc/loadavg") // 0 when there is none
	first, _, _ := strings.Cut(string(text), " ")
	load, _ := strconv.ParseFloat(first, 64)
	return load
}

func cpuModel() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func firstLine(text string, err error) string {
	if err != nil {
		return err.Error()
	}
	line, _, _ := strings.Cut(text, "\n")
	return strings.TrimSuffix(strings.TrimSpace(line), ".")
}
