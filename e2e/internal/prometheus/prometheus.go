// Package prometheus gives the e2e tests a Prometheus: Debian's program with a
// configuration and a data folder of its own, on a loopback port that is free.
// Its service is neither used nor needed.
package prometheus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kubectl-retina/kubectl-retina/e2e/internal/lab"
)

const (
	// ScrapeInterval is how often a Server scrapes its targets.
	ScrapeInterval = 500 * time.Millisecond
	// startTimeout is how long it may take to be ready.
	startTimeout = 30 * time.Second
	// attempts is how many ports are tried.
	attempts = 10
)

// Server is a running Prometheus. It is safe for concurrent use.
type Server struct {
	// URL is where it answers, without a slash at its end, in the network namespace
	// that it runs in.
	URL     string
	client  *http.Client
	process *os.Process
	ended   chan struct{} // closed when the process has ended
}

// Start starts a Prometheus that scrapes the targets, each "HOST:PORT" with
// /metrics or a URL's path behind it, and ends it at the end of the test.
func Start(t testing.TB, targets ...string) *Server {
	t.Helper()
	return start(t, host(), targets)
}

// StartIn is Start in the network namespace of the cluster's control plane, where
// the commands of c listen.
func StartIn(t testing.TB, c *lab.Cluster, targets ...string) *Server {
	t.Helper()
	return start(t, place{
		command: func(args ...string) *exec.Cmd {
			cmd := c.Command(context.Background(), args...)
			// With the marker, the end of the cluster is its end too.
			cmd.Env = append(cmd.Env, lab.Settings{State: c.State}.Marker())
			return cmd
		},
		dial: c.Dial,
	}, targets)
}

// place is a network namespace.
type place struct {
	command func(args ...string) *exec.Cmd // runs there
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
}

// host is the place of the tests themselves.
func host() place {
	return place{
		command: func(args ...string) *exec.Cmd { return exec.Command(args[0], args[1:]...) },
		dial:    new(net.Dialer).DialContext,
	}
}

func start(t testing.TB, where place, targets []string) *Server {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(config, []byte(configuration(targets)), 0o644); err != nil {
		t.Fatal(err)
	}
	var err error
	for range attempts {
		// A port that no outgoing connection is given. Who else takes it makes the
		// program end at its start.
		address := fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000))
		var s *Server
		if s, err = startAt(where, address, config, dir); err == nil {
			t.Cleanup(func() {
				if err := s.stop(); err != nil {
					t.Error(err)
				}
			})
			return s
		}
		if !strings.Contains(err.Error(), "address already in use") {
			break
		}
	}
	t.Fatal(fmt.Errorf("prometheus: %w", err))
	return nil
}

func startAt(where place, address, config, dir string) (*Server, error) {
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := where.command("prometheus", "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+address, "--storage.tsdb.retention.time=1h", "--log.level=warn")
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	s := &Server{
		URL: "http://" + address, ended: make(chan struct{}),
		client: &http.Client{Transport: &http.Transport{DialContext: where.dial}, Timeout: startTimeout},
	}
	if s.process, err = startBound(cmd, s.ended); err != nil {
		return nil, fmt.Errorf("%w: run make deps", err)
	}
	if err := s.waitReady(log.Name()); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

// startBound starts cmd as a process that does not outlive this one, and closes
// ended when it has ended. Its parent for the kernel is a thread, which is kept
// until then.
func startBound(cmd *exec.Cmd, ended chan<- struct{}) (*os.Process, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // however it ends: who misses it finds its log
			close(ended)
		}
	}()
	err := <-started
	return cmd.Process, err
}

func (s *Server) waitReady(log string) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for {
		_, err := s.get(ctx, "/-/ready", nil)
		select {
		case <-s.ended:
			// Before err is looked at: another server may have answered at its port.
			words, _ := os.ReadFile(log)
			return fmt.Errorf("ended at its start: %s", strings.TrimSpace(string(words)))
		default:
		}
		if err == nil {
			return nil
		}
		select {
		case <-s.ended:
		case <-ctx.Done():
			return fmt.Errorf("is not ready: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// stop ends the process at once: its data goes with the test.
func (s *Server) stop() error {
	s.client.CloseIdleConnections()
	if err := s.process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-s.ended
	return nil
}

// configuration scrapes each target as a job of its own, so that the paths may
// differ.
func configuration(targets []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "global:\n  scrape_interval: %s\n  scrape_timeout: %s\nscrape_configs:\n", ScrapeInterval, ScrapeInterval)
	for i, target := range targets {
		address, path, found := strings.Cut(strings.TrimPrefix(target, "http://"), "/")
		if !found {
			path = "metrics"
		}
		fmt.Fprintf(&b, "- job_name: retina-%d\n  metrics_path: %q\n  static_configs:\n  - targets: [%q]\n", i, "/"+path, address)
	}
	return b.String()
}
