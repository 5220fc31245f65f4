package cli

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
)

func TestValuesOfFlagsThatCannotBeRead(t *testing.T) {
	for args, want := range map[string]string{
		"--max-size 10MB":     "error: --max-size \"10MB\" is not a number of MB\nhint: write --max-size 10\n",
		"--max-size=big":      "error: --max-size \"big\" is not a number of MB\nhint: write --max-size 10\n",
		"--duration 10":       "error: --duration \"10\" is not a time\nhint: write 10s, 5m or 1h\n",
		"--packet-count 1k":   "error: --packet-count \"1k\" is not a whole number\nhint: write --packet-count 1\n",
		"--packet-count 1 -x": "error: unknown shorthand flag: 'x' in -x\nhint: see: kubectl retina capture create --help\n",
	} {
		streams, _, _, stderr := genericiooptions.NewTestIOStreams()
		code := Run(t.Context(), append([]string{"capture", "create", "pod/x"}, strings.Fields(args)...), streams)
		if code != exit.Usage || stderr.String() != want {
			t.Errorf("%s: code %d, %q, want %q", args, code, stderr, want)
		}
	}
}

func TestCompletions(t *testing.T) {
	config := filepath.Join(t.TempDir(), "config")
	text := `{"apiVersion": "v1", "kind": "Config", "contexts": [
		{"name": "prod", "context": {"namespace": "shop"}}, {"name": "prod-eu", "context": {"namespace": "shop"}}, {"name": "lab", "context": {}}]}`
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", config)
	const values, files = ":4", ":0" // cobra.ShellCompDirectiveNoFileComp and ShellCompDirectiveDefault
	for _, test := range []struct {
		flag, word string
		want       []string
	}{
		{"--format", "", []string{"pcapng", "pcap", values}},
		{"-o", "", []string{"json", "yaml", values}},
		{"--context", "pr", []string{"prod", "prod-eu", values}},
		{"--namespace", "", []string{"shop", values}},
		{"--write", "", []string{files}},
		{"--kubeconfig", "", []string{files}},
		{"--image", "", []string{values}},
		{"--vantage", "pod,", []string{"pod,node", values}},
		{"--server", "", []string{values}},
		{"-q", "svc", []string{"svc/", ":6"}}, // an argument; cobra.ShellCompDirectiveNoSpace as well
	} {
		streams, _, stdout, _ := genericiooptions.NewTestIOStreams()
		code := Run(t.Context(), []string{"__complete", "capture", "create", test.flag, test.word}, streams)
		if got := strings.Fields(stdout.String()); code != exit.Done || !slices.Equal(got, test.want) {
			t.Errorf("%s %s: code %d, %q, want %q", test.flag, test.word, code, got, test.want)
		}
	}
}

func TestVersionFlag(t *testing.T) {
	streams, _, stdout, stderr := genericiooptions.NewTestIOStreams()
	code := Run(t.Context(), []string{"--version"}, streams)
	long, _, want, _ := genericiooptions.NewTestIOStreams()
	Run(t.Context(), []string{"version"}, long)
	line, _, _ := strings.Cut(want.String(), "\n")
	if code != exit.Done || stdout.String() != line+"\n" || !strings.HasPrefix(line, "kubectl-retina v") {
		t.Errorf("code %d, %q, %q on standard error, want the first line of version, %q", code, stdout, stderr, line)
	}
}

// Lists are completed behind their last comma, and what is not a file is not
// completed with files.
func TestCompletionsElsewhere(t *testing.T) {
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	t.Setenv("HOME", t.TempDir())
	for _, test := range []struct{ words, want []string }{
		{[]string{"metrics", "snapshot", "--plugins", "dns,drop"}, []string{"dns,dropreason", ":4"}},
		{[]string{"metrics", "events", "--kinds", "drop,re"}, []string{"drop,reset", "drop,retransmit", ":4"}},
		{[]string{"shell", "--collector-namespace", ""}, []string{":4"}},
		{[]string{"shell", "--image", ""}, []string{":4"}},
	} {
		streams, _, stdout, _ := genericiooptions.NewTestIOStreams()
		code := Run(t.Context(), append([]string{"__complete"}, test.words...), streams)
		if got := strings.Fields(stdout.String()); code != exit.Done || !slices.Equal(got, test.want) {
			t.Errorf("%q: code %d, %q, want %q", test.words, code, got, test.want)
		}
	}
}
