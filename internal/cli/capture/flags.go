package capture

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kubectl-retina/kubectl-retina/internal/capture"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/selecting"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// addCompletions says what the shell can complete: targets, the values of flags
// that have few, and files for --write only.
func (o *createOptions) addCompletions(cmd *cobra.Command) {
	selecting.Complete(cmd, o.kube)
	cmd.LocalNonPersistentFlags().VisitAll(func(flag *pflag.Flag) {
		complete := cobra.NoFileCompletions
		switch flag.Name {
		case "write":
			return
		case "collector-namespace":
			complete = o.kube.CompleteNamespace
		case "format":
			complete = cobra.FixedCompletions([]cobra.Completion{string(capture.Pcapng), string(capture.Pcap)}, cobra.ShellCompDirectiveNoFileComp)
		case "vantage":
			complete = selecting.CompleteList(string(wire.VantagePod), string(wire.VantageNode))
		case "print":
			complete = cobra.FixedCompletions(liveFormats(), cobra.ShellCompDirectiveNoFileComp)
		case "output":
			complete = cobra.FixedCompletions([]cobra.Completion{"json", "yaml"}, cobra.ShellCompDirectiveNoFileComp)
		}
		_ = cmd.RegisterFlagCompletionFunc(flag.Name, complete) // those that selecting has completed stay
	})
}

// explainFlag says of a flag's value that cannot be read what it should be like,
// where the flag package says which Go function has refused it.
func explainFlag(err error) error {
	var invalid *pflag.InvalidValueError
	if !errors.As(err, &invalid) {
		return err
	}
	flag, value := invalid.GetFlag(), invalid.GetValue()
	var want, advice string
	switch {
	case flag.Value.Type() == "duration":
		want, advice = "a time", "write 10s, 5m or 1h"
	case flag.Name == "max-size":
		want, advice = "a number of MB", "write --max-size "+leadingDigits(value, "10")
	case flag.Value.Type() == "int64":
		want, advice = "a whole number", "write --"+flag.Name+" "+leadingDigits(value, "100")
	default:
		return err
	}
	return hint.Wrap(exit.Usagef("--%s %q is not %s", flag.Name, value, want), advice)
}

// leadingDigits returns the number that text begins with, or else.
func leadingDigits(text, otherwise string) string {
	if rest := strings.TrimLeft(text, "0123456789"); rest != text {
		return text[:len(text)-len(rest)]
	}
	return otherwise
}
