package main

import (
	"bytes"
	"text/template"

	"github.com/kubectl-retina/kubectl-retina/internal/completion"
	"github.com/kubectl-retina/kubectl-retina/internal/version"
)

// krewProgram is the program that krew installs.
const krewProgram = "kubectl-retina"

// krewPackage is what krew installs on one platform.
type krewPackage struct {
	platform platform
	archive  checksum
}

// krewPlatform is a krewPackage as the manifest has it.
type krewPlatform struct {
	OS, Arch, URI, Sum, Bin, Completion string
}

// completionFiles are those by which kubectl completes.
func completionFiles(on platform) []file {
	p := completion.For(on.os)
	return []file{{name: p.Name, content: []byte(p.Content), executable: true}}
}

// krewManifest returns the manifest for krew, see
// https://krew.sigs.k8s.io/docs/developer-guide/plugin-manifest/. krew links
// nothing but bin into the PATH, hence the caveat.
func krewManifest(build version.Info, packages []krewPackage) ([]byte, error) {
	var platforms []krewPlatform
	for _, p := range packages {
		one := krewPlatform{
			OS: p.platform.os, Arch: p.platform.arch, Sum: p.archive.sum, Bin: krewProgram, Completion: completion.For(p.platform.os).Name,
			URI: homepage + "/releases/download/" + build.Version + "/" + p.archive.file,
		}
		if one.OS == "windows" {
			one.Bin += ".exe"
		}
		platforms = append(platforms, one)
	}
	var out bytes.Buffer
	err := template.Must(template.New("manifest").Parse(krewTemplate)).Execute(&out, map[string]any{
		"Build": build, "Published": config{build: build}.isRelease(), "Homepage": homepage, "Platforms": platforms,
	})
	return out.Bytes(), err
}

const krewTemplate = `# Made by "make release" from commit {{.Build.Commit}} with {{.Build.GoVersion}}; the same commit and compiler give the same checksums.
{{- if not .Published}}
# {{.Build.Version}} is no release: nothing answers at the addresses below. Install from local archives: see CONTRIBUTING.md.
{{- end}}
apiVersion: krew.googlecontainertools.github.com/v1alpha2
kind: Plugin
metadata:
  name: retina
spec:
  version: {{.Build.Version}}
  homepage: {{.Homepage}}
  shortDescription: See and capture a cluster's traffic
  description: |
    Finds the nodes of the pods that you name, starts short-lived eBPF collectors
    there, and streams their packets into one time-ordered pcapng on your machine,
    with the pods' names in it. Measures traffic, drops with the kernel's reasons,
    retransmits, connections, latency and DNS in the same way: once, live, or for
    Prometheus. Nothing is installed in the cluster, and nothing is left behind.
  caveats: |
    The collectors are privileged pods: they need a namespace without an enforced
    Pod Security level, and nodes with Linux 5.8 or later.

    For completion of "kubectl retina" by kubectl's own, run once:
      kubectl retina completion install
  platforms:
{{- range .Platforms}}
  - selector:
      matchLabels:
        os: {{.OS}}
        arch: {{.Arch}}
    uri: {{.URI}}
    sha256: {{.Sum}}
    bin: {{.Bin}}
    files:
    - {from: {{.Bin}}, to: .}
    - {from: {{.Completion}}, to: .}
    - {from: LICENSE, to: .}
    - {from: THIRD_PARTY_LICENSES, to: .}
{{- end}}
`
