//go:build linux

// Package hostns finds pods' network namespaces on a node and the interfaces in
// them, from procfs and netlink alone: no container runtime is asked, so none
// has to be known.
//
// It needs the node's PID namespace (hostPID) and CAP_SYS_ADMIN.
package hostns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/vishvananda/netns"
)

// A Netns is an open network namespace. Close it when done; it may be shared.
type Netns struct {
	// Ino identifies the namespace on this kernel.
	Ino  uint64
	file *os.File
}

// Host opens the namespace of the calling thread, which for a collector pod
// (hostNetwork) is the node's.
func Host() (*Netns, error) { return Open("/proc/thread-self/ns/net") }

// Open opens the namespace at path, as in "/proc/1/ns/net".
func Open(path string) (*Netns, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	var stat syscall.Stat_t
	if err := syscall.Fstat(int(file.Fd()), &stat); err != nil {
		return nil, errors.Join(fmt.Errorf("stat %s: %w", path, err), file.Close())
	}
	return &Netns{Ino: stat.Ino, file: file}, nil
}

// FD is the namespace's file descriptor, valid until Close.
func (n *Netns) FD() int { return int(n.file.Fd()) }

// Close closes the namespace. What was attached in it stays.
func (n *Netns) Close() error { return n.file.Close() }

// Do runs f with its thread in the namespace. f must not start goroutines that
// rely on it.
func (n *Netns) Do(f func() error) error {
	result := make(chan error, 1)
	// A goroutine of its own: should the way back fail, its thread is still
	// locked when it returns and the runtime ends that thread with it.
	go func() {
		runtime.LockOSThread()
		home, err := netns.Get()
		if err != nil {
			result <- fmt.Errorf("open own netns: %w", err)
			return
		}
		defer home.Close()
		if err := netns.Set(netns.NsHandle(n.FD())); err != nil {
			result <- fmt.Errorf("enter netns %d: %w", n.Ino, err)
			return
		}
		err = f()
		if back := netns.Set(home); back == nil {
			runtime.UnlockOSThread()
		}
		result <- err
	}()
	return <-result
}

// ErrNoProcess is returned for a pod that has no process on this node.
var ErrNoProcess = errors.New("no process of the pod runs on this node")

// FindPods opens the network namespace of each pod in uids, found by its UID in
// /proc/*/cgroup below procfs ("/proc"). A UID is the name of the pod's cgroup:
// metadata.uid, or the config hash of a static pod. Pods without a process are
// missing from the result. The caller closes what it gets.
func FindPods(procfs string, uids []string) (map[string]*Netns, error) {
	wanted := make(map[string]bool, len(uids))
	for _, uid := range uids {
		wanted[uid] = true
	}
	pids, err := processes(procfs)
	if err != nil {
		return nil, err
	}
	found := make(map[string]*Netns, len(uids))
	for _, pid := range pids {
		if len(found) == len(wanted) {
			break
		}
		dir := filepath.Join(procfs, strconv.Itoa(pid))
		uid := podOf(dir)
		if !wanted[uid] || found[uid] != nil {
			continue
		}
		ns, err := Open(filepath.Join(dir, "ns/net"))
		if err != nil {
			continue // the process has ended; the pod may have others
		}
		// The PID may have been reused between the two reads.
		if podOf(dir) != uid {
			ns.Close()
			continue
		}
		found[uid] = ns
	}
	return found, nil
}

// All opens every network namespace that a process below procfs is in, the
// caller's own included. The caller closes what it gets.
func All(procfs string) ([]*Netns, error) {
	pids, err := processes(procfs)
	if err != nil {
		return nil, err
	}
	var all []*Netns
	seen := map[uint64]bool{}
	for _, pid := range pids {
		ns, err := Open(filepath.Join(procfs, strconv.Itoa(pid), "ns/net"))
		if err != nil {
			continue
		}
		if seen[ns.Ino] {
			ns.Close()
			continue
		}
		seen[ns.Ino] = true
		all = append(all, ns)
	}
	return all, nil
}

// processes lists the PIDs in ascending order, so that a pod's sandbox process
// is met before its containers'.
func processes(procfs string) ([]int, error) {
	dir, err := os.Open(procfs)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var pids []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids, nil
}

func podOf(processDir string) string {
	cgroup, err := os.ReadFile(filepath.Join(processDir, "cgroup"))
	if err != nil {
		return ""
	}
	return podUID(string(cgroup))
}

// podUID returns the pod UID in the contents of a /proc/PID/cgroup file
// (cgroups(7)), or "". The kubelet names a pod's cgroup "podUID" with its
// cgroupfs driver and "kubepods[-QOS]-podUID.slice", with "_" for "-" in the
// UID, with its systemd driver, where the names of outer slices may come first.
func podUID(cgroup string) string {
	for line := range strings.Lines(cgroup) {
		for segment := range strings.SplitSeq(strings.TrimSpace(line), "/") {
			uid, ok := strings.CutPrefix(segment, "pod")
			if name, slice := strings.CutSuffix(segment, ".slice"); slice {
				_, name, ok = strings.Cut(name, "kubepods")
				if ok {
					_, name, ok = strings.Cut(name, "-pod")
				}
				uid = strings.ReplaceAll(name, "_", "-")
			}
			if ok && isUID(uid) {
				return uid
			}
		}
	}
	return ""
}

// isUID tells a UUID, or the hash of a static pod, from other words.
func isUID(s string) bool {
	return (len(s) == 36 || len(s) == 32) && strings.Trim(s, "0123456789abcdef-") == ""
}
