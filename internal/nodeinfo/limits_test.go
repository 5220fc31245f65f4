//go:build linux && !unit

package nodeinfo_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kubectl-retina/kubectl-retina/internal/hostns"
	"github.com/kubectl-retina/kubectl-retina/internal/nodeinfo"
	"github.com/kubectl-retina/kubectl-retina/internal/vethtest"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// ending is room for the line that says where a file was cut.
const ending = 100

func TestLimitsAreKept(t *testing.T) {
	pod := vethtest.NewPod(t)
	for name, limit := range map[string]struct{ file, total int64 }{
		"file": {file: 3000, total: 1 << 20},
		"all":  {file: 1 << 20, total: 20_000},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			problems := nodeinfo.Collect(context.Background(), dir, nodeinfo.Options{
				Targets: []wire.Target{target(pod, "shop/web")}, MaxFileBytes: limit.file, MaxBytes: limit.total, HostRoot: hostRoot,
			})
			if len(problems) == 0 {
				t.Fatal("nothing was cut")
			}
			for _, problem := range problems {
				if !strings.Contains(problem.Error(), "cut") {
					t.Error(problem)
				}
			}
			var all int64
			vethtest.Must(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
				if err != nil || entry.IsDir() || entry.Name() == "problems.txt" {
					return err
				}
				text := read(t, path)
				cut := strings.Index(text, "# cut here: the limit of ")
				if cut < 0 {
					cut = len(text)
				} else if cut > 0 && text[cut-1] != '\n' {
					t.Errorf("%s is cut in a line: %q", path, text[:cut])
				}
				if int64(cut) > limit.file+ending {
					t.Errorf("%s has %d bytes", path, cut)
				}
				all += int64(cut)
				return nil
			}))
			if all > limit.total+ending {
				t.Errorf("%d bytes in all files", all)
			}
			if text := read(t, dir, "problems.txt"); strings.Count(text, "\n") != len(problems) {
				t.Errorf("%d problems and the file\n%s", len(problems), text)
			}
		})
	}
}

// TestAHangingToolIsKilled gives the node an nft that never ends.
func TestAHangingToolIsKilled(t *testing.T) {
	pod := vethtest.NewPod(t)
	root := t.TempDir()
	vethtest.Must(t, os.MkdirAll(filepath.Join(root, "usr/sbin"), 0o755))
	build := exec.Command("go", "build", "-o", filepath.Join(root, "usr/sbin/nft"), "./testdata/hang")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	dir := t.TempDir()
	began := time.Now()
	problems := nodeinfo.Collect(context.Background(), dir, nodeinfo.Options{
		Targets: []wire.Target{target(pod, "shop/web")}, HostRoot: root, PartTimeout: 2 * time.Second,
	})
	t.Logf("took %s", time.Since(began))
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("took %s", took)
	}
	late := map[string]bool{}
	for _, problem := range problems {
		if problem.Part == "nft" && strings.Contains(problem.Error(), "took too long") {
			late[problem.Dir] = true
		}
	}
	for _, scope := range []string{"node", "pod-shop-web"} {
		if !late[scope] {
			t.Errorf("%s: no problem with nft in %v", scope, problems)
		}
		var pid int
		text := read(t, dir, scope, "nft-ruleset.txt")
		if _, err := fmt.Sscanf(text, "# nft list ruleset\npid %d", &pid); err != nil {
			t.Fatalf("%v: %q", err, text)
		}
		for deadline := time.Now().Add(10 * time.Second); !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH); {
			if time.Now().After(deadline) {
				t.Fatalf("nft of %s, process %d, is still there", scope, pid)
			}
			time.Sleep(time.Millisecond)
		}
	}
}

