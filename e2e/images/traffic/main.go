//go:build linux

// Program traffic is the client and the server whose packets the demo and the
// e2e tests capture: it is chatty in ways that can be counted.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{
		Use:           "traffic",
		Short:         "Send and receive packets that can be counted",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(newServeCommand(), newUDPSendCommand(), newHTTPGetCommand(), newTCPEchoCommand(), newTCPConnectCommand())
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}
