package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"

	"github.com/kubectl-retina/kubectl-retina/internal/version"
)

const homepage = "https://github.com/kubectl-retina/kubectl-retina"

// materials returns the software bill of materials of a program: the modules
// that the linker has put into it, from what the Go command wrote there.
func materials(name string, b binary, build version.Info, created time.Time) ([]byte, error) {
	sum := sha256.Sum256(b.content)
	digest := hex.EncodeToString(sum[:])
	bom := cdx.NewBOM()
	// The same program has the same number: the list says nothing of its making.
	bom.SerialNumber = fmt.Sprintf("urn:uuid:%s-%s-5%s-8%s-%s", digest[:8], digest[8:12], digest[13:16], digest[17:20], digest[20:32])
	main := cdx.Component{
		BOMRef: purl(b.info.Main.Path, build.Version) + "#cmd/" + name, Type: cdx.ComponentTypeApplication,
		Name: name, Version: build.Version, PackageURL: purl(b.info.Main.Path, build.Version) + "#cmd/" + name,
		Hashes:             &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: digest}},
		Licenses:           &cdx.Licenses{{License: &cdx.License{ID: "Apache-2.0"}}},
		ExternalReferences: &[]cdx.ExternalReference{{Type: cdx.ERTypeVCS, URL: homepage}},
		Properties:         &[]cdx.Property{{Name: "commit", Value: build.Commit}},
	}
	for _, setting := range b.info.Settings {
		if slices.Contains([]string{"GOOS", "GOARCH", "CGO_ENABLED", "-trimpath"}, setting.Key) {
			*main.Properties = append(*main.Properties, cdx.Property{Name: "go:" + strings.TrimPrefix(setting.Key, "-"), Value: setting.Value})
		}
	}
	bom.Metadata = &cdx.Metadata{Timestamp: created.Format(time.RFC3339), Component: &main}
	goVersion := strings.TrimPrefix(b.info.GoVersion, "go")
	components := []cdx.Component{{
		BOMRef: "pkg:golang/stdlib@" + goVersion, PackageURL: "pkg:golang/stdlib@" + goVersion,
		Type: cdx.ComponentTypeLibrary, Name: "stdlib", Version: goVersion,
	}}
	for _, m := range modules(b.info) {
		components = append(components, cdx.Component{
			BOMRef: purl(m.Path, m.Version), PackageURL: purl(m.Path, m.Version), Type: cdx.ComponentTypeLibrary, Name: m.Path, Version: m.Version,
			Properties: &[]cdx.Property{{Name: "go:sum", Value: m.Sum}},
		})
	}
	bom.Components = &components
	var refs []string
	for _, c := range components {
		refs = append(refs, c.BOMRef)
	}
	bom.Dependencies = &[]cdx.Dependency{{Ref: main.BOMRef, Dependencies: &refs}}
	var out bytes.Buffer
	encoder := cdx.NewBOMEncoder(&out, cdx.BOMFileFormatJSON).SetPretty(true)
	if err := encoder.EncodeVersion(bom, cdx.SpecVersion1_6); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// purl is the package URL of a Go module. A + in a version has to be escaped.
func purl(path, moduleVersion string) string {
	return "pkg:golang/" + path + "@" + strings.ReplaceAll(url.PathEscape(moduleVersion), "+", "%2B")
}
