//go:build linux && !unit

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/kubectl-retina/kubectl-retina/e2e/internal/lab"
)

// A terminal is a tmux server of the test's own with one window, in which a command
// runs.
type terminal struct {
	socket, dir string
}

// openTerminal runs kubectl-retina with args on a terminal of 80x24, where the API
// server answers.
func openTerminal(t testing.TB, env []string, args ...string) *terminal {
	t.Helper()
	dir, err := os.MkdirTemp("", "top") //nolint:usetesting // short: a socket's path may have 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	x := &terminal{socket: "retina-" + filepath.Base(dir), dir: dir}
	t.Cleanup(func() {
		_, _ = x.tmux("kill-server") // it may have ended with its window
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	config := "set -g status off\nset -g default-terminal screen-256color\nset -g escape-time 20\n"
	if err := os.WriteFile(dir+"/config", []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	// What the terminal was like before and after, and the exit code.
	script := `stty -a > before; echo this was here before; "$@" 2> stderr; echo $? > code; stty -a > after; echo this came after; exec sleep 600`
	argv := append([]string{"-f", dir + "/config", "new-session", "-d", "-x", "80", "-y", "24", "-c", dir}, environment(env)...)
	argv = append(argv, "sh", "-c", script, "sh", the.program)
	if out, err := x.tmux(append(argv, args...)...); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return x
}

// environment are tmux's arguments for variables.
func environment(env []string) []string {
	var args []string
	for _, variable := range env {
		args = append(args, "-e", variable)
	}
	return args
}

func (x *terminal) tmux(args ...string) (string, error) {
	cmd := the.Command(context.Background(), append([]string{"tmux", "-L", x.socket}, args...)...)
	// With the marker, the end of the cluster is its end too.
	cmd.Env = append(cmd.Env, lab.Settings{State: the.State}.Marker(), "TMUX_TMPDIR="+x.dir)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// keys presses keys, by tmux's names.
func (x *terminal) keys(t testing.TB, keys ...string) {
	t.Helper()
	if out, err := x.tmux(append([]string{"send-keys"}, keys...)...); err != nil {
		t.Fatalf("send-keys: %v: %s", err, out)
	}
}

// screen is what the terminal shows; more are arguments for capture-pane.
func (x *terminal) screen(t testing.TB, more ...string) string {
	t.Helper()
	out, err := x.tmux(append([]string{"capture-pane", "-p"}, more...)...)
	if err != nil {
		t.Fatalf("capture-pane: %v: %s", err, out)
	}
	return out
}

// await waits until the screen is these lines, each a regular expression for the whole
// line: the last one at the bottom, the others at the top, blank ones between them.
func (x *terminal) await(t testing.TB, columns, height int, lines ...string) {
	t.Helper()
	var all []*regexp.Regexp
	for _, line := range lines {
		line = strings.NewReplacer("RATE", `[0-9.]+[kM]?`, "TIME", `[0-9.]+(ns|µs|ms|s)`, "CLOCK", `[0-9]{2}:[0-9]{2}:[0-9]{2}`).Replace(line)
		all = append(all, regexp.MustCompile("^"+line+"$"))
	}
	eventually(t, 15*time.Second, func() error {
		screen := x.screen(t)
		got := strings.Split(strings.TrimSuffix(screen, "\n"), "\n")
		if len(got) != height {
			return fmt.Errorf("%d lines, want %d:\n%s", len(got), height, screen)
		}
		for i, line := range got {
			if len([]rune(line)) > columns {
				return fmt.Errorf("line %d is longer than %d:\n%s", i+1, columns, screen)
			}
			want := regexp.MustCompile("^$")
			switch {
			case i < len(all)-1:
				want = all[i]
			case i == height-1:
				want = all[len(all)-1]
			}
			if !want.MatchString(strings.TrimRight(line, " ")) {
				return fmt.Errorf("line %d is %q, want %s:\n%s", i+1, line, want, screen)
			}
		}
		return nil
	})
}

// has waits until texts are on the screen.
func (x *terminal) has(t testing.TB, texts ...string) {
	t.Helper()
	eventually(t, 15*time.Second, func() error {
		screen := x.screen(t)
		for _, text := range texts {
			if !strings.Contains(screen, text) {
				return fmt.Errorf("%q is not on the screen:\n%s", text, screen)
			}
		}
		return nil
	})
}

// hasNot waits until text is not on the screen.
func (x *terminal) hasNot(t testing.TB, text string) {
	t.Helper()
	eventually(t, 15*time.Second, func() error {
		if screen := x.screen(t); strings.Contains(screen, text) {
			return fmt.Errorf("%q is on the screen:\n%s", text, screen)
		}
		return nil
	})
}

// ended waits for the end of the command and checks that the terminal is as it was.
func (x *terminal) ended(t testing.TB, code string) {
	t.Helper()
	x.has(t, "this came after")
	if screen := x.screen(t); !strings.HasPrefix(screen, "this was here before\nthis came after\n\n") {
		t.Errorf("the screen is not what it was:\n%s", screen)
	}
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(x.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if got := read("code"); got != code+"\n" {
		t.Errorf("exit code %swant %s; stderr:\n%s", got, code, read("stderr"))
	}
	if before, after := read("before"), read("after"); before != after {
		t.Errorf("the terminal was\n%sand is\n%s", before, after)
	}
	state, err := x.tmux("display-message", "-p", "#{alternate_on} #{cursor_flag} #{mouse_any_flag} #{keypad_cursor_flag}")
	if err != nil || state != "0 1 0 0\n" {
		t.Errorf("alternate screen, cursor, mouse, keypad: %q, %v", state, err)
	}
	if stderr := read("stderr"); strings.Contains(stderr, "error") || strings.Contains(stderr, "\x1b") {
		t.Errorf("stderr:\n%s", stderr)
	}
}
