//go:build linux

// Command retina-collector is the only file of the collector's image. It is
// started by kubectl retina and of no use without it.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/kubectl-retina/kubectl-retina/internal/collector"
	"github.com/kubectl-retina/kubectl-retina/internal/version"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

const usage = `retina-collector is started on nodes by "kubectl retina".

  retina-collector hold      wait until the sessions in this container have ended
  retina-collector run       one session: a spec on stdin, frames on stdout
  retina-collector keep      capture into files, store them, keep what is not stored
  retina-collector attach    talk to the keeper of this container by stdin and stdout
  retina-collector copy PATH              copy this program, for a shell's container
  retina-collector enter UID|node [CMD]   a shell in the network of a pod, or of the node
  retina-collector version   print the version`

// terminationLog is where Kubernetes reads a container's last words.
const terminationLog = "/dev/termination-log"

// keepMemory is what Go's garbage collector tries to stay below, in bytes: the
// container's memory is limited, and the ring buffer and the node's tools need some.
const keepMemory = 80 << 20

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "retina-collector:", err)
		stop()
		os.Exit(collector.ExitCode(err))
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) >= 2 {
		return runShell(args[0], args[1:])
	}
	if len(args) == 1 && args[0] == "inside" {
		return collector.Inside(nil)
	}
	if len(args) != 1 {
		return fmt.Errorf("one argument is needed\n\n%s", usage)
	}
	switch args[0] {
	case "hold":
		return collector.Hold(ctx)
	case "run":
		if err := collector.EnterSession(); err != nil {
			return err
		}
		return collector.Run(ctx, os.Stdin, os.Stdout)
	case "keep":
		debug.SetMemoryLimit(keepMemory)
		return collector.Keep(ctx, collector.KeepOptions{
			Socket: collector.Socket, Staging: wire.StagingDirectory, Termination: terminationLog,
			Log: slog.New(slog.NewTextHandler(os.Stdout, nil)),
		})
	case "attach":
		return collector.Attach(ctx, collector.Socket, os.Stdin, os.Stdout)
	case "version":
		fmt.Println(version.Get().Version)
		return nil
	}
	return fmt.Errorf("unknown argument %q\n\n%s", args[0], usage)
}

// runShell does what a shell's pod needs. It does not return when the shell has
// ended with an exit code: that is its own.
func runShell(what string, args []string) error {
	switch what {
	case "copy":
		return collector.Copy(args[0])
	case "inside":
		return collector.Inside(args)
	case "enter":
		code, err := collector.Enter(args[0], args[1:])
		if err == nil {
			os.Exit(code)
		}
		return err
	}
	return fmt.Errorf("unknown argument %q\n\n%s", what, usage)
}
