//go:build linux

package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const hybridMountinfo = `22 27 0:21 / /proc rw,relatime - proc proc rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 master:2 - cgroup cgroup rw,cpu,cpuacct
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
50 27 0:40 / /mnt/a\040b\134c rw - tmpfs tmpfs rw
`

func TestParseMounts(t *testing.T) {
	all, err := parseMounts(hybridMountinfo)
	if err != nil {
		t.Fatal(err)
	}
	want := hierarchies{
		v1: []mount{
			{"/sys/fs/cgroup/cpu,cpuacct", "cgroup", "rw,cpu,cpuacct"},
			{"/sys/fs/cgroup/systemd", "cgroup", "rw,name=systemd"},
		},
		v2: []mount{{"/sys/fs/cgroup/unified", "cgroup2", "rw"}},
	}
	if diff := cmp.Diff(want, cgroupHierarchies(all), cmp.AllowUnexported(hierarchies{}, mount{})); diff != "" {
		t.Errorf("hierarchies:\n%s", diff)
	}
	if last := all[len(all)-1].point; last != `/mnt/a b\c` {
		t.Errorf("escaped mount point: %q", last)
	}
}

func TestParseMountsRefuses(t *testing.T) {
	for _, line := range []string{"22 27 0:21 / /proc rw", "22 27 0:21 / /proc rw - proc", "- a b c"} {
		if all, err := parseMounts(line); err == nil {
			t.Errorf("%q: %v without error", line, all)
		}
	}
}

func FuzzParseMounts(f *testing.F) {
	f.Add(hybridMountinfo)
	f.Add(`1 2 3:4 / /\04 rw - t s o`)
	f.Fuzz(func(t *testing.T, text string) {
		all, err := parseMounts(text)
		if err != nil && all != nil {
			t.Errorf("both %v and %v", all, err)
		}
	})
}

func TestMakeV1CopiesCpuset(t *testing.T) {
	root := t.TempDir()
	writeFiles(t, root, map[string]string{"cpuset.cpus": "0-1\n", "cpuset.mems": "0\n"})
	if err := makeV1(mount{point: root, options: "rw,cpuset"}, "cluster", "n1"); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"cluster/cpuset.cpus", "cluster/n1/cpuset.cpus"} {
		if got := readFile(t, filepath.Join(root, file)); got != "0-1\n" {
			t.Errorf("%s: %q", file, got)
		}
	}
}

func TestMakeV2HandsControllersDown(t *testing.T) {
	root := t.TempDir()
	writeFiles(t, root, map[string]string{
		"cgroup.controllers":         "cpu rdma memory\n",
		"cluster/cgroup.controllers": "memory\n",
	})
	if err := makeV2(root, "cluster", "n1"); err != nil {
		t.Fatal(err)
	}
	// These files of a test keep what was written last; the kernel's add up.
	for _, file := range []string{"cgroup.subtree_control", "cluster/cgroup.subtree_control"} {
		if got := readFile(t, filepath.Join(root, file)); got != "+memory" {
			t.Errorf("%s: %q", file, got)
		}
	}
	if _, err := os.Stat(filepath.Join(root, "cluster/n1")); err != nil {
		t.Error(err)
	}
}

func TestRemoveTree(t *testing.T) {
	top := filepath.Join(t.TempDir(), "cluster")
	for _, dir := range []string{"n1/kubepods/pod1", "n1/kubepods/pod2", "n2"} {
		if err := os.MkdirAll(filepath.Join(top, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := removeTree(top); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(top); !os.IsNotExist(err) {
		t.Errorf("still there: %v", err)
	}
	if err := removeTree(top); err != nil {
		t.Errorf("what is gone: %v", err)
	}
}

func TestRemoveTreeRemovesNoFile(t *testing.T) {
	top := t.TempDir()
	writeFiles(t, top, map[string]string{"n1/file": "precious"})
	if err := removeTree(top); err == nil {
		t.Error("no error")
	}
	if got := readFile(t, filepath.Join(top, "n1/file")); got != "precious" {
		t.Errorf("file: %q", got)
	}
}

func writeFiles(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), fs.FileMode(0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
