//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
)

// elsewhere is how long Retina's own command, version 1.2.6, took for a capture
// of 10 s on such a cluster. It is quoted: that program is not run here.
const elsewhere = 60.2

func (b *bench) measureCapture(ctx context.Context) (rows []row, err error) {
	w, err := b.openWorld(ctx, targetYAML())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.close(ctx)) }()
	first := &step{name: "first packet", run: b.firstPacket}
	floor := &step{name: "bare pod and exec", run: b.barePodAndExec}
	whole := &step{name: "10 s capture", run: b.tenSeconds}
	b.say("capture: warming up")
	for _, s := range []*step{first, floor} {
		if _, err := s.run(ctx, w); err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	for round := range b.runs {
		pair := []*step{first, floor}
		if round%2 == 1 {
			slices.Reverse(pair)
		}
		for _, s := range append(pair, whole) {
			if err := errors.Join(w.quiet(ctx), s.measure(ctx, w)); err != nil {
				return nil, fmt.Errorf("%s: %w", s.name, err)
			}
			b.say("capture %d of %d: %s after %.2f s", round+1, b.runs, s.name, s.took[round])
		}
	}
	quoted := sample{elsewhere}
	return []row{
		{
			What: "first packet after the command starts", Unit: "s", Ours: first.took, Against: floor.took, Whose: "bare pod, exec once its status is running",
			Ratio: over(first.took, floor.took), Target: ratioAtMost(1.25),
		},
		{
			What: "10 s capture, command to prompt", Unit: "s", Ours: whole.took, Against: quoted, Whose: "Retina CLI 1.2.6 (quoted)",
			Ratio: over(sample{whole.took.median()}, quoted), Target: atMost(13, "s"),
		},
	}, nil
}

// A step is one of the things that take turns.
type step struct {
	name string
	run  func(context.Context, *world) (time.Duration, error)
	took sample // seconds
}

func (s *step) measure(ctx context.Context, w *world) error {
	took, err := s.run(ctx, w)
	s.took = append(s.took, took.Seconds())
	return err
}

// capture returns a command that captures the target pod.
func (b *bench) capture(ctx context.Context, w *world, args ...string) *exec.Cmd {
	argv := []string{
		b.path("bin/kubectl-retina"), "capture", "create", "pod/" + targetPod, "-n", w.namespace,
		"--collector-namespace", w.namespace, "--quiet",
	}
	cmd := tame(w.Command(ctx, append(argv, args...)...))
	cmd.Stderr = os.Stderr
	return cmd
}

// firstPacket is how long a capture takes to write its first packet.
func (b *bench) firstPacket(ctx context.Context, w *world) (time.Duration, error) {
	cmd := b.capture(ctx, w, "--duration", "60s", "--write", "-")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	err = awaitPacket(stdout)
	took := time.Since(start)
	_ = cmd.Process.Signal(os.Interrupt) // it may have ended, which Wait tells
	_, readErr := io.Copy(io.Discard, stdout)
	waitErr := cmd.Wait()
	if err == nil && cmd.ProcessState.ExitCode() == 130 {
		waitErr = nil // interrupted, as it should be
	}
	return took, errors.Join(err, readErr, waitErr)
}

func awaitPacket(stdout io.Reader) error {
	blocks := pcapng.NewReader(bufio.NewReader(stdout))
	for {
		block, err := blocks.Next()
		if err != nil {
			return fmt.Errorf("before the first packet: %w", err)
		}
		if block.Type() == pcapng.TypePacket {
			return nil
		}
	}
}

// barePodAndExec is how long the floor takes.
func (b *bench) barePodAndExec(ctx context.Context, w *world) (time.Duration, error) {
	argv, err := self(floorCommand, w.namespace, targetNode)
	if err != nil {
		return 0, err
	}
	cmd := tame(w.Command(ctx, argv...))
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	took := time.Since(start)
	if err == nil && line != executed+"\n" {
		err = fmt.Errorf("it said %q", line)
	}
	return took, errors.Join(err, cmd.Wait())
}

// tenSeconds is how long a capture of 10 s takes, with its file.
func (b *bench) tenSeconds(ctx context.Context, w *world) (time.Duration, error) {
	file := filepath.Join(b.dir, "capture.pcapng")
	defer os.Remove(file)
	start := time.Now()
	if err := b.capture(ctx, w, "--duration", "10s", "--write", file).Run(); err != nil {
		return 0, err
	}
	took := time.Since(start)
	stored, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer stored.Close()
	return took, awaitPacket(stored)
}
