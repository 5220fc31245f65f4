//go:build linux

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/kubectl-retina/kubectl-retina/e2e/internal/lab"
)

const (
	probeInterval = 50 * time.Millisecond
	restartDelay  = 500 * time.Millisecond
)

// supervisor keeps the services of a machine running and, as PID 1, reaps the
// orphans of containers.
type supervisor struct {
	spec   machineSpec
	log    io.Writer
	client *http.Client

	mu      sync.Mutex // held from before a service is started until its pid is in running
	running map[int]chan<- syscall.WaitStatus
}

func newSupervisor(spec machineSpec, log io.Writer) *supervisor {
	return &supervisor{
		spec:    spec,
		log:     log,
		running: map[int]chan<- syscall.WaitStatus{},
		client: &http.Client{
			Timeout: time.Second,
			Transport: &http.Transport{
				DisableKeepAlives: true,
				// It only asks whether the server is there yet.
				TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
			},
		},
	}
}

// run runs the services until ctx is done. It does not end them: with PID 1
// everything on the machine ends.
func (s *supervisor) run(ctx context.Context) {
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	defer signal.Stop(children)
	var kept sync.WaitGroup
	defer kept.Wait()
	for _, service := range s.spec.Services {
		kept.Go(func() { s.keep(ctx, service) })
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-children:
			s.reap()
		}
	}
}

// reap collects every child that has ended, and tells who waits for it.
func (s *supervisor) reap() {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		s.mu.Lock()
		ended, ours := s.running[pid]
		delete(s.running, pid)
		s.mu.Unlock()
		if ours {
			ended <- status
		}
	}
}

// keep starts a service when it may and again whenever it has ended.
func (s *supervisor) keep(ctx context.Context, service service) {
	for ctx.Err() == nil {
		for s.stopped(service) || !s.haveNeeds(ctx, service) {
			if !pause(ctx, probeInterval) {
				return
			}
		}
		ended, err := s.start(service)
		if err != nil {
			fmt.Fprintf(s.log, "%s: %v\n", service.Name, err)
		} else {
			select {
			case <-ctx.Done():
				return
			case status := <-ended:
				fmt.Fprintf(s.log, "%s ended: exit code %d, signal %d\n", service.Name, status.ExitStatus(), status.Signal())
			}
		}
		pause(ctx, restartDelay)
	}
}

// pause waits for d, and reports whether ctx still goes on.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

func (s *supervisor) stopped(service service) bool {
	_, err := os.Lstat(lab.StopFile(s.spec.Dir, service.Name))
	return err == nil
}

func (s *supervisor) haveNeeds(ctx context.Context, service service) bool {
	for _, need := range service.Needs {
		if s.probe(ctx, need) != nil {
			return false
		}
	}
	return true
}

// probe returns nil if something answers at address.
func (s *supervisor) probe(ctx context.Context, address string) error {
	u, err := url.Parse(address)
	if err != nil {
		return err
	}
	if u.Scheme == "unix" {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", u.Path)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	response, err := s.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", address, response.Status)
	}
	return nil
}

// start starts a service with its output appended to its log, and returns
// where its end will be told. It does without os/exec, which would wait for
// the process itself and compete with reap.
func (s *supervisor) start(service service) (<-chan syscall.WaitStatus, error) {
	program, err := exec.LookPath(service.Argv[0])
	if err != nil {
		return nil, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	path := filepath.Join(s.spec.Dir, service.Name+".log")
	log, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()

	s.mu.Lock()
	defer s.mu.Unlock()
	pid, err := syscall.ForkExec(program, service.Argv, &syscall.ProcAttr{
		Dir:   "/",
		Env:   os.Environ(),
		Files: []uintptr{null.Fd(), log.Fd(), log.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return nil, fmt.Errorf("start: %w", err)
	}
	ended := make(chan syscall.WaitStatus, 1)
	s.running[pid] = ended
	return ended, nil
}
