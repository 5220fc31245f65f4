package archtest

import (
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/kubectl-retina/kubectl-retina"

// root is the module's directory, seen from this package's.
const root = "../.."

// A firewall separates packages from what they must not depend on, however
// indirectly. An import path stands for everything below it.
type firewall struct {
	name      string
	packages  []string // patterns for the go command
	systems   []string // GOOS
	forbidden []string
	// standardOnly forbids all but the standard library and the packages themselves.
	standardOnly bool
	// needed must be depended on: where it is not, a name here is out of date and
	// the firewall guards nothing.
	needed []string
}

var firewalls = []firewall{
	{
		name:     "the CLI runs anywhere and knows no BPF",
		packages: []string{"./cmd/kubectl-retina"},
		systems:  []string{"linux", "darwin", "windows"},
		forbidden: []string{
			"github.com/cilium/ebpf", "github.com/vishvananda",
			module + "/bpf", module + "/internal/collector", module + "/internal/plugin", module + "/internal/hostns",
		},
		needed: []string{module + "/internal/wire", module + "/internal/cli", "k8s.io/client-go"},
	},
	{
		name:     "the collector knows no Kubernetes",
		packages: []string{"./cmd/retina-collector"},
		systems:  []string{"linux"},
		forbidden: []string{
			"k8s.io", "sigs.k8s.io", "github.com/spf13",
			module + "/internal/cli", module + "/internal/session", module + "/internal/target",
		},
		needed: []string{module + "/internal/wire", module + "/bpf", "github.com/cilium/ebpf"},
	},
	{
		name:         "the contract rests on the standard library",
		packages:     []string{"./internal/wire"},
		systems:      []string{"linux", "windows"},
		standardOnly: true,
		needed:       []string{"encoding/json"},
	},
	{
		name:      "merging takes readers and values",
		packages:  []string{"./internal/capture/...", "./internal/pcapng/..."},
		systems:   []string{"linux", "darwin", "windows"},
		forbidden: []string{"k8s.io/client-go", "k8s.io/cli-runtime", "github.com/spf13", "github.com/cilium/ebpf"},
		needed:    []string{module + "/internal/wire", module + "/internal/pcapng"},
	},
	{
		name:      "numbers and the live view are pure",
		packages:  []string{"./internal/metrics/...", "./internal/top/..."},
		systems:   []string{"linux", "darwin", "windows"},
		forbidden: []string{"k8s.io", "github.com/spf13", "github.com/cilium/ebpf"},
		needed:    []string{module + "/internal/wire", "github.com/prometheus/client_golang", "charm.land/bubbletea"},
	},
}

func TestFirewalls(t *testing.T) {
	for _, wall := range firewalls {
		for _, system := range wall.systems {
			t.Run(wall.name+" "+system, func(t *testing.T) {
				deps := goList(t, system, append([]string{"-deps"}, wall.packages...)...)
				for _, breach := range wall.breaches(deps) {
					t.Error(breach)
				}
			})
		}
	}
}

// breaches returns a line for each rule that deps, the packages and all that
// they depend on, break.
func (f firewall) breaches(deps []goPackage) []string {
	var breaches []string
	for _, pkg := range deps {
		foreign := f.standardOnly && !pkg.standard && !below(pkg.path, module)
		if foreign || slices.ContainsFunc(f.forbidden, func(tree string) bool { return below(pkg.path, tree) }) {
			breaches = append(breaches, "dependency on "+pkg.path+", imported by "+strings.Join(importers(deps, pkg.path), ", "))
		}
	}
	for _, tree := range f.needed {
		if !slices.ContainsFunc(deps, func(pkg goPackage) bool { return below(pkg.path, tree) }) {
			breaches = append(breaches, "no dependency on "+tree+": is the rule out of date?")
		}
	}
	return breaches
}

// Only the CLI prints and parses flags.
func TestCobraStaysInTheCLI(t *testing.T) {
	cli := module + "/internal/cli"
	for _, pkg := range goList(t, "linux", "./internal/...", "./cmd/...") {
		allowed := below(pkg.path, cli) || below(pkg.path, module+"/cmd/kubectl-retina")
		for _, imported := range pkg.imports {
			if !allowed && (below(imported, cli) || below(imported, "github.com/spf13/cobra")) {
				t.Errorf("%s imports %s", pkg.path, imported)
			}
		}
	}
}

func TestFirewallBreaches(t *testing.T) {
	deps := []goPackage{
		{path: "io", standard: true},
		{path: "k8s.io/api/core/v1", imports: []string{"io"}},
		{path: "k8s.iot/x"},
		{path: module + "/internal/session", imports: []string{"io", "k8s.io/api/core/v1"}},
	}
	imported := "dependency on k8s.io/api/core/v1, imported by " + module + "/internal/session"
	tests := []struct {
		name string
		wall firewall
		want []string
	}{
		{"forbidden", firewall{forbidden: []string{"k8s.io", "k8s.io/api/core/v1/x"}}, []string{imported}},
		{"not forbidden", firewall{forbidden: []string{"k8s.i", module + "/internal/sess"}}, nil},
		{"standard only", firewall{standardOnly: true}, []string{imported, "dependency on k8s.iot/x, imported by "}},
		{"needed", firewall{needed: []string{"io", "github.com/cilium/ebpf"}}, []string{"no dependency on github.com/cilium/ebpf: is the rule out of date?"}},
	}
	for _, test := range tests {
		if got := test.wall.breaches(deps); !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

type goPackage struct {
	path     string
	standard bool
	imports  []string // paths
}

// goList asks the go command about packages of this module as they are built,
// without cgo, for the operating system.
func goList(t *testing.T, system string, args ...string) []goPackage {
	t.Helper()
	const format = `{{.ImportPath}} {{.Standard}}{{range .Imports}} {{.}}{{end}}`
	list := exec.Command("go", append([]string{"list", "-f", format}, args...)...)
	list.Dir = root
	list.Env = append(os.Environ(), "GOOS="+system, "GOARCH=amd64", "CGO_ENABLED=0")
	var stderr strings.Builder
	list.Stderr = &stderr
	out, err := list.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", list, err, &stderr)
	}
	var packages []goPackage
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		packages = append(packages, goPackage{path: words[0], standard: words[1] == "true", imports: words[2:]})
	}
	return packages
}

func importers(deps []goPackage, imported string) []string {
	var found []string
	for _, pkg := range deps {
		if slices.Contains(pkg.imports, imported) {
			found = append(found, pkg.path)
		}
	}
	return found
}

// below reports whether the package pkg is tree or in a directory below it.
func below(pkg, tree string) bool {
	return pkg == tree || strings.HasPrefix(pkg, path.Clean(tree)+"/")
}
