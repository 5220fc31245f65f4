// Command kubectl-retina is the kubectl plugin: kubectl retina.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-retina/kubectl-retina/internal/cli"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
)

func main() {
	// A reader that closes our output is an error of a write, not our end:
	// there are collectors to stop.
	signal.Ignore(syscall.SIGPIPE)
	ctx, interrupt := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		<-signals
		interrupt()
		// The second time the user does not want to wait: the nodes clean up.
		<-signals
		os.Exit(exit.Interrupted)
	}()
	os.Exit(cli.Run(ctx, os.Args[1:], genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}))
}
