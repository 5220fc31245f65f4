//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// privateDirs are written to by nodes and their pods. A node sees the host's
// content there, and what it writes is its own and gone with it.
func privateDirs() []string {
	return []string{"/etc", "/mnt", "/opt", "/srv", "/var/lib", "/var/log"}
}

// hostSysctls are settings of the whole machine that kubelets insist on, with
// the value that they want to see. A test cluster has no business with them.
func hostSysctls() map[string]string {
	return map[string]string{
		"vm/overcommit_memory":      "1",
		"vm/panic_on_oom":           "0",
		"kernel/panic":              "10",
		"kernel/panic_on_oops":      "1",
		"kernel/keys/root_maxkeys":  "1000000",
		"kernel/keys/root_maxbytes": "25000000",
	}
}

// isolateMounts gives a machine a mount namespace from which nothing gets out,
// with a /proc of its own processes. The caller is PID 1 of the machine.
func isolateMounts() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	return mountAt("proc", "/proc", "")
}

// makeNodeFileSystem builds on isolateMounts: own /run, own /sys, writable
// directories that are private, and the node's data from the state directory.
func makeNodeFileSystem(spec machineSpec) error {
	// The trees that what follows would hide, taken before.
	kept, err := takeTrees(spec.State, spec.Bin, "/sys/fs/cgroup")
	if err != nil {
		return err
	}
	// The host's named network namespaces are not the node's to hold.
	if err := unix.Unmount("/run/netns", unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount /run/netns: %w", err)
	}
	if err := mountAt("tmpfs", "/run", "mode=755"); err != nil {
		return err
	}
	if err := mountAt("sysfs", "/sys", ""); err != nil {
		return err
	}
	for _, dir := range privateDirs() {
		if err := mountPrivate(dir); err != nil {
			return err
		}
	}
	for _, tree := range kept {
		if err := tree.put(); err != nil {
			return err
		}
	}
	// Not every kernel has these, and the cluster itself needs none.
	for fsType, path := range map[string]string{"bpf": "/sys/fs/bpf", "tracefs": "/sys/kernel/tracing"} {
		if err := mountAt(fsType, path, ""); err != nil && !errors.Is(err, unix.ENODEV) && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := spec.Node.populate(); err != nil {
		return err
	}
	if err := maskSysctls(); err != nil {
		return err
	}
	// Volumes of pods may ask for mount propagation.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share mounts: %w", err)
	}
	return nil
}

func mountAt(fsType, path, options string) error {
	if err := unix.Mount(fsType, path, fsType, 0, options); err != nil {
		return fmt.Errorf("mount %s at %s: %w", fsType, path, err)
	}
	return nil
}

// mountPrivate lays an empty layer in memory over dir, which may be missing.
func mountPrivate(dir string) error {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	layer := filepath.Join("/run/kubectl-retina-e2e", strings.ReplaceAll(dir, "/", "-"))
	upper, work := filepath.Join(layer, "upper"), filepath.Join(layer, "work")
	for _, path := range []string{upper, work} {
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
	}
	return mountAt("overlay", dir, fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", dir, upper, work))
}

// tree is a detached copy of a mounted tree.
type tree struct {
	path string
	fd   int
}

func takeTrees(paths ...string) ([]tree, error) {
	var trees []tree
	for _, path := range paths {
		fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
		if err != nil {
			return nil, fmt.Errorf("take mount tree %s: %w", path, err)
		}
		trees = append(trees, tree{path, fd})
	}
	return trees, nil
}

// put mounts the tree where it was taken.
func (t tree) put() error {
	defer unix.Close(t.fd)
	if err := os.MkdirAll(t.path, 0o755); err != nil {
		return err
	}
	if err := unix.MoveMount(t.fd, "", unix.AT_FDCWD, t.path, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("put mount tree %s: %w", t.path, err)
	}
	return nil
}

// populate mounts the node's directories and writes its files.
func (n *nodeSpec) populate() error {
	for at, dir := range n.Binds {
		if err := os.MkdirAll(at, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(dir, at, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s at %s: %w", dir, at, err)
		}
	}
	for path, content := range n.Files {
		// It may be a link to what is not here.
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// maskSysctls puts plain files over the settings of the host.
func maskSysctls() error {
	const dir = "/run/kubectl-retina-e2e/sysctl"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, value := range hostSysctls() {
		at := filepath.Join("/proc/sys", name)
		if _, err := os.Stat(at); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		mask := filepath.Join(dir, strings.ReplaceAll(name, "/", "."))
		if err := os.WriteFile(mask, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := unix.Mount(mask, at, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mask %s: %w", at, err)
		}
	}
	return nil
}
