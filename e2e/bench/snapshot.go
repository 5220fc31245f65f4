//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/hostns"
	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
)

// A pairWorld is a cluster with a pair of pods on one node, each with a network
// namespace that traffic is made in.
type pairWorld struct {
	*world
	pair *pair
}

// Of the pods of the pair.
const (
	clientPod = "client"
	serverPod = "server"
)

func (b *bench) openPairWorld(ctx context.Context) (*pairWorld, error) {
	w, err := b.openWorld(ctx, idlePodYAML(clientPod)+idlePodYAML(serverPod))
	if err != nil {
		return nil, err
	}
	p := &pairWorld{world: w}
	if err := p.openPair(ctx); err != nil {
		return nil, errors.Join(err, w.close(ctx))
	}
	return p, nil
}

// idlePodYAML describes a pod that waits.
func idlePodYAML(name string) string {
	return fmt.Sprintf(`---
apiVersion: v1
kind: Pod
metadata: {name: %s, labels: {%s: target}}
spec:
  nodeName: %s
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: "localhost/retina-traffic:1", imagePullPolicy: IfNotPresent, args: [serve]}]
`, name, ownLabel, targetNode)
}

// openPair opens the pods' network namespaces, and sockets in them.
func (p *pairWorld) openPair(ctx context.Context) error {
	told, err := p.ask(ctx, "", "get", "pods", "-n", p.namespace, clientPod, serverPod, "-o",
		`jsonpath={range .items[*]}{.metadata.uid} {.status.podIP}{"\n"}{end}`)
	if err != nil {
		return err
	}
	fields := strings.Fields(told) // the pods in the order in which they were asked for
	if len(fields) != 4 {
		return fmt.Errorf("kubectl said %q of %s and %s", told, clientPod, serverPod)
	}
	client, server := fields[0], fields[2]
	address, err := netip.ParseAddr(fields[3])
	if err != nil {
		return err
	}
	found, err := hostns.FindPods("/proc", []string{client, server})
	if err != nil {
		return err
	}
	for _, netns := range found {
		p.ends = append(p.ends, func(context.Context) error { return netns.Close() })
	}
	if len(found) != 2 {
		return fmt.Errorf("%s and %s: %w", clientPod, serverPod, hostns.ErrNoProcess)
	}
	if p.pair, err = newPair(found[client], found[server], address); err == nil {
		p.ends = append(p.ends, func(context.Context) error { return p.pair.close() })
	}
	return err
}

// A snapshot is a running `metrics snapshot` of the pair.
type snapshot struct {
	cmd     *exec.Cmd
	plugins []string
	stdout  bytes.Buffer
	said    chan string // all of standard error, at its end
	began   time.Time   // it counts from then on at the latest
	packets uint64      // of the pair until then
}

// longTime is more than any snapshot here lasts.
const longTime = "10m"

// beginSnapshot returns when the collector is about to count: at the latest when
// pauseTime has passed.
func (b *bench) beginSnapshot(ctx context.Context, w *pairWorld, plugins []string) (*snapshot, error) {
	s := &snapshot{plugins: plugins, said: make(chan string, 1)}
	s.cmd = tame(w.Command(ctx, b.path("bin/kubectl-retina"), "metrics", "snapshot", "pod/"+clientPod, "pod/"+serverPod, "-n", w.namespace,
		"--collector-namespace", w.namespace, "--plugins", strings.Join(plugins, ","), "--duration", longTime, "-o", "json"))
	s.cmd.Stdout = &s.stdout
	stderr, err := s.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	var said strings.Builder
	lines := bufio.NewReader(stderr)
	for !strings.Contains(said.String(), targetNode+": ready in") {
		line, err := lines.ReadString('\n')
		said.WriteString(line)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("metrics snapshot: %s", said.String()), s.cmd.Wait())
		}
	}
	go func() {
		_, _ = io.Copy(&said, lines) // ends when the command does
		s.said <- said.String()
	}()
	s.began, s.packets = time.Now().Add(pauseTime), w.pair.packets
	return s, nil
}

// end implements looker.
func (s *snapshot) end(_ context.Context, w *pairWorld) error {
	// When it has ended, its code and its words tell why.
	_ = s.cmd.Process.Signal(os.Interrupt)
	said := <-s.said
	err := s.cmd.Wait()
	const interrupted = 130 // as it should be
	if s.cmd.ProcessState.ExitCode() != interrupted {
		return fmt.Errorf("metrics snapshot: %w: %s", err, said)
	}
	report, err := metrics.Read(&s.stdout)
	if err == nil {
		err = checkReport(report, s.plugins, s.began, w.pair.packets-s.packets)
	}
	if err != nil {
		return fmt.Errorf("metrics snapshot: %w: %s", err, said)
	}
	return nil
}

// checkReport says why r is not one of a collector that ran all of plugins from
// began on and counted as many packets at least. What did not work has cost
// nothing.
func checkReport(r *metrics.Report, plugins []string, began time.Time, packets uint64) error {
	if len(r.Nodes) != 1 || r.Nodes[0].Error != "" {
		return fmt.Errorf("report has nodes %+v, want one without an error", r.Nodes)
	}
	for _, plugin := range plugins {
		if !r.Measured(plugin, "") {
			return fmt.Errorf("plugin %s did not run: %+v", plugin, r.Nodes[0].Unsupported)
		}
	}
	if r.Began.After(began) {
		return fmt.Errorf("it began %s too late", r.Began.Sub(began))
	}
	var forwarded, parsed uint64
	for i := range r.Rows {
		forwarded += r.Rows[i].PacketsIn + r.Rows[i].PacketsOut
	}
	for i := range r.Flows {
		parsed += r.Flows[i].PacketsIn + r.Flows[i].PacketsOut
	}
	switch {
	case slices.Contains(plugins, metrics.PluginForward) && forwarded < packets:
		return fmt.Errorf("packetforward has %d packets of at least %d", forwarded, packets)
	case slices.Contains(plugins, metrics.PluginFlows) && parsed < packets:
		return fmt.Errorf("packetparser has %d packets of at least %d", parsed, packets)
	}
	return nil
}
