//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

// A bench is one run of this program.
type bench struct {
	root string // of the checkout
	dir  string // for everything that is written, removed at the end
	runs int
	log  io.Writer
}

// newBench builds what will be measured.
func newBench(ctx context.Context, o options, log io.Writer) (*bench, error) {
	root, err := output(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/kubectl-retina/kubectl-retina")
	if err != nil {
		return nil, hint.Wrap(err, "run it inside the checkout")
	}
	b := &bench{root: strings.TrimSpace(root), runs: o.runs, log: log}
	for _, program := range []string{"tcpdump", "mergecap", "capinfos", "ip", "nsenter"} {
		if _, err := exec.LookPath(program); err != nil {
			return nil, hint.Wrap(err, "run: make deps")
		}
	}
	if o.build {
		b.say("building the programs and the image")
		if _, err := output(ctx, "make", "-s", "-C", b.root, "build", "image"); err != nil {
			return nil, err
		}
	}
	b.dir, err = os.MkdirTemp("", "retina-bench-")
	return b, err
}

// close removes the files.
func (b *bench) close() error { return os.RemoveAll(b.dir) }

func (b *bench) say(format string, args ...any) { fmt.Fprintf(b.log, format+"\n", args...) }

// path is where a file of the checkout is.
func (b *bench) path(name string) string { return filepath.Join(b.root, filepath.FromSlash(name)) }

// self is the command line of this program as one of its own commands.
func self(args ...string) ([]string, error) {
	program, err := os.Executable()
	return append([]string{program}, args...), err
}

// patience is how long a process gets to end in order.
const patience = 20 * time.Second

// command returns a command that is asked to end when ctx does, or when this
// process dies.
func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return tame(exec.CommandContext(ctx, name, args...))
}

func tame(cmd *exec.Cmd) *exec.Cmd {
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = patience
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	return cmd
}

// output runs a command to its end and returns what it printed.
func output(ctx context.Context, name string, args ...string) (string, error) {
	return outputOf(command(ctx, name, args...))
}

func outputOf(cmd *exec.Cmd) (string, error) {
	out, err := cmd.Output()
	if err == nil {
		return string(out), nil
	}
	var exited *exec.ExitError
	if errors.As(err, &exited) && len(exited.Stderr) > 0 {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exited.Stderr)))
	}
	return "", fmt.Errorf("%s: %w", filepath.Base(cmd.Path), err)
}

// cpuTime is what an ended process has used, user and system.
func cpuTime(cmd *exec.Cmd) time.Duration {
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

// cpuTimeNow is what a running process has used so far. The clock's number is as
// clock_getcpuclockid(3) makes it.
func cpuTimeNow(pid int) (time.Duration, error) {
	const scheduled = 2 // CPUCLOCK_SCHED
	var used unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|scheduled), &used); err != nil {
		return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
	}
	return time.Duration(used.Nano()), nil
}

// sleep waits, unless ctx ends before.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
