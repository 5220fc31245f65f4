package metrics

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/kube"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

// command runs one of the group's commands. Without a kubeconfig it gets as far as
// the cluster.
func command(t *testing.T, args ...string) error {
	t.Helper()
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	t.Setenv("HOME", t.TempDir())
	args = append(args, "--server", "http://127.0.0.1:1") // where nobody listens
	streams, _, _, _ := genericiooptions.NewTestIOStreams()
	root := &cobra.Command{SilenceErrors: true, SilenceUsage: true}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return exit.With(exit.Usage, err) })
	flags := kube.NewFlags()
	flags.AddTo(root)
	root.AddCommand(Commands(flags, streams)...)
	root.SetArgs(args)
	root.SetOut(&bytes.Buffer{})
	return root.ExecuteContext(t.Context())
}

func TestWrongCommandLines(t *testing.T) {
	report := filepath.Join(t.TempDir(), "report.json")
	if err := os.WriteFile(report, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"snapshot --plugins dsn":                             `--plugins: there is no plugin "dsn" that measures|they are: packetforward`,
		"snapshot --plugins packets":                         `no plugin "packets" that measures|`,
		"snapshot --duration 1":                              `--duration "1" is not a time|write 10s`,
		"snapshot --duration 1ms":                            "--duration 1ms is not between 200ms and 24h|",
		"snapshot --by pots":                                 `--by "pots" is not one of|they are: pod`,
		"snapshot --sort-by bites":                           "--sort-by:|bytes",
		"snapshot --top -1":                                  "--top -1 is negative|",
		"snapshot --max-nodes x":                             `--max-nodes "x" is not a whole number|`,
		"snapshot --pod-running-timeout -1s":                 "--pod-running-timeout -1s is not between 0 and 24h|",
		"top --once --pod-running-timeout 1":                 `--pod-running-timeout "1" is not a time|write 10s`,
		"snapshot --max-nodes -1":                            "--max-nodes -1 is negative|",
		"snapshot --table-entries 3":                         "--table-entries 3 is not between|",
		"snapshot --hook xdp":                                `--hook "xdp"|`,
		"snapshot -o jsn":                                    `-o "jsn" is not one of|did you mean json?`,
		"snapshot -o junit":                                  "there is no --expect|--expect",
		"snapshot --expect drop==0":                          "--expect:|drops",
		"snapshot --compare absent.json":                     "--compare:|",
		"snapshot --compare " + report:                       "--compare|metrics snapshot -o json",
		"snapshot --compare " + report + " -o csv":           "not as csv|",
		"snapshot pod/a -l b=c":                              "cannot be combined|",
		"snapshot --image A:b:c":                             "is not the name of an image|",
		"top pdos":                                           `unknown view "pdos"|did you mean pods?`,
		"top --sort-by x":                                    "--sort-by:|",
		"top --interval 1ms":                                 "--interval 1ms is not between|",
		"events --kinds drops":                               `there is no kind of event "drops"|did you mean drop?`,
		"events --plugins linuxutil":                         "none of these has events|dropreason",
		"events --kinds dns --plugins dropreason":            "--kinds dns needs the plugin dns, which --plugins leaves out|leave --plugins out",
		"events --kinds drop,reset --plugins DNS,dropreason": "--kinds reset needs the plugin packetparser|",
		"events --rate 0":                                    "--rate 0 is not between|",
		"events -o yaml":                                     `-o "yaml" is not json|`,
		"serve --listen 10093":                               `--listen "10093" is not an address and a port|127.0.0.1:10093`,
		"serve --listen 127.0.0.1:http-nonsense":             "is not an address and a port|",
		"serve --max-series -1":                              "--max-series -1 is negative|",
	} {
		t.Run(line, func(t *testing.T) {
			err := command(t, strings.Fields(line)...)
			text, advice, _ := strings.Cut(want, "|")
			if exit.Code(err) != exit.Usage || !strings.Contains(err.Error(), text) || !strings.Contains(hint.Of(err), advice) {
				t.Errorf("code %d, error %v, hint %q; want %q", exit.Code(err), err, hint.Of(err), want)
			}
		})
	}
}

// TestRightCommandLines get past the flags, to a cluster that is not there.
func TestRightCommandLines(t *testing.T) {
	for _, line := range []string{
		"snapshot", "snapshot pod/a --by FLOW -o JSON", "snapshot -A --expect drops==0 -o junit", "top", "top drops -A", "top flows pod/a",
		"top pods web-1", "top dns --once --pod-running-timeout 1m", "snapshot --pod-running-timeout 1m", "events pod/a --kinds drop,reset", "events --plugins dns,linuxutil", "events --kinds dns --plugins DNS",
		"serve --listen 127.0.0.1:0", "serve -A --remote-context",
	} {
		t.Run(line, func(t *testing.T) {
			if err := command(t, strings.Fields(line)...); exit.Code(err) != exit.Failed || !strings.Contains(err.Error(), "127.0.0.1:1") {
				t.Errorf("code %d, error %v", exit.Code(err), err)
			}
		})
	}
}
