//go:build linux && !unit

package main

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
)

// TestTwoBuilds makes the release of this tree in two directories, for this
// machine only, and compares all bytes. make verify-release does so for every platform
// and without a build cache.
func TestTwoBuilds(t *testing.T) {
	here := "linux/" + runtime.GOARCH
	cmd := exec.Command("../verify-release.sh", "VERSION=v9.8.7-dev",
		"cli_platforms="+here, "collector_platforms="+here, "image_arches="+runtime.GOARCH)
	cmd.Env = append(os.Environ(), "WARM=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "are the same: 7 files") {
		t.Errorf("%s: %v\n%s", cmd, err, out)
	}
}
