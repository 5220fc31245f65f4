//go:build linux

// Program cluster starts, uses and ends a real Kubernetes cluster on this
// machine, for the e2e tests, the demo and the benchmarks: etcd, API server,
// controller manager and scheduler, and nodes with containerd, kubelet and
// kube-proxy. The control plane and every node have network, mount, PID and
// UTS namespaces of their own, whose first process is this program again.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	// Not every root has the directories of administration in its path.
	if err := os.Setenv("PATH", os.Getenv("PATH")+":/usr/local/sbin:/usr/sbin:/sbin"); err != nil {
		fmt.Fprintln(stderr, "error:", err)
		return 1
	}
	if len(args) == 2 && args[0] == initCommand {
		err := runMachine(ctx, args[1], stderr)
		fmt.Fprintln(stderr, "error:", err)
		return 1
	}
	root := newRootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if errors.Is(err, context.Canceled) {
		fmt.Fprintln(stderr, "interrupted")
		return 130
	}
	if err != nil {
		fmt.Fprintln(stderr, "error:", err)
		if text := hint.Of(err); text != "" {
			fmt.Fprintln(stderr, "hint:", text)
		}
		return 1
	}
	return 0
}
