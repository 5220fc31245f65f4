//go:build linux

// Package storage gives the e2e tests the servers that captures are stored on,
// and ways to make them fail: Azurite (Azure Blob Storage) and versitygw (S3) in
// the cluster's network, proxies in front of them that break what passes, and
// volumes of the nodes, also small ones.
//
// The servers have addresses of the control plane: pods, nodes and commands
// that lab.Cluster.Command runs reach them, and a test does with Client.
// Everything ends with the test, also when the test is killed, or at the latest
// with the cluster.
package storage

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kubectl-retina/kubectl-retina/e2e/internal/background"
	"github.com/kubectl-retina/kubectl-retina/e2e/internal/lab"
)

// startTimeout is how long a server may take to answer: node reads thousands of
// files first.
const startTimeout = time.Minute

// Client returns an HTTP client whose connections begin where the cluster's
// servers answer.
func Client(c *lab.Cluster) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: c.Dial, DisableCompression: true}}
}

// server is a program that serves in the network of the control plane.
type server struct {
	address netip.AddrPort
	dir     *scratch
	process *background.Process // nil before it was started
}

// startServer starts the program that argv returns and waits until it answers
// HTTP. Dir is an empty directory for its data.
func startServer(c *lab.Cluster, name string, env []string, argv func(address netip.AddrPort, dir string) ([]string, error)) (*server, error) {
	dir, err := newScratch(c, name)
	if err != nil {
		return nil, err
	}
	s := &server{dir: dir}
	if err := s.start(c, env, argv); err != nil {
		return nil, fmt.Errorf("%s: %w", name, errors.Join(err, s.Stop()))
	}
	return s, nil
}

func (s *server) start(c *lab.Cluster, env []string, argv func(netip.AddrPort, string) ([]string, error)) error {
	var err error
	if s.address, err = freeAddress(c); err != nil {
		return err
	}
	data := filepath.Join(s.dir.path, "data")
	if err := os.Mkdir(data, 0o755); err != nil {
		return err
	}
	args, err := argv(s.address, data)
	if err != nil {
		return err
	}
	cmd := c.Command(context.Background(), args...)
	// With the marker, the end of the cluster is its end too.
	cmd.Env = append(append(cmd.Env, lab.Settings{State: c.State}.Marker()), env...)
	cmd.Dir = data
	if s.process, err = background.Start(cmd, filepath.Join(s.dir.path, "log")); err != nil {
		return err
	}
	return s.waitReady(c)
}

func (s *server) waitReady(c *lab.Cluster) error {
	client := Client(c)
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	return s.process.Await(ctx, func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.address.String()+"/", nil)
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		return response.Body.Close()
	})
}

// Stop ends the server and removes its data. Stopping twice is no error.
func (s *server) Stop() error {
	if s.process != nil {
		if err := s.process.Stop(); err != nil {
			return err
		}
	}
	return s.dir.remove()
}

// PID returns the process of the server, for looking at what it takes.
func (s *server) PID() int { return s.process.PID() }

// scratch is a directory in the state of the cluster. It is locked, so that what
// a killed test left can be told from what is in use.
type scratch struct {
	path string
	lock *os.File
}

// scratchRoot is where the data of servers and volumes is: at the same path on
// all nodes, and gone with the cluster.
func scratchRoot(c *lab.Cluster) string { return filepath.Join(c.State, "storage") }

func newScratch(c *lab.Cluster, name string) (*scratch, error) {
	root := scratchRoot(c)
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, err
	}
	if err := removeLeftovers(root); err != nil {
		return nil, err
	}
	path, err := os.MkdirTemp(root, name+"-*")
	if err != nil {
		return nil, err
	}
	lock, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return &scratch{path, lock}, os.Chmod(path, 0o755)
}

// removeLeftovers removes the directories that no process holds. One that another
// test makes at this moment is safe: it is young.
func removeLeftovers(root string) error {
	entries, err := os.ReadDir(root)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		path := filepath.Join(root, entry.Name())
		if info, err := entry.Info(); err != nil || time.Since(info.ModTime()) < time.Minute {
			continue
		}
		dir, err := os.Open(path)
		if err != nil {
			continue
		}
		if unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			err = os.RemoveAll(path)
		}
		dir.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *scratch) remove() error {
	return errors.Join(os.RemoveAll(s.path), s.lock.Close())
}

// freeAddress returns an address of the control plane on which nothing listens,
// with a port that no outgoing connection is given.
func freeAddress(c *lab.Cluster) (netip.AddrPort, error) {
	l, err := c.Listen(netip.AddrPort{})
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.AddrPortFrom(c.ControlPlane.IPv4, uint16(l.Addr().(*net.TCPAddr).Port)), l.Close()
}
