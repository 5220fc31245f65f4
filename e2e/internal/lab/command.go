//go:build linux

package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Argv returns the command line that runs args in the network namespace of the
// control plane, the only place where the API server and pod addresses answer.
// It is to be run with the variables of Environment.
func (c *Cluster) Argv(args ...string) []string {
	prefix := []string{"nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", c.ControlPlane.Init.PID), "--"}
	return append(prefix, args...)
}

// NodeArgv returns the command line that runs args in all namespaces of node m.
// Args end when the command line's own process is killed.
func NodeArgv(m Machine, args ...string) []string {
	prefix := []string{
		"nsenter", fmt.Sprintf("--target=%d", m.Init.PID), "--net", "--mount", "--pid", "--uts", "--",
		"setpriv", "--pdeathsig", "KILL", "--",
	}
	return append(prefix, args...)
}

// Environment returns env with KUBECONFIG set to c, with the cluster's programs
// (kubectl) first in PATH, and with kubectl's discovery cache inside the state,
// so that it ends with the cluster.
func (c *Cluster) Environment(env []string) []string {
	ours := map[string]string{
		"PATH":         c.Bin,
		"KUBECONFIG":   c.Kubeconfig(),
		"KUBECACHEDIR": filepath.Join(c.State, "kubectl-cache"),
	}
	var out []string
	for _, entry := range env {
		name, value, _ := strings.Cut(entry, "=")
		if name == "PATH" && value != "" {
			ours["PATH"] = c.Bin + ":" + value
		}
		if _, ok := ours[name]; !ok {
			out = append(out, entry)
		}
	}
	for name, value := range ours {
		out = append(out, name+"="+value)
	}
	return out
}

// Command returns a command that runs args where the API server answers, with
// KUBECONFIG set. Args take the place of nsenter: signals reach them.
func (c *Cluster) Command(ctx context.Context, args ...string) *exec.Cmd {
	argv := c.Argv(args...)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = c.Environment(os.Environ())
	return cmd
}

// NodeCommand returns a command that runs args on the node called name, as
// root, in the node's file system, with / as working directory.
func (c *Cluster) NodeCommand(ctx context.Context, name string, args ...string) (*exec.Cmd, error) {
	m, err := c.Node(name)
	if err != nil {
		return nil, err
	}
	argv := NodeArgv(m, args...)
	return exec.CommandContext(ctx, argv[0], argv[1:]...), nil
}
