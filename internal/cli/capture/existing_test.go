package capture

import (
	"github.com/spf13/cobra"
)

// runOf runs a command with arguments, as far as that goes without a cluster.
func runOf(cmd *cobra.Command) func([]string) error {
	return func(args []string) error {
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		cmd.SetArgs(append([]string{}, args...))
		return cmd.Execute()
	}
}
