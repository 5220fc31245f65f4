//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// runMachine is PID 1 of the machine described by the file at path, until ctx
// is done or an error keeps it from starting. What it says goes to init.log.
func runMachine(ctx context.Context, path string, log io.Writer) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var spec machineSpec
	if err := json.Unmarshal(data, &spec); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	// The starter connects the network, writes a byte and closes. If it dies
	// before, there is nothing to read and nobody to run for.
	ready := os.NewFile(3, "ready")
	if _, err := io.ReadFull(ready, make([]byte, 1)); err != nil {
		return fmt.Errorf("wait for the network: %w", err)
	}
	if err := ready.Close(); err != nil {
		return err
	}
	if err := spec.setUp(); err != nil {
		return err
	}
	newSupervisor(spec, log).run(ctx)
	return ctx.Err()
}

// setUp makes the machine's namespaces what they should be.
func (spec machineSpec) setUp() error {
	if err := unix.Sethostname([]byte(spec.Name)); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	if err := isolateMounts(); err != nil {
		return err
	}
	for name, value := range spec.Sysctls {
		path := filepath.Join("/proc/sys/net", name)
		if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
			return fmt.Errorf("sysctl: %w", err)
		}
	}
	if spec.Node != nil {
		if err := makeNodeFileSystem(spec); err != nil {
			return err
		}
	}
	return raiseFileLimit()
}

// raiseFileLimit gives the services as many open files as the host allows; an
// interactive shell's soft limit is too low for a container runtime.
func raiseFileLimit() error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("limit of open files: %w", err)
	}
	limit.Cur = limit.Max
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("limit of open files: %w", err)
	}
	return nil
}
