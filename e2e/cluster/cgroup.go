//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// mount is a line of /proc/PID/mountinfo, see proc_pid_mountinfo(5).
type mount struct {
	point   string
	fsType  string
	options string // of the file system: for cgroup v1, its controllers
}

func mounts() ([]mount, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	return parseMounts(string(data))
}

func parseMounts(mountinfo string) ([]mount, error) {
	var all []mount
	for line := range strings.Lines(mountinfo) {
		fields := strings.Fields(line)
		// A variable number of optional fields ends with a dash.
		dash := slices.Index(fields, "-")
		if dash < 6 || len(fields) < dash+4 {
			return nil, fmt.Errorf("malformed mountinfo line %q", line)
		}
		all = append(all, mount{point: unescape(fields[4]), fsType: fields[dash+1], options: fields[dash+3]})
	}
	return all, nil
}

// unescape undoes the kernel's octal escapes of blanks and backslashes.
func unescape(path string) string {
	var out strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] == '\\' && i+4 <= len(path) {
			if code, err := strconv.ParseUint(path[i+1:i+4], 8, 8); err == nil {
				out.WriteByte(byte(code))
				i += 3
				continue
			}
		}
		out.WriteByte(path[i])
	}
	return out.String()
}

// hierarchies are the mounted cgroup hierarchies. On a machine with version 1
// the containers use it, and version 2, if mounted, controls nothing.
type hierarchies struct {
	v1 []mount
	v2 []mount
}

func cgroupHierarchies(all []mount) hierarchies {
	var h hierarchies
	for _, m := range all {
		switch m.fsType {
		case "cgroup":
			h.v1 = append(h.v1, m)
		case "cgroup2":
			h.v2 = append(h.v2, m)
		}
	}
	return h
}

// makeCgroups creates the cgroup NAME/NODE for every node in every hierarchy
// that kubelets use, ready to have children with all controllers.
func makeCgroups(name string, nodes []string) error {
	all, err := mounts()
	if err != nil {
		return err
	}
	h := cgroupHierarchies(all)
	for _, node := range nodes {
		for _, m := range h.v1 {
			if err := makeV1(m, name, node); err != nil {
				return fmt.Errorf("cgroup v1: %w", err)
			}
		}
		if len(h.v1) > 0 {
			continue
		}
		for _, m := range h.v2 {
			if err := makeV2(m.point, name, node); err != nil {
				return fmt.Errorf("cgroup v2: %w", err)
			}
		}
	}
	return nil
}

// makeV1 makes the cgroup in one hierarchy of version 1. A new cpuset has no
// processors and no memory until it is given some, and takes no process before.
func makeV1(m mount, name, node string) error {
	cpuset := slices.Contains(strings.Split(m.options, ","), "cpuset")
	parent := m.point
	for _, part := range []string{name, node} {
		dir := filepath.Join(parent, part)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			if !cpuset {
				break
			}
			value, err := os.ReadFile(filepath.Join(parent, file))
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(dir, file), value, 0o644); err != nil {
				return err
			}
		}
		parent = dir
	}
	return nil
}

// makeV2 makes the cgroup in the unified hierarchy. Each level hands down the
// controllers that kubelets use, as far as there are.
func makeV2(root, name, node string) error {
	dir := filepath.Join(root, name, node)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, level := range []string{root, filepath.Join(root, name)} {
		controllers, err := os.ReadFile(filepath.Join(level, "cgroup.controllers"))
		if err != nil {
			return err
		}
		available := strings.Fields(string(controllers))
		for _, controller := range []string{"cpu", "cpuset", "hugetlb", "io", "memory", "pids"} {
			if !slices.Contains(available, controller) {
				continue
			}
			file := filepath.Join(level, "cgroup.subtree_control")
			if err := os.WriteFile(file, []byte("+"+controller), 0o644); err != nil {
				return fmt.Errorf("hand down controller %s: %w", controller, err)
			}
		}
	}
	return nil
}

// removeCgroups removes the cgroup called name and all below it from every
// hierarchy. Their processes must have ended; the kernel may need a moment to
// notice, so it tries until ctx is done.
func removeCgroups(ctx context.Context, name string) error {
	all, err := mounts()
	if err != nil {
		return err
	}
	h := cgroupHierarchies(all)
	var errs []error
	for _, m := range append(h.v1, h.v2...) {
		errs = append(errs, removeCgroup(ctx, filepath.Join(m.point, name)))
	}
	return errors.Join(errs...)
}

func removeCgroup(ctx context.Context, top string) error {
	for {
		err := removeTree(top)
		if err == nil || !errors.Is(err, unix.EBUSY) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cgroup still in use: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// removeTree removes directories only, deepest first: the files of a cgroup
// are part of it.
func removeTree(top string) error {
	var dirs []string
	err := filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && entry.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	if err != nil {
		return err
	}
	slices.Reverse(dirs)
	for _, dir := range dirs {
		if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
			return &fs.PathError{Op: "rmdir", Path: dir, Err: err}
		}
	}
	return nil
}
