//go:build linux

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/kubectl-retina/kubectl-retina/e2e/kernels/plan"
	"github.com/kubectl-retina/kubectl-retina/e2e/kernels/verdict"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

const (
	emulator = "qemu-system-x86_64"
	// memory of a machine in MiB: the initramfs is in it twice while it is unpacked.
	memory = 2048
)

// boot runs one machine until it is done, and calls each with what it says. What
// its kernel and tests print goes to the file console.
func boot(ctx context.Context, k kernel, image, console, mark string, each func(verdict.Message)) error {
	path, err := exec.LookPath(emulator)
	if err != nil {
		return hint.Wrap(err, needed)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// Emulated, so that it runs everywhere, itself virtual machines included. No
	// network card: nothing leaves the machine.
	//
	// The machine's time goes by its instructions, a nanosecond for each, and not while
	// it sleeps: tests that wait see no difference between a busy host and an idle one.
	cmd := exec.CommandContext(ctx, "nice", "-n", "19", path,
		"-accel", "tcg", "-icount", "shift=0,sleep=off", "-rtc", "clock=vm", "-smp", "1,maxcpus=2", "-m", fmt.Sprint(memory), "-display", "none", "-nodefaults", "-no-reboot",
		"-serial", "file:"+console, "-serial", "stdio", "-kernel", k.image, "-initrd", image,
		"-append", "console=ttyS0 quiet panic=-1 mitigations=off rcupdate.rcu_expedited=1")
	says, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	err = verdict.Read(says, mark, each)
	if err != nil {
		cancel() // it may run on, unheard
	}
	if e := cmd.Wait(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("Linux %s: %w (its console: %s)", k.version, err, console)
	}
	return nil
}

// test boots a kernel and collects what it shows.
func test(ctx context.Context, k kernel, b *built, p plan.Plan, dir string, progress func(verdict.Message)) (*outcome, error) {
	work, err := os.MkdirTemp("", "kernels")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	p.Mark = rand.Text()
	image := filepath.Join(work, "initramfs")
	if err := b.image(ctx, k, p, image); err != nil {
		return nil, fmt.Errorf("initramfs for Linux %s: %w", k.version, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	o := newOutcome(k)
	err = boot(ctx, k, image, filepath.Join(dir, k.name+".log"), p.Mark, func(m verdict.Message) {
		o.add(m)
		progress(m)
	})
	if err == nil {
		err = o.complete(p)
	}
	if errors.Is(err, verdict.ErrCut) && ctx.Err() != nil {
		err = ctx.Err()
	}
	return o, err
}
