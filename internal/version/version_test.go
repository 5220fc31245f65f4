package version

import (
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	recorded := func(moduleVersion string, settings ...debug.BuildSetting) *debug.BuildInfo {
		return &debug.BuildInfo{Main: debug.Module{Version: moduleVersion}, Settings: settings}
	}
	revision := debug.BuildSetting{Key: "vcs.revision", Value: "0123456789abcdef0123456789abcdef01234567"}
	modified := debug.BuildSetting{Key: "vcs.modified", Value: "true"}
	tests := []struct {
		name            string
		version, commit string
		build           *debug.BuildInfo
		want            Info
	}{
		{"nothing known", "", "", nil, Info{Version: "v0.1.0-dev", Commit: "unknown"}},
		{"plain build", "", "", recorded("(devel)", revision), Info{Version: "v0.1.0-dev", Commit: "0123456789ab"}},
		{"changed files", "", "", recorded("v0.2.0+dirty", revision, modified), Info{Version: "v0.1.0-dev", Commit: "0123456789ab-dirty"}},
		{"pseudo-version", "", "", recorded("v0.2.1-0.20260102030405-0123456789ab"), Info{Version: "v0.1.0-dev", Commit: "unknown"}},
		{"go install of a tag", "", "", recorded("v0.2.0"), Info{Version: "v0.2.0", Commit: "unknown"}},
		{"linked", "v1.0.0-rc.1", "feed", recorded("v0.2.0", revision), Info{Version: "v1.0.0-rc.1", Commit: "feed"}},
		{"short revision", "", "", recorded("", debug.BuildSetting{Key: "vcs.revision", Value: "abc"}), Info{Version: "v0.1.0-dev", Commit: "abc"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.want.GoVersion = runtime.Version()
			if got := read(test.version, test.commit, test.build); got != test.want {
				t.Errorf("read(%q, %q) = %+v, want %+v", test.version, test.commit, got, test.want)
			}
		})
	}
}

// wantVersion tells a run of these tests which version was linked into it.
const wantVersion = "RETINA_TEST_WANT_VERSION"

func TestGet(t *testing.T) {
	want := "v0.1.0-dev"
	if linked, ok := os.LookupEnv(wantVersion); ok {
		want = linked
	}
	if got := Get().Version; got != want {
		t.Errorf("version is %q, want %q", got, want)
	}
	if got, want := CollectorImage(), "ghcr.io/kubectl-retina/retina-collector:"+want; got != want {
		t.Errorf("collector image is %q, want %q", got, want)
	}
	if got, want := CommandImage(), "ghcr.io/kubectl-retina/kubectl-retina:"+want; got != want {
		t.Errorf("command's image is %q, want %q", got, want)
	}
}

// To the linker the name after -X is just text: it ignores one that does not
// exist. So this runs TestGet once more, linked with the Makefile's own flags.
func TestLinkerFlags(t *testing.T) {
	show := exec.Command("make", "-s", "--no-print-directory", "-C", "../..", "print-ldflags", "VERSION=v9.8.7")
	flags, err := show.Output()
	if err != nil {
		t.Fatalf("%s: %v", show, err)
	}
	test := exec.Command("go", "test", "-count=1", "-run", "^TestGet$", "-ldflags", strings.TrimSpace(string(flags)), ".")
	test.Env = append(os.Environ(), wantVersion+"=v9.8.7")
	if out, err := test.CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", test, err, out)
	}
}

// The Dockerfile cannot ask this package.
func TestDockerfile(t *testing.T) {
	dockerfile, err := os.ReadFile("../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	if want := "\nARG VERSION=" + development + "\n"; !strings.Contains(string(dockerfile), want) {
		t.Errorf("the Dockerfile has no line %q", strings.TrimSpace(want))
	}
}
