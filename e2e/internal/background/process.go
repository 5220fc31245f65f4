//go:build linux

// Package background runs the servers that e2e tests need as processes that do not
// outlive the test that started them.
package background

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// pollInterval is how often Await looks.
const pollInterval = 50 * time.Millisecond

// Process is a server that was started. It is safe for concurrent use.
type Process struct {
	process *os.Process
	log     string        // path
	ended   chan struct{} // closed when the process has ended
}

// Start starts cmd, which writes all its output to the new file log. It is killed when
// this program ends, however that happens.
func Start(cmd *exec.Cmd, log string) (*Process, error) {
	file, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	cmd.Stdout, cmd.Stderr = file, file
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p := &Process{log: log, ended: make(chan struct{})}
	started := make(chan error)
	go func() {
		// Its parent for the kernel is a thread; this one is kept until it has ended, as
		// others end whenever a goroutine leaves its namespace.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // however it ends: who misses it finds its log
			close(p.ended)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	p.process = cmd.Process
	return p, nil
}

// Await waits until ready has no error. When the process has ended before that, the
// error has its log.
func (p *Process) Await(ctx context.Context, ready func(context.Context) error) error {
	for {
		err := ready(ctx)
		select {
		case <-p.ended:
			// Before err is looked at: another server may have answered at its port.
			words, _ := os.ReadFile(p.log)
			return fmt.Errorf("ended at its start: %s", strings.TrimSpace(string(words)))
		default:
		}
		if err == nil {
			return nil
		}
		select {
		case <-p.ended:
		case <-ctx.Done():
			return fmt.Errorf("is not ready: %w", err)
		case <-time.After(pollInterval):
		}
	}
}

// Stop kills the process and waits for its end. Stopping twice is no error.
func (p *Process) Stop() error {
	if err := p.process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.ended
	return nil
}

// PID is that of the process, for looking at what it takes.
func (p *Process) PID() int { return p.process.Pid }
