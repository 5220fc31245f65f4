//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// StopFile returns the path of the file that keeps a service of a machine from
// being started again. The machine's supervisor looks for it.
func StopFile(machineDir, service string) string {
	return filepath.Join(machineDir, service+".stopped")
}

// StopKubelet ends the kubelet of the node called name and keeps it from coming
// back. Its containers run on; after the node monitor's grace period the API
// server reports the node as not ready. Stopping twice is no error.
func (c *Cluster) StopKubelet(ctx context.Context, name string) error {
	m, err := c.Node(name)
	if err != nil {
		return err
	}
	if err := os.WriteFile(c.stopFile(m), nil, 0o600); err != nil {
		return err
	}
	kubelets, err := m.programs("kubelet")
	if err != nil {
		return err
	}
	for _, p := range kubelets {
		if err := p.end(ctx); err != nil {
			return fmt.Errorf("kubelet of node %s: %w", name, err)
		}
	}
	return nil
}

// end asks p to end and, if it does not within two seconds, kills it.
func (p Process) end(ctx context.Context) error {
	patience, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := p.Kill(patience, unix.SIGTERM); err == nil {
		return nil
	}
	return p.Kill(ctx, unix.SIGKILL)
}

// StartKubelet undoes StopKubelet and waits until the kubelet runs; the node
// becomes ready some seconds later.
func (c *Cluster) StartKubelet(ctx context.Context, name string) error {
	m, err := c.Node(name)
	if err != nil {
		return err
	}
	if err := os.Remove(c.stopFile(m)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err = waitUntil(ctx, func() (bool, error) {
		kubelets, err := m.programs("kubelet")
		return len(kubelets) > 0, err
	})
	if err != nil {
		return fmt.Errorf("kubelet of node %s does not start: %w", name, err)
	}
	return nil
}

func (c *Cluster) stopFile(m Machine) string {
	return StopFile(Settings{State: c.State}.MachineDir(m.Name), "kubelet")
}

// Disconnect cuts the network of the node called name, as pulling its cable
// would: connections to it hang, and it becomes not ready. Its pods run on.
func (c *Cluster) Disconnect(ctx context.Context, name string) error {
	return c.setCable(ctx, name, "down")
}

// Reconnect undoes Disconnect.
func (c *Cluster) Reconnect(ctx context.Context, name string) error {
	return c.setCable(ctx, name, "up")
}

// setCable acts on the switch's end of the node's cable, so that the node's own
// addresses and routes stay.
func (c *Cluster) setCable(ctx context.Context, name, state string) error {
	m, err := c.Node(name)
	if err != nil {
		return err
	}
	out, err := c.Command(ctx, "ip", "link", "set", "dev", m.Name, state).CombinedOutput()
	if err != nil {
		return fmt.Errorf("cable of node %s: %w: %s", name, err, strings.TrimSpace(string(out)))
	}
	return nil
}
