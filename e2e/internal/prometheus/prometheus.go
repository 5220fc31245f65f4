//go:build linux

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
	"strings"
	"testing"
	"time"

	"github.com/kubectl-retina/kubectl-retina/e2e/internal/background"
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
	process *background.Process
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
	cmd := where.command("prometheus", "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+address, "--storage.tsdb.retention.time=1h", "--log.level=warn")
	cmd.Dir = dir
	s := &Server{
		URL:    "http://" + address,
		client: &http.Client{Transport: &http.Transport{DialContext: where.dial}, Timeout: startTimeout},
	}
	var err error
	if s.process, err = background.Start(cmd, filepath.Join(dir, "log")); err != nil {
		return nil, fmt.Errorf("%w: run make deps", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	err = s.process.Await(ctx, func(ctx context.Context) error {
		_, err := s.get(ctx, "/-/ready", nil)
		return err
	})
	if err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

// stop ends the process at once: its data goes with the test.
func (s *Server) stop() error {
	s.client.CloseIdleConnections()
	return s.process.Stop()
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
