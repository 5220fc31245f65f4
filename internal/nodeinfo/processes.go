//go:build linux

package nodeinfo

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/kubectl-retina/kubectl-retina/internal/hostns"
)

// process is a process of a pod.
type process struct {
	pid       int
	comm      string
	container string // ID, as in the pod's status, or ""
	mounts    string // its mount namespace: "mnt:[4026532758]"
}

// owner is a process that has a socket open.
type owner struct {
	comm    string
	pid, fd int
}

// owners are by the socket's inode.
type owners map[uint32][]owner

// Limits of owners.
const (
	maxOwned     = 200_000 // sockets
	ownersListed = 3       // of one socket
)

// located is what procfs tells of the pods.
type located struct {
	namespaces map[string]*hostns.Netns // by UID
	processes  map[string][]process     // by UID
	owners     owners                   // of sockets in these namespaces and the node's
}

// locate finds pods by UID. When ctx ends, it returns what it has.
func locate(ctx context.Context, proc string, uids []string, hostIno uint64) (located, error) {
	l := located{processes: map[string][]process{}, owners: owners{}}
	var err error
	if len(uids) > 0 {
		if l.namespaces, err = hostns.FindPods(proc, uids); err != nil {
			return l, err
		}
	}
	pods := cgroupNames(uids)
	wanted := map[string]bool{netnsLink(hostIno): true}
	for _, ns := range l.namespaces {
		wanted[netnsLink(ns.Ino)] = true
	}
	entries, err := os.ReadDir(proc)
	if err != nil {
		return l, err
	}
	for _, entry := range entries {
		if ctx.Err() != nil {
			return l, errTime
		}
		if pid, err := strconv.Atoi(entry.Name()); err == nil {
			l.look(filepath.Join(proc, entry.Name()), pid, pods, wanted)
		}
	}
	return l, nil
}

func netnsLink(ino uint64) string { return "net:[" + strconv.FormatUint(ino, 10) + "]" }

// look at one process. It may end meanwhile.
func (l *located) look(dir string, pid int, pods map[string]string, wanted map[string]bool) {
	netns, err := os.Readlink(filepath.Join(dir, "ns/net"))
	if err != nil {
		return
	}
	comm := ""
	if text, err := os.ReadFile(filepath.Join(dir, "comm")); err == nil {
		comm = strings.TrimSuffix(string(text), "\n")
	}
	if len(pods) > 0 {
		if cgroup, err := os.ReadFile(filepath.Join(dir, "cgroup")); err == nil {
			if uid := cgroupPod(string(cgroup), pods); uid != "" {
				mounts, _ := os.Readlink(filepath.Join(dir, "ns/mnt"))
				l.processes[uid] = append(l.processes[uid], process{
					pid: pid, comm: comm, container: containerID(string(cgroup)), mounts: mounts,
				})
			}
		}
	}
	if wanted[netns] {
		l.sockets(dir, owner{comm: comm, pid: pid})
	}
}

// sockets adds those that a process has open.
func (l *located) sockets(dir string, who owner) {
	fds, err := os.Open(filepath.Join(dir, "fd"))
	if err != nil {
		return
	}
	defer fds.Close()
	for {
		names, err := fds.Readdirnames(1000)
		for _, name := range names {
			target, err := os.Readlink(filepath.Join(dir, "fd", name))
			if err != nil || len(l.owners) >= maxOwned {
				continue
			}
			inode, ok := socketInode(target)
			if !ok || len(l.owners[inode]) >= ownersListed {
				continue
			}
			who.fd, _ = strconv.Atoi(name)
			l.owners[inode] = append(l.owners[inode], who)
		}
		if err != nil {
			return
		}
	}
}

// socketInode reads "socket:[12345]".
func socketInode(link string) (uint32, bool) {
	digits, ok := strings.CutPrefix(link, "socket:[")
	if !ok {
		return 0, false
	}
	inode, err := strconv.ParseUint(strings.TrimSuffix(digits, "]"), 10, 32)
	return uint32(inode), err == nil
}

// cgroupNames are the pods that are looked for, by the two ways to write a UID
// in a cgroup's name.
func cgroupNames(uids []string) map[string]string {
	names := make(map[string]string, 2*len(uids))
	for _, uid := range uids {
		names[uid] = uid
		names[strings.ReplaceAll(uid, "-", "_")] = uid
	}
	return names
}

// cgroupPod returns which of the pods a /proc/PID/cgroup file is of, or "".
func cgroupPod(cgroup string, names map[string]string) string {
	for {
		_, rest, found := strings.Cut(cgroup, "pod")
		if !found {
			return ""
		}
		// A UUID, or the hash of a static pod.
		for _, length := range []int{36, 32} {
			if uid := names[rest[:min(length, len(rest))]]; uid != "" {
				return uid
			}
		}
		cgroup = rest
	}
}

// containerHash is how container runtimes name containers and their cgroups.
var containerHash = regexp.MustCompile(`[0-9a-f]{64}`)

// containerID returns the last one that a /proc/PID/cgroup file names, or "".
func containerID(cgroup string) string {
	all := containerHash.FindAllString(cgroup, -1)
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1]
}
