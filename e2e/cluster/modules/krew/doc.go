// Package krew pins the plugin manager with which the e2e tests install the
// release. It is built from this module, apart from the project's own
// dependencies. For another version, change it in go.mod, run go mod tidy here,
// and set KrewVersion in e2e/internal/lab.
package krew

import (
	_ "sigs.k8s.io/krew/cmd/krew"
)
