//go:build linux

package lab

import "path/filepath"

// KrewVersion is that of the plugin manager with which the release is installed.
// It and the one in e2e/cluster/modules/krew/go.mod must agree (a test holds it).
const KrewVersion = "v0.5.0"

// Krew returns the program krew.
func (s Settings) Krew() string {
	return filepath.Join(s.Cache, "krew-"+KrewVersion, "bin", "krew")
}
