//go:build linux && !unit

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubectl-retina/kubectl-retina/e2e/internal/lab"
)

// TestKrewPlatforms lets krew install the archive of each platform as it would
// there: the names in the manifest are those in the archive. A small program takes
// the place of the command, which TestKrew installs for this platform.
func TestKrewPlatforms(t *testing.T) {
	settings, err := lab.FromEnvironment()
	if err != nil {
		t.Fatal(err)
	}
	programs, output := t.TempDir(), filepath.Join(t.TempDir(), "release")
	args := []string{"run", "./tools/release", "--programs", programs, "--output", output}
	platforms := []string{"linux/amd64", "linux/arm64", "darwin/amd64", "darwin/arm64", "windows/amd64", "windows/arm64"}
	for _, platform := range platforms {
		args = append(args, "--platform", platform)
		system, arch, _ := strings.Cut(platform, "/")
		names := []string{"kubectl-retina-" + system + "-" + arch}
		switch system {
		case "windows":
			names[0] += ".exe"
		case "linux":
			names = append(names, "retina-collector-"+system+"-"+arch)
		}
		for _, name := range names {
			goInProject(t, []string{"CGO_ENABLED=0", "GOOS=" + system, "GOARCH=" + arch}, "build", "-trimpath", "-buildvcs=false", "-o", filepath.Join(programs, name), "./tools/plugindocs")
		}
	}
	goInProject(t, []string{"SOURCE_DATE_EPOCH=1700000000"}, args...)
	for _, platform := range platforms {
		t.Run(platform, func(t *testing.T) {
			system, arch, _ := strings.Cut(platform, "/")
			archives, err := filepath.Glob(filepath.Join(output, "kubectl-retina_*_"+system+"_"+arch+".[tz]*"))
			if err != nil || len(archives) != 1 {
				t.Fatalf("archives: %q, %v", archives, err)
			}
			home := t.TempDir()
			krew := exec.CommandContext(t.Context(), settings.Krew(), "install", "--manifest="+filepath.Join(output, "krew-manifest.yaml"), "--archive="+archives[0])
			krew.Env = append(os.Environ(), "KREW_ROOT="+home, "KREW_OS="+system, "KREW_ARCH="+arch, "KREW_NO_UPGRADE_CHECK=1")
			if out, err := krew.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", krew, err, out)
			}
			for _, pattern := range []string{"bin/kubectl-retina*", "store/retina/*/kubectl-retina*", "store/retina/*/kubectl_complete-retina*", "store/retina/*/LICENSE", "store/retina/*/THIRD_PARTY_LICENSES"} {
				found, err := filepath.Glob(filepath.Join(home, pattern))
				if err != nil || len(found) != 1 {
					t.Errorf("%s: %q, %v", pattern, found, err)
					continue
				}
				if _, err := os.Stat(found[0]); err != nil { // also what a link leads to
					t.Error(err)
				}
			}
		})
	}
}

// goInProject runs the go command in the project, with more in its environment.
func goInProject(t *testing.T, environment []string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir, cmd.Env = "..", append(os.Environ(), environment...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
}
