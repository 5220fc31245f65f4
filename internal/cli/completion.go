package cli

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-retina/kubectl-retina/internal/completion"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

const completionLong = `Let the shell complete kubectl retina.

kubectl (from 1.26) completes the words after "kubectl retina" by a program called
kubectl_complete-retina in the PATH: commands, flags, and the cluster's namespaces,
nodes and targets. "completion install" writes that program, which only calls this
one, beside kubectl-retina. To undo it, delete the file.

kubectl's own completion has to be on: see kubectl completion --help.`

// newCompletion takes the place of cobra's command: its scripts complete
// "kubectl-retina", which nobody types.
func newCompletion(streams genericiooptions.IOStreams) *cobra.Command {
	cmd := group(&cobra.Command{Use: "completion", Short: "Let the shell complete kubectl retina", Long: completionLong})
	var dir string
	install := &cobra.Command{
		Use:     "install",
		Short:   "Write kubectl_complete-retina into the PATH",
		Long:    completionLong,
		Args:    noArgs,
		Example: "  kubectl retina completion install",
		RunE: func(*cobra.Command, []string) error {
			if dir == "" {
				// As it was found, not where a link leads: krew's store is not in the PATH.
				path, err := exec.LookPath("kubectl-retina")
				if err != nil {
					return hint.Wrap(fmt.Errorf("kubectl-retina is not in the PATH: %w", err), "name a directory of the PATH with --dir")
				}
				dir = filepath.Dir(path)
			}
			path, err := completion.For(runtime.GOOS).Install(dir)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(streams.Out, path)
			return err
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	install.Flags().StringVar(&dir, "dir", "", "the directory to write into (default that of kubectl-retina)")
	_ = install.MarkFlagDirname("dir") // the flag exists
	cmd.AddCommand(install)
	return cmd
}
