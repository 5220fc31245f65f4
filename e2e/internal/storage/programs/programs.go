//go:build linux

// Package programs knows the storage servers of the e2e tests: which versions,
// and where e2e/cluster keeps them.
package programs

import (
	"path/filepath"

	"github.com/kubectl-retina/kubectl-retina/e2e/internal/lab"
)

// Versions of the servers. That of versitygw and the one in
// e2e/cluster/modules/versitygw/go.mod must agree (a test holds it).
const (
	AzuriteVersion   = "3.37.0"
	VersitygwVersion = "v1.8.0"
)

// AzuriteDir returns the directory into which npm installs Azurite.
func AzuriteDir(s lab.Settings) string {
	return filepath.Join(s.Cache, "azurite-"+AzuriteVersion)
}

// Azurite returns the script, for node, that is Azurite's blob service.
func Azurite(s lab.Settings) string {
	return filepath.Join(AzuriteDir(s), "node_modules", "azurite", "dist", "src", "blob", "main.js")
}

// Versitygw returns the program that serves S3.
func Versitygw(s lab.Settings) string {
	return filepath.Join(s.Cache, "versitygw-"+VersitygwVersion, "bin", "versitygw")
}
