//go:build linux

package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kubectl-retina/kubectl-retina/e2e/internal/lab"
)

// A service that ends is started again; one that is stopped is not.
func TestSupervisorRestarts(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	// Open both ways, so that no end of a service is the end of the pipe.
	pipe, err := os.OpenFile(fifo, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	s := newSupervisor(machineSpec{Dir: dir, Services: []service{
		{Name: "stopped", Argv: []string{"sh", "-c", "echo stopped >" + fifo}},
		{Name: "short", Argv: []string{"sh", "-c", "echo short >" + fifo}},
	}}, io.Discard)
	if err := os.WriteFile(lab.StopFile(dir, "stopped"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.run(ctx)
	}()
	defer func() { <-done }()
	defer cancel()
	lines := bufio.NewScanner(pipe)
	for i := range 3 {
		if !lines.Scan() || lines.Text() != "short" {
			t.Fatalf("start %d is of %q (%v), want short", i+1, lines.Text(), lines.Err())
		}
	}
	if err := os.Remove(lab.StopFile(dir, "stopped")); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() && lines.Text() != "stopped" {
	}
	if lines.Err() != nil {
		t.Error(lines.Err())
	}
}

func TestProbe(t *testing.T) {
	var status atomic.Int32
	status.Store(http.StatusInternalServerError)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(int(status.Load())) }))
	defer server.Close()
	socket := filepath.Join(t.TempDir(), "socket")
	s := newSupervisor(machineSpec{}, io.Discard)
	if s.probe(t.Context(), server.URL) == nil || s.probe(t.Context(), "unix://"+socket) == nil {
		t.Error("what fails or is not there answers")
	}
	status.Store(http.StatusOK)
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for _, address := range []string{server.URL, "unix://" + socket} {
		if err := s.probe(t.Context(), address); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
}
