//go:build linux

package lab

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseStat(t *testing.T) {
	const rest = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21"
	tests := []struct {
		name, stat string
		state      string
		start      uint64
		bad        bool
	}{
		{name: "plain", stat: "12 (etcd)" + rest, state: "S", start: 4711},
		{name: "name with blanks and parentheses", stat: "12 (a) R (b c)" + rest, state: "S", start: 4711},
		{name: "empty", stat: "", bad: true},
		{name: "cut", stat: "12 (etcd) S 1 2 3", bad: true},
		{name: "no number", stat: "1 (x) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 soon 20", bad: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			state, start, err := parseStat(test.stat)
			if test.bad {
				if err == nil {
					t.Fatalf("parseStat: %s, %d without error", state, start)
				}
				return
			}
			if err != nil || state != test.state || start != test.start {
				t.Errorf("parseStat: %s, %d, %v, want %s, %d", state, start, err, test.state, test.start)
			}
		})
	}
}

// startSleeper starts a process that does nothing, with env added to its
// environment, and ends it with the test.
func startSleeper(t *testing.T, env ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sleep", "1000")
	cmd.Env = append(os.Environ(), env...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	return cmd
}

func TestKillEndsTheProcess(t *testing.T) {
	cmd := startSleeper(t)
	p, err := Inspect(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if !p.Alive() {
		t.Fatal("Alive: false before it is killed")
	}
	if err := p.Kill(t.Context(), unix.SIGKILL); err != nil {
		t.Fatalf("Kill: %v", err)
	}
	if p.Alive() {
		t.Error("Alive: true for a zombie")
	}
	if err := p.Kill(t.Context(), unix.SIGKILL); err != nil {
		t.Errorf("Kill again: %v", err)
	}
}

func TestKillSparesTheNextOwnerOfThePID(t *testing.T) {
	cmd := startSleeper(t)
	p, err := Inspect(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	for name, earlier := range map[string]Process{
		"started earlier":      {PID: p.PID, Start: p.Start - 1, Boot: p.Boot},
		"before the last boot": {PID: p.PID, Start: p.Start, Boot: "another"},
	} {
		if earlier.Alive() {
			t.Errorf("%s: Alive: true", name)
		}
		if err := earlier.Kill(t.Context(), unix.SIGKILL); err != nil {
			t.Errorf("%s: Kill: %v", name, err)
		}
	}
	if !p.Alive() {
		t.Error("the process that has the pid now was killed")
	}
}

func TestKillTellsThatTheProcessStays(t *testing.T) {
	cmd := startSleeper(t)
	p, err := Inspect(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Kill(ctx, unix.SIGCONT); !errors.Is(err, context.Canceled) {
		t.Errorf("Kill with a signal that ends nothing: %v, want %v", err, context.Canceled)
	}
}

func TestProcessesFindsByMarker(t *testing.T) {
	ours := Settings{State: t.TempDir()}
	others := Settings{State: ours.State + "2"}
	cmd := startSleeper(t, ours.Marker())
	startSleeper(t, others.Marker())
	want, err := Inspect(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	found, err := ours.Processes()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(found, []Process{want}) {
		t.Errorf("Processes: %v, want %v", found, want)
	}
}
