package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
)

func TestCompletionInstall(t *testing.T) {
	store, bin, other := t.TempDir(), t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(store, "kubectl-retina"), nil, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(store, "kubectl-retina"), filepath.Join(bin, "kubectl-retina")); err != nil {
		t.Fatal(err)
	}
	install := func(args ...string) (int, string, string) {
		streams, _, stdout, stderr := genericiooptions.NewTestIOStreams()
		return Run(t.Context(), append([]string{"completion", "install"}, args...), streams), stdout.String(), stderr.String()
	}
	t.Setenv("PATH", bin)
	want := filepath.Join(bin, "kubectl_complete-retina")
	if code, stdout, stderr := install(); code != exit.Done || stdout != want+"\n" || stderr != "" {
		t.Errorf("code %d, %q, %q, want %s", code, stdout, stderr, want)
	}
	if _, err := os.Stat(want); err != nil {
		t.Error(err)
	}
	t.Setenv("PATH", other)
	if code, _, stderr := install(); code != exit.Failed || !strings.Contains(stderr, "kubectl-retina is not in the PATH") || !strings.Contains(stderr, "hint: ") {
		t.Errorf("not in the PATH: code %d, %q", code, stderr)
	}
	if code, stdout, stderr := install("--dir", other); code != exit.Done || stdout != filepath.Join(other, "kubectl_complete-retina")+"\n" {
		t.Errorf("--dir: code %d, %q, %q", code, stdout, stderr)
	}
	if code, _, _ := install("here"); code != exit.Usage {
		t.Errorf("an argument: code %d", code)
	}
}
