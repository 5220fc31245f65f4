//go:build linux

package hostns

import (
	"os"
	"path/filepath"
	"testing"
)

func TestPodUID(t *testing.T) {
	const uid = "0aa1b2c3-1111-2222-3333-444455556666"
	for name, test := range map[string]struct{ cgroup, want string }{
		"cgroupfs, v1":               {"12:pids:/kubepods/burstable/pod" + uid + "/abc\n1:name=systemd:/x\n", uid},
		"cgroupfs, v2":               {"0::/kubepods/besteffort/pod" + uid + "/0f3\n", uid},
		"cgroupfs, own root":         {"4:cpu:/n1/kubepods/pod" + uid + "/0f3\n", uid},
		"systemd":                    {"0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0aa1b2c3_1111_2222_3333_444455556666.slice/cri-containerd-0f3.scope\n", uid},
		"systemd, guaranteed":        {"0::/kubepods.slice/kubepods-pod0aa1b2c3_1111_2222_3333_444455556666.slice/crio-1.scope\n", uid},
		"seen from a cgroup netns":   {"0::/../../pod" + uid + "/0f3\n", uid},
		"static pod":                 {"0::/kubepods/burstable/pod0123456789abcdef0123456789abcdef/1\n", "0123456789abcdef0123456789abcdef"},
		"systemd in systemd (kind)":  {"0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod0aa1b2c3_1111_2222_3333_444455556666.slice/x.scope\n", uid},
		"no pod":                     {"0::/system.slice/containerd.service\n", ""},
		"a service with pod in name": {"0::/system.slice/podman-0aa1b2c3_1111_2222_3333_444455556666.service\n", ""},
		"a slice with pod in name":   {"0::/machine.slice/machine-podman.slice\n", ""},
		"short":                      {"0::/podinfo/x\n", ""},
		"empty":                      {"", ""},
		"no newline at the end":      {"0::/kubepods/pod" + uid, uid},
	} {
		if got := podUID(test.cgroup); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

// TestFindPodsSurvivesABusyProcfs has processes that are half gone.
func TestFindPodsSurvivesABusyProcfs(t *testing.T) {
	proc := t.TempDir()
	const uid = "0aa1b2c3-1111-2222-3333-444455556666"
	write := func(path, text string) {
		t.Helper()
		path = filepath.Join(proc, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("7/cgroup", "0::/kubepods/pod"+uid+"/a\n")  // no netns any more
	write("30/cgroup", "0::/kubepods/pod"+uid+"/a\n") // the one
	write("30/ns/net", "")
	write("200/cgroup", "0::/kubepods/pod"+uid+"/b\n") // a later one
	write("200/ns/net", "")
	write("8/comm", "no cgroup file")
	write("uptime", "not a process")
	found, err := FindPods(proc, []string{uid, "another"})
	if err != nil || len(found) != 1 || found[uid] == nil {
		t.Fatalf("found %v, %v", found, err)
	}
	defer found[uid].Close()
	if got, want := found[uid].file.Name(), filepath.Join(proc, "30/ns/net"); got != want {
		t.Errorf("netns of %s, want %s", got, want)
	}
}

func FuzzPodUID(f *testing.F) {
	f.Add("0::/kubepods.slice/kubepods-pod0aa1b2c3_1111.slice/x.scope\n")
	f.Fuzz(func(t *testing.T, s string) {
		if uid := podUID(s); len(uid) > len(s) {
			t.Errorf("%q has UID %q", s, uid)
		}
	})
}
