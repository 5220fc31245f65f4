// Package metrics is the `metrics` group of commands: they start collectors that
// measure, follow the targets, and show what is counted.
package metrics

import (
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/kube"
)

// Commands returns the commands of the group.
func Commands(flags *kube.Flags, streams genericiooptions.IOStreams) []*cobra.Command {
	return []*cobra.Command{newSnapshot(flags, streams), newTop(flags, streams), newEvents(flags, streams), newServe(flags, streams)}
}
