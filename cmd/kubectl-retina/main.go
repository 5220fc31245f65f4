// Command kubectl-retina is the kubectl plugin: kubectl retina.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-retina/kubectl-retina/internal/cli"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
)

// sameSignal is how soon after the first a second signal is the same one: a
// terminal and timeout(1) both send theirs to a process and to its group.
const sameSignal = 300 * time.Millisecond

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
		first := time.Now()
		// The second time the user does not want to wait: the nodes clean up.
		for range signals {
			if time.Since(first) > sameSignal {
				os.Exit(exit.Interrupted)
			}
		}
	}()
	os.Exit(cli.Run(ctx, os.Args[1:], genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}))
}
