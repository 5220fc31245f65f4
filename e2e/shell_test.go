//go:build linux && !unit

package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// shellImage is the user's, with every applet and none of ours.
const shellImage = "localhost/busybox:1"

func shellArgs(args ...string) []string {
	return append([]string{"shell", "--collector-namespace", collectorNamespace, "--image", shellImage}, args...)
}

// TestShell executes commands on the networks of a node and of a pod.
func TestShell(t *testing.T) {
	s := openShop(t, "")
	pod := s.web["n2"]
	r := retina(t, shellArgs("web-n2", "-n", s.namespace, "--", "sh", "-c", "ip addr; grep -E 'Cap(Eff|Bnd)|NoNew' /proc/self/status; ls /sys/class/net; exit 7")...)
	r.wantCode(t, 7)
	for _, text := range []string{pod.Status.PodIP, "NoNewPrivs:\t1", "CapBnd:\t00000000000034eb", "eth0\nlo\n"} {
		if !strings.Contains(r.stdout, text) {
			t.Errorf("%q is not in %s", text, r)
		}
	}
	// What could change the node: its kernel's settings, its processes, its files.
	r = retina(t, shellArgs("pod/web-n2", "-n", s.namespace, "--", "sh", "-c",
		"echo x > /proc/sys/kernel/core_pattern; umount /proc; ls -d /proc/[0-9]* | wc -l; ls /dev; mount")...)
	for _, text := range []string{"Read-only file system", "not permitted"} {
		if !strings.Contains(r.stderr, text) {
			t.Errorf("%q is not in %s", text, r)
		}
	}
	if count, _, _ := strings.Cut(strings.TrimSpace(r.stdout), "\n"); len(count) > 1 {
		t.Errorf("it sees %s processes", count)
	}
	if strings.Contains(r.stdout, "sda") || strings.Contains(r.stdout, "serviceaccount") {
		t.Errorf("it sees the node's disks, or a token: %s", r)
	}
	// A node, by its name alone.
	r = retina(t, shellArgs("n1", "-n", s.namespace, "--", "ip", "route")...)
	r.wantCode(t, 0)
	if !strings.Contains(r.stdout, "10.99.1.0/24") {
		t.Errorf("routes of n1: %s", r)
	}
	wantNothingLeft(t)
}

// TestShellTerminal types into one, and ends it with Ctrl-D.
func TestShellTerminal(t *testing.T) {
	s := openShop(t, "")
	x := openTerminal(t, nil, shellArgs("web-n1", "-n", s.namespace)...)
	eventually(t, 60*time.Second, func() error { // a pod starts before it
		if screen := x.screen(t); !strings.Contains(screen, "/ #") {
			return fmt.Errorf("no prompt:\n%s", screen)
		}
		return nil
	})
	x.keys(t, "tty; ip addr show eth0 | grep -o 'inet [0-9.]*'", "Enter")
	x.has(t, "/dev/pts/", "inet "+s.web["n1"].Status.PodIP)
	// What is typed is on the screen before it is executed: what it prints is another
	// text.
	x.keys(t, "echo begun $((40+1)); sleep 1000", "Enter")
	x.has(t, "begun 41")
	x.keys(t, "C-c")
	x.keys(t, "echo still $((40+2))", "Enter")
	x.has(t, "still 42")
	x.keys(t, "C-d")
	x.has(t, "this came after")
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(x.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if before, after := read("before"), read("after"); before != after || read("code") != "0\n" {
		t.Errorf("exit code %s, the terminal was\n%sand is\n%s", read("code"), before, after)
	}
	wantNothingLeft(t)
}

// TestShellKilled: nothing of a shell stays when its command is killed.
func TestShellKilled(t *testing.T) {
	s := openShop(t, "")
	p := start(t, shellArgs("web-n1", "-n", s.namespace, "--", "sh", "-c", "echo begun; sleep 600")...)
	eventually(t, 60*time.Second, func() error {
		if !strings.Contains(p.stdout.String(), "begun") {
			return errors.New("the shell has not begun")
		}
		return nil
	})
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.wait(t)
	wantNothingLeft(t)
}

// TestShellRefused: what cannot be is told at once, and nothing is left.
func TestShellRefused(t *testing.T) {
	s := openShop(t, "")
	apply(t, podYAML(s.namespace, "onhost", "n1", "app: onhost", "hostNetwork: true"))
	runningPod(t, s.namespace, "onhost")
	for _, test := range []struct {
		code  int
		texts []string
		args  []string
	}{
		{1, []string{"no pod in namespace", "absent"}, []string{"absent"}},
		{1, []string{"absent"}, []string{"pod/absent"}},
		{1, []string{"absent"}, []string{"node/absent"}},
		{1, []string{"no network of its own", "node/n1"}, []string{"onhost"}},
		{2, []string{"neither a pod nor a node"}, []string{"deploy/web"}},
		{2, []string{"no node and no pod"}, nil},
		{2, []string{"one node or pod"}, []string{"web-n1", "web-n2"}},
		{2, []string{"nothing follows --"}, []string{"web-n1", "--"}},
		{2, []string{"not the name of an image"}, []string{"web-n1", "--image", "A B"}},
	} {
		wantNothingCreated(t, func() {
			retina(t, append(shellArgs("-n", s.namespace), test.args...)...).wantError(t, test.code, test.texts...)
		})
	}
	for flag, text := range map[string]string{"--image": "--image-pull-secret", "--collector-image": "--collector-image"} {
		r := retina(t, append(shellArgs("-n", s.namespace, "web-n1"), flag, absentImage)...)
		r.wantError(t, 1, "cannot be pulled", text)
		if r.took > 30*time.Second {
			t.Errorf("%s: told after %s", flag, r.took)
		}
	}
	// A command that the image has not, with a shell's exit code for that; and an
	// image that has no shell.
	for _, name := range []string{"n1", "web-n1"} {
		if r := retina(t, shellArgs(name, "-n", s.namespace, "--", "absent-command")...); r.code != 127 || !strings.Contains(r.stderr, "absent-command") {
			t.Errorf("absent command: %s", r)
		}
	}
	if r := retina(t, append(shellArgs("web-n1", "-n", s.namespace), "--image", trafficImage)...); r.code != 127 || !strings.Contains(r.stderr, "the image has no shell: name one of its programs behind --") {
		t.Errorf("an image without a shell: %s", r)
	}
	wantNothingLeft(t)
}