func TestTimeIsKept(t *testing.T) {
	pod := vethtest.NewPod(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	dir := t.TempDir()
	problems := nodeinfo.Collect(ctx, dir, nodeinfo.Options{Targets: []wire.Target{target(pod, "shop/web")}, HostRoot: hostRoot})
	if len(problems) == 0 || !strings.Contains(read(t, dir, "problems.txt"), "no time left") {
		t.Errorf("problems %v", problems)
	}
}

func TestPodsOfTheHostNetworkAndPodsThatAreGone(t *testing.T) {
	vethtest.NeedRoot(t)
	uid := vethtest.NewUID(t)
	vethtest.ProcessHere(t, vethtest.CgroupFD(t, "pod"+uid))
	dir := t.TempDir()
	problems := nodeinfo.Collect(context.Background(), dir, nodeinfo.Options{
		Targets: []wire.Target{
			{Name: "pod kube-system/proxy", PodUID: uid},
			{Name: "pod shop/gone", PodUID: vethtest.NewUID(t)},
		},
		HostRoot: hostRoot,
	})
	if len(problems) != 1 || problems[0].Dir != "pod-shop-gone" || !errors.Is(problems[0], hostns.ErrNoProcess) {
		t.Errorf("problems: %v", problems)
	}
	if text := read(t, dir, "pod-kube-system-proxy/network.txt"); !strings.Contains(text, "see ../node") {
		t.Errorf("network.txt: %q", text)
	}
	if text := read(t, dir, "pod-kube-system-proxy/processes.txt"); !strings.Contains(text, `"sleep"`) {
		t.Errorf("processes.txt: %q", text)
	}
	if _, err := os.Stat(filepath.Join(dir, "pod-kube-system-proxy/routes.txt")); err == nil {
		t.Error("the node's routes are there twice")
	}
}

// TestResolverFilesStayInTheirRoot has a root directory as a hostile container
// may make it.
func TestResolverFilesStayInTheirRoot(t *testing.T) {
	vethtest.NeedRoot(t)
	outside := filepath.Join(t.TempDir(), "outside")
	vethtest.Must(t, os.WriteFile(outside, []byte("nameserver 192.0.2.66\n"), 0o644))
	for name, test := range map[string]struct {
		make    func(root string) error
		want    string // of the file; "": there is none
		problem string
	}{
		"file": {func(root string) error {
			return os.WriteFile(filepath.Join(root, "etc/resolv.conf"), []byte("nameserver 192.0.2.53\nsearch a b\n\ntoken=abc\n#x\n"), 0o644)
		}, "nameserver 192.0.2.53\nsearch a b\n\n# (a line that is not of such a file is left out)\n# (a line that is not of such a file is left out)\n", ""},
		"absolute link stays inside": {func(root string) error {
			return errors.Join(os.MkdirAll(filepath.Join(root, "run"), 0o755),
				os.WriteFile(filepath.Join(root, "run/resolv.conf"), []byte("nameserver 192.0.2.54\n"), 0o644),
				os.Symlink("/run/resolv.conf", filepath.Join(root, "etc/resolv.conf")))
		}, "nameserver 192.0.2.54\n", ""},
		"link to the outside": {func(root string) error { return os.Symlink(outside, filepath.Join(root, "etc/resolv.conf")) }, "", ""},
		"dots": {func(root string) error {
			return os.Symlink("../../../../../../../../../../.."+outside, filepath.Join(root, "etc/resolv.conf"))
		}, "", ""},
		"loop": {func(root string) error {
			return os.Symlink("resolv.conf", filepath.Join(root, "etc/resolv.conf"))
		}, "", "symbolic links"},
		"FIFO": {func(root string) error { return unix.Mkfifo(filepath.Join(root, "etc/resolv.conf"), 0o644) }, "", "not a regular file"},
		"device": {func(root string) error {
			return unix.Mknod(filepath.Join(root, "etc/resolv.conf"), unix.S_IFCHR|0o600, 0x501)
		}, "", "not a regular file"},
		"directory": {func(root string) error { return os.Mkdir(filepath.Join(root, "etc/resolv.conf"), 0o755) }, "", "not a regular file"},
	} {
		t.Run(name, func(t *testing.T) {
			root, dir := t.TempDir(), t.TempDir()
			vethtest.Must(t, os.Mkdir(filepath.Join(root, "etc"), 0o755))
			vethtest.Must(t, test.make(root))
			problems := nodeinfo.Collect(context.Background(), dir, nodeinfo.Options{HostRoot: root})
			got, err := os.ReadFile(filepath.Join(dir, "node/resolv.conf"))
			if string(got) != test.want || (err == nil) != (test.want != "") {
				t.Errorf("resolv.conf is %q (%v), want %q", got, err, test.want)
			}
			said := ""
			for _, problem := range problems {
				if problem.Part == "resolv.conf" {
					said = problem.Error()
				}
			}
			if (said != "") != (test.problem != "") || !strings.Contains(said, test.problem) {
				t.Errorf("problem %q, want %q", said, test.problem)
			}
		})
	}
}

// TestManyPods prints how long a node with many pods takes.
func TestManyPods(t *testing.T) {
	const count = 20
	var targets []wire.Target
	for i := range count {
		targets = append(targets, target(vethtest.NewPod(t), fmt.Sprintf("shop/web-%d", i)))
	}
	dir := collect(t, nodeinfo.Options{Targets: targets})
	entries, err := os.ReadDir(dir)
	vethtest.Must(t, err)
	if len(entries) != count+1 {
		t.Errorf("%d directories, want %d", len(entries), count+1)
	}
}
