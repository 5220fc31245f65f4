//go:build linux

// Package lab is the handle on the e2e cluster that e2e/cluster starts: it finds
// the running cluster by its state directory, runs commands on the control
// plane and on nodes, dials the API server, imports images and makes nodes fail.
// It starts nothing itself.
package lab

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

// Settings say where a cluster keeps what it needs. Clusters with different
// State directories do not disturb one another.
type Settings struct {
	State string // configuration, data and logs of the cluster; gone when it ends
	Cache string // built programs; outlives clusters and may be shared by them
}

// FromEnvironment returns the Settings that RETINA_E2E_STATE and
// RETINA_E2E_CACHE ask for, or the defaults. Both paths are absolute.
func FromEnvironment() (Settings, error) {
	s := Settings{
		State: cmp.Or(os.Getenv("RETINA_E2E_STATE"), "/tmp/kubectl-retina-e2e"),
		Cache: cmp.Or(os.Getenv("RETINA_E2E_CACHE"), "/var/cache/kubectl-retina/e2e"),
	}
	var err error
	if s.State, err = filepath.Abs(s.State); err != nil {
		return s, fmt.Errorf("RETINA_E2E_STATE: %w", err)
	}
	if s.Cache, err = filepath.Abs(s.Cache); err != nil {
		return s, fmt.Errorf("RETINA_E2E_CACHE: %w", err)
	}
	return s, nil
}

// Machine is the control plane or one node: a process that is PID 1 of its own
// network, mount, PID and UTS namespaces, with everything else below it.
type Machine struct {
	Name string     `json:"name"` // "control-plane", or the name of the node: "n1", "n2", …
	Init Process    `json:"init"` // PID 1 of the machine, as the host sees it
	IPv4 netip.Addr `json:"ipv4"`
	IPv6 netip.Addr `json:"ipv6"`
}

// Cluster is what is written down about a started cluster. It is safe for
// concurrent use, as nothing changes it.
type Cluster struct {
	State        string    `json:"state"`
	Bin          string    `json:"bin"` // directory of kubectl and the other built programs
	ControlPlane Machine   `json:"controlPlane"`
	Nodes        []Machine `json:"nodes"`
	Complete     bool      `json:"complete"` // its start was not cut short
}

// ErrNotRunning means that no cluster with all its machines runs.
var ErrNotRunning = errors.New("e2e cluster is not running")

// Open returns the cluster that runs in s.State. The error is ErrNotRunning
// when there is none or when one of its machines has died. Open does not ask
// whether Kubernetes is healthy.
func Open(s Settings) (*Cluster, error) {
	notRunning := func(why string) error {
		return hint.Wrap(fmt.Errorf("%w: %s", ErrNotRunning, why), "start it with: make cluster")
	}
	data, err := os.ReadFile(recordPath(s.State))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, notRunning("no cluster in " + s.State)
	}
	if err != nil {
		return nil, fmt.Errorf("e2e cluster: %w", err)
	}
	c := new(Cluster)
	if err := json.Unmarshal(data, c); err != nil {
		return nil, fmt.Errorf("e2e cluster: %s: %w", recordPath(s.State), err)
	}
	for _, m := range c.Machines() {
		if !m.Init.Alive() {
			return nil, notRunning(m.Name + " has died")
		}
	}
	return c, nil
}

// Save writes down c, for Open to find. The file appears whole or not at all.
func (c *Cluster) Save() error {
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	temporary := recordPath(c.State) + ".new"
	if err := os.WriteFile(temporary, append(data, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, recordPath(c.State))
}

// Machines returns the control plane and then the nodes.
func (c *Cluster) Machines() []Machine {
	return append([]Machine{c.ControlPlane}, c.Nodes...)
}

// Kubeconfig returns the path of the administrator's kubeconfig. Its server
// answers in the network namespace of the control plane only.
func (c *Cluster) Kubeconfig() string { return filepath.Join(c.State, "admin.conf") }

// Node returns the node called name.
func (c *Cluster) Node(name string) (Machine, error) {
	for _, m := range c.Nodes {
		if m.Name == name {
			return m, nil
		}
	}
	return Machine{}, hint.Wrap(fmt.Errorf("node %q is not in the e2e cluster", name),
		fmt.Sprintf("nodes are called n1 to n%d", len(c.Nodes)))
}

// MachineDir returns the directory with the data and the logs of the machine called name.
func (s Settings) MachineDir(name string) string { return filepath.Join(s.State, name) }

// AuditLog returns the path of the API server's record of what service accounts have
// asked for, one audit event in JSON a line. Those of kube-system are not in it.
func (s Settings) AuditLog() string { return filepath.Join(s.State, "audit.log") }

// AuditLog is that of Settings.
func (c *Cluster) AuditLog() string { return Settings{State: c.State}.AuditLog() }

func recordPath(state string) string { return filepath.Join(state, "cluster.json") }
