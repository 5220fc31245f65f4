package cli

import (
	"encoding/json"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/yaml"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/version"
)

// versionOutput is what version prints with -o json and -o yaml.
type versionOutput struct {
	version.Info
	Platform       string `json:"platform"`       // "linux/amd64"
	CollectorImage string `json:"collectorImage"` // the default of --image
}

const platform = runtime.GOOS + "/" + runtime.GOARCH

// versionLine is the whole of --version, and the first line of version.
func versionLine(v version.Info) string {
	return fmt.Sprintf("kubectl-retina %s (commit %s, %s, %s)", v.Version, v.Commit, v.GoVersion, platform)
}

func newVersion(streams genericiooptions.IOStreams) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version of this program and of its collector image",
		Args:    noArgs,
		Example: "  kubectl retina version -o json",
		RunE: func(*cobra.Command, []string) error {
			v := versionOutput{version.Get(), platform, version.CollectorImage()}
			var text []byte
			var err error
			switch format {
			case "":
				_, err = fmt.Fprintf(streams.Out, "%s\ncollector image %s\n", versionLine(v.Info), v.CollectorImage)
				return err
			case "json":
				text, err = json.MarshalIndent(v, "", "  ")
				text = append(text, '\n')
			case "yaml":
				text, err = yaml.Marshal(v)
			default:
				return exit.Usagef("-o %q is not one of json, yaml", format)
			}
			if err == nil {
				_, err = streams.Out.Write(text)
			}
			return err
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", "", "json or yaml")
	return cmd
}

// noArgs refuses arguments as a mistake of the command line.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return exit.Usagef("%s takes no arguments, got %q", cmd.CommandPath(), args[0])
	}
	return nil
}
