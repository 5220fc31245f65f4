// Package version says which build a program is and which collector image
// belongs to it.
package version

import (
	"runtime"
	"runtime/debug"
	"strings"
)

// Repository is where the collector's images are published, and CommandRepository
// where those of the command are, for running it in a cluster.
const (
	Repository        = "ghcr.io/kubectl-retina/retina-collector"
	CommandRepository = "ghcr.io/kubectl-retina/kubectl-retina"
)

// development is the version of a build that is not a release.
const development = "v0.1.0-dev"

// The linker sets these with -X, see the Makefile; no Go code assigns to them.
// They are the only way to give two separately built programs the same version
// also where no git history is at hand.
var (
	linkedVersion string
	linkedCommit  string
)

// Info identifies a build.
type Info struct {
	Version   string `json:"version"`   // "v0.1.0", or "v0.1.0-dev" when it is not a release
	Commit    string `json:"commit"`    // abbreviated, "-dirty" when files were changed since; "unknown" outside git
	GoVersion string `json:"goVersion"` // of the compiler, as in "go1.26.8"
}

// Get returns the build of the running program. It does not fail: what is not
// known says so.
func Get() Info {
	build, _ := debug.ReadBuildInfo()
	return read(linkedVersion, linkedCommit, build)
}

// CollectorImage returns the reference of the image that holds the collector of
// the same version.
func CollectorImage() string { return Repository + ":" + Get().Version }

// CommandImage returns the reference of the image that holds the command of the
// same version.
func CommandImage() string { return CommandRepository + ":" + Get().Version }

// read prefers what was linked in to what the go command has recorded in build,
// which may be nil.
func read(version, commit string, build *debug.BuildInfo) Info {
	if build == nil {
		build = &debug.BuildInfo{}
	}
	if version == "" && isRelease(build.Main.Version) {
		version = build.Main.Version // go install MODULE/cmd/...@v1.2.3
	}
	if version == "" {
		version = development
	}
	if commit == "" {
		commit = recordedCommit(build)
	}
	return Info{Version: version, Commit: commit, GoVersion: runtime.Version()}
}

// isRelease tells a tag that somebody chose from the go command's own
// inventions: "(devel)", pseudo-versions and "+dirty".
func isRelease(moduleVersion string) bool {
	return strings.HasPrefix(moduleVersion, "v") && !strings.ContainsAny(moduleVersion, "-+")
}

func recordedCommit(build *debug.BuildInfo) string {
	commit, dirty := "unknown", ""
	for _, setting := range build.Settings {
		switch {
		case setting.Key == "vcs.revision":
			commit = setting.Value[:min(12, len(setting.Value))]
		case setting.Key == "vcs.modified" && setting.Value == "true":
			dirty = "-dirty"
		}
	}
	return commit + dirty
}
