//go:build linux && !unit

package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/kubectl-retina/kubectl-retina/e2e/internal/lab"
)

// TestKrew installs a release with krew, as its user would, and completes with
// kubectl what they type.
func TestKrew(t *testing.T) {
	archive, manifest := localRelease(t)
	settings, err := lab.FromEnvironment()
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	bin := filepath.Join(home, "bin")
	inKrew := func(args ...string) string {
		cmd := the.Command(context.Background(), args...)
		cmd.Env = append(cmd.Env, "KREW_ROOT="+home, "KREW_NO_UPGRADE_CHECK=1", "PATH="+bin+":"+the.Bin+":"+os.Getenv("PATH"))
		return run(t, cmd)
	}
	inKrew(settings.Krew(), "install", "--manifest="+manifest, "--archive="+archive)
	if out := inKrew("kubectl", "retina", "version"); !strings.Contains(out, "kubectl-retina v9.8.7 ") {
		t.Errorf("kubectl retina version: %s", out)
	}
	if licence, err := filepath.Glob(filepath.Join(home, "store", "retina", "v9.8.7", "LICENSE")); err != nil || len(licence) != 1 {
		t.Errorf("LICENSE in krew's store: %q, %v", licence, err)
	}
	if got := strings.TrimSpace(inKrew("kubectl", "retina", "completion", "install")); got != filepath.Join(bin, "kubectl_complete-retina") {
		t.Errorf("completion is installed as %s", got)
	}
	apply(t, namespaceYAML("krew", "")+podYAML("krew", "web-1", "n1", "app: web", ""))
	runningPod(t, "krew", "web-1")
	for _, test := range []struct {
		words []string
		want  []string // some of what is offered
	}{
		{[]string{""}, []string{"capture", "metrics", "version"}},
		{[]string{"capture", "cr"}, []string{"create"}},
		{[]string{"capture", "create", "--dura"}, []string{"--duration"}},
		{[]string{"capture", "create", "-n", "kre"}, []string{"krew"}},
		{[]string{"capture", "create", "-n", "krew", ""}, []string{"pod/", "deploy/", "node/"}},
		{[]string{"capture", "create", "-n", "krew", "pod/w"}, []string{"pod/web-1"}},
		{[]string{"capture", "create", "node/"}, []string{"node/n1", "node/n2"}},
		{[]string{"capture", "create", "--node-names", "n1,"}, []string{"n1,n2"}},
		{[]string{"metrics", "snapshot", "--plugins", "dr"}, []string{"dropreason"}},
	} {
		out := inKrew(append([]string{"kubectl", "__complete", "retina"}, test.words...)...)
		var offered []string
		for line := range strings.Lines(out) {
			word, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
			offered = append(offered, word)
		}
		for _, want := range test.want {
			if !slices.Contains(offered, want) {
				t.Errorf("%q: %q is not among %q", test.words, want, offered)
			}
		}
	}
	wantNothingLeft(t)
}

// localRelease makes a release for this machine only, and returns the archive of
// the command and the manifest.
func localRelease(t *testing.T) (archive, manifest string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "release")
	here := "linux/" + runtime.GOARCH
	release := exec.Command("make", "-s", "-C", "..", "release-archives", "VERSION=v9.8.7", "COMMIT=0123456789ab",
		"release_dir="+dir, "cli_platforms="+here, "collector_platforms="+here)
	if out, err := release.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", release, err, out)
	}
	return filepath.Join(dir, "kubectl-retina_v9.8.7_linux_"+runtime.GOARCH+".tar.gz"), filepath.Join(dir, "krew-manifest.yaml")
}
