//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/kubectl-retina/kubectl-retina/e2e/internal/lab"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

const (
	upTimeout     = 3 * time.Minute  // for a cluster to start, its programs built
	reviveTimeout = 40 * time.Second // for a running one whose nodes were stopped
)

// up brings the cluster up: it leaves a healthy one alone, repairs what tests
// do to nodes, and replaces anything else by a new cluster. When interrupted it
// leaves nothing.
func up(ctx context.Context, s lab.Settings, nodes int, out io.Writer) error {
	p, err := newPlan(s, nodes)
	if err != nil {
		return err
	}
	if err := errors.Join(needRoot("start the cluster"), checkDependencies()); err != nil {
		return err
	}
	release, err := claimState(ctx, s.State, func() { fmt.Fprintln(out, "waiting for another up or down") })
	if err != nil {
		return err
	}
	defer release()
	if c, err := lab.Open(s); err == nil && c.Complete {
		if len(c.Nodes) != nodes {
			return hint.Wrap(fmt.Errorf("the cluster is up with %d nodes, not %d", len(c.Nodes), nodes),
				"end it first with: go run ./e2e/cluster down")
		}
		// What was added to the programs since the cluster was started.
		if err := p.ensurePrograms(ctx, out); err != nil {
			return err
		}
		err := revive(ctx, c)
		if err == nil {
			fmt.Fprintln(out, "the cluster is already up")
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		fmt.Fprintf(out, "the cluster is up but not healthy (%v); starting a new one\n", err)
	}
	if err := sweep(ctx, s); err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	err = p.ensurePrograms(ctx, out)
	if err == nil {
		err = p.start(ctx, out)
	}
	if ctx.Err() != nil { // whatever else failed because of it
		return errors.Join(ctx.Err(), wipe(ctx, s))
	}
	return err
}

// revive undoes what tests may have left of their failures and waits until c
// is healthy.
func revive(ctx context.Context, c *lab.Cluster) error {
	ctx, cancel := context.WithTimeout(ctx, reviveTimeout)
	defer cancel()
	for _, node := range c.Nodes {
		if err := errors.Join(c.StartKubelet(ctx, node.Name), c.Reconnect(ctx, node.Name)); err != nil {
			return err
		}
	}
	return waitHealthy(ctx, c)
}

// start starts a new cluster where nothing is. If it fails it leaves
// everything, for its logs.
func (p plan) start(ctx context.Context, out io.Writer) error {
	begin := time.Now()
	fmt.Fprintf(out, "starting Kubernetes %s with %d nodes\n", kubernetesVersion, len(p.nodes))
	limited, cancel := context.WithTimeout(ctx, upTimeout)
	defer cancel()
	c, err := p.startMachines()
	if err == nil {
		err = p.fill(limited, c)
	}
	if err == nil {
		c.Complete = true
		err = c.Save()
	}
	if err != nil {
		return hint.Wrap(err, fmt.Sprintf("the logs are in %s/*/*.log", p.State))
	}
	fmt.Fprintf(out, "ready in %.1f s\n", time.Since(begin).Seconds())
	return nil
}

// startMachines starts the control plane and the nodes, connects them, and
// writes down what runs.
func (p plan) startMachines() (*lab.Cluster, error) {
	if err := prepareKernel(); err != nil {
		return nil, err
	}
	if err := p.writeCredentials(); err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	if err := makeCgroups(p.cgroup(), p.nodes); err != nil {
		return nil, err
	}
	specs, err := p.machineSpecs()
	if err != nil {
		return nil, err
	}
	var started []*starter
	for i, spec := range specs {
		m, err := p.startMachine(i, spec)
		if err != nil {
			return nil, err
		}
		started = append(started, m)
	}
	if err := connect(started); err != nil {
		return nil, err
	}
	c := &lab.Cluster{State: p.State, Bin: p.bin(), ControlPlane: started[0].Machine}
	for _, m := range started[1:] {
		c.Nodes = append(c.Nodes, m.Machine)
	}
	for _, m := range started {
		if err := m.begin(); err != nil {
			return nil, err
		}
	}
	return c, c.Save()
}

// prepareKernel loads the modules that the cluster needs, which on many
// machines are part of the kernel or loaded already.
func prepareKernel() error {
	// What modprobe says is of no interest if the effect is there.
	_ = exec.Command("modprobe", "--all", "--quiet", "overlay", "br_netfilter").Run()
	if _, err := os.Stat("/proc/sys/net/bridge/bridge-nf-call-iptables"); err != nil {
		return fmt.Errorf("kernel without br_netfilter: %w", err)
	}
	return nil
}

// fill gives the started machines their images and what runs in the cluster,
// and waits until all of it is ready.
func (p plan) fill(ctx context.Context, c *lab.Cluster) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go watchMachines(ctx, c, stop)
	provided := make(chan error, 1)
	go func() { provided <- p.provideImages(ctx, c) }()
	err := p.introduceNodes(ctx, c)
	if err != nil {
		stop(err)
	}
	err = errors.Join(err, <-provided)
	if err == nil {
		err = p.deploy(ctx, c)
	}
	if err == nil {
		err = waitHealthy(ctx, c)
	}
	if died := context.Cause(ctx); err != nil && errors.Is(died, errMachineDied) {
		return died
	}
	return err
}

var errMachineDied = errors.New("a machine died")

// provideImages builds the images that every node has and imports them.
func (p plan) provideImages(ctx context.Context, c *lab.Cluster) error {
	archive := filepath.Join(p.State, "images.tar")
	if err := p.writeImages(ctx, archive); err != nil {
		return err
	}
	if err := waitContainerd(ctx, c); err != nil {
		return err
	}
	return errors.Join(c.Load(ctx, archive), os.Remove(archive))
}

// watchMachines stops the start as soon as a machine dies, and tells its last words.
func watchMachines(ctx context.Context, c *lab.Cluster, stop context.CancelCauseFunc) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		for _, m := range c.Machines() {
			if !m.Init.Alive() {
				words, _ := os.ReadFile(filepath.Join(c.State, m.Name, "init.log"))
				stop(fmt.Errorf("%w: %s: %s", errMachineDied, m.Name, lastLines(string(words), 3)))
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// kubectl runs kubectl as the administrator and returns its standard output.
func kubectl(ctx context.Context, c *lab.Cluster, stdin string, args ...string) (string, error) {
	var stderr strings.Builder
	cmd := c.Command(ctx, append([]string{"kubectl"}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	switch {
	case err == nil:
		return string(out), nil
	case ctx.Err() != nil:
		err = ctx.Err()
	default:
		err = fmt.Errorf("%w: %s", err, lastLines(stderr.String(), 3))
	}
	return "", fmt.Errorf("kubectl %s: %w", strings.Join(args, " "), err)
}
