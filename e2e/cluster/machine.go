//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/kubectl-retina/kubectl-retina/e2e/internal/lab"
)

// initCommand is the hidden command with which this program starts itself as
// PID 1 of a machine.
const initCommand = "machine-init"

// machineSpec tells a machine's PID 1 what to be. It is written as JSON.
type machineSpec struct {
	Name     string            `json:"name"`
	State    string            `json:"state"`
	Dir      string            `json:"dir"` // the machine's own part of State: logs, data, configuration
	Bin      string            `json:"bin"`
	Node     *nodeSpec         `json:"node,omitempty"`
	Services []service         `json:"services"`
	Sysctls  map[string]string `json:"sysctls"` // below net: of the machine's network namespace
}

// nodeSpec is what a node has and the control plane has not: a file system of
// its own.
type nodeSpec struct {
	Binds map[string]string `json:"binds"` // path on the node -> directory of the host that is there
	Files map[string]string `json:"files"` // path on the node -> content
}

// starter is a machine whose PID 1 waits to be told that its network is there.
type starter struct {
	lab.Machine
	ready *os.File
}

// startMachine starts PID 1 of machine number i in new namespaces. It goes on
// when begin is called, and ends if this process ends before that.
func (p plan) startMachine(i int, spec machineSpec) (*starter, error) {
	path := filepath.Join(spec.Dir, "machine.json")
	data, err := json.MarshalIndent(spec, "", "  ")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(spec.Dir, "init.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	wait, ready, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer wait.Close()
	cmd := exec.Command("/proc/self/exe", initCommand, path)
	cmd.Env = append(os.Environ(), p.Marker())
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{wait}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true,
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS,
	}
	if err := cmd.Start(); err != nil {
		ready.Close()
		return nil, fmt.Errorf("%s: new namespaces: %w", spec.Name, err)
	}
	process, err := lab.Inspect(cmd.Process.Pid)
	if err != nil {
		ready.Close()
		return nil, err
	}
	a := addressesOf(i)
	return &starter{
		Machine: lab.Machine{Name: spec.Name, Init: process, IPv4: a.ipv4.Addr(), IPv6: a.ipv6.Addr()},
		ready:   ready,
	}, nil
}

// begin lets the machine go on.
func (s *starter) begin() error {
	if _, err := s.ready.Write([]byte{1}); err != nil {
		return fmt.Errorf("%s: %w", s.Name, err)
	}
	return s.ready.Close()
}

// machineSpecs returns the control plane and the nodes, in the order of their
// numbers, and makes their directories.
func (p plan) machineSpecs() ([]machineSpec, error) {
	dir := p.MachineDir(controlPlane)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if err := renderTo(filepath.Join(dir, "audit.yaml"), "audit.yaml", nil); err != nil {
		return nil, err
	}
	specs := []machineSpec{{
		Name: controlPlane, State: p.State, Dir: dir, Bin: p.bin(),
		Services: p.controlPlaneServices(dir),
		Sysctls:  map[string]string{"ipv6/conf/default/accept_dad": "0"},
	}}
	for i, node := range p.nodes {
		spec, err := p.nodeSpec(i + 1)
		if err != nil {
			return nil, fmt.Errorf("node %s: %w", node, err)
		}
		specs = append(specs, spec)
	}
	return specs, nil
}

// nodeSpec returns the machine that is node number i (from 1).
func (p plan) nodeSpec(i int) (machineSpec, error) {
	node := p.nodes[i-1]
	dir := p.MachineDir(node)
	if err := p.writeNodeConfiguration(i); err != nil {
		return machineSpec{}, err
	}
	binds := map[string]string{
		"/etc/cni":            "cni",
		"/var/lib/cni":        "cni-state",
		"/var/lib/containerd": "containerd",
		"/var/lib/kubelet":    "kubelet",
		"/var/log/containers": "log/containers",
		"/var/log/pods":       "log/pods",
	}
	for at, name := range binds {
		binds[at] = filepath.Join(dir, name)
		if err := os.MkdirAll(binds[at], 0o755); err != nil {
			return machineSpec{}, err
		}
	}
	return machineSpec{
		Name: node, State: p.State, Dir: dir, Bin: p.bin(),
		Node:     &nodeSpec{Binds: binds, Files: p.nodeFiles(node)},
		Services: p.nodeServices(i, dir),
		Sysctls: map[string]string{
			"bridge/bridge-nf-call-iptables":  "1", // services between pods of one bridge
			"bridge/bridge-nf-call-ip6tables": "1",
			"ipv4/ip_forward":                 "1",
			"ipv6/conf/all/forwarding":        "1",
			"ipv6/conf/default/accept_dad":    "0", // addresses are usable at once
		},
	}, nil
}

// nodeFiles returns the files that tell a node from its host.
func (p plan) nodeFiles(node string) map[string]string {
	hosts := "127.0.0.1 localhost\n::1 localhost\n"
	for i, name := range p.nodes {
		a := addressesOf(i + 1)
		hosts += fmt.Sprintf("%s %s\n%s %s\n", a.ipv4.Addr(), name, a.ipv6.Addr(), name)
	}
	return map[string]string{
		"/etc/hostname":    node + "\n",
		"/etc/hosts":       hosts,
		"/etc/machine-id":  machineID(p.State, node) + "\n",
		"/etc/resolv.conf": "nameserver " + dns4 + "\n",
	}
}
