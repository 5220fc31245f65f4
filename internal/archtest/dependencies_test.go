package archtest

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// docs/dependencies.md gives a reason for every direct requirement of go.mod
// and every Debian package that `make deps` installs, and for nothing else.
func TestDependenciesAreDocumented(t *testing.T) {
	page := readRoot(t, "docs/dependencies.md")
	tests := []struct {
		heading string
		used    []string
	}{
		{"## Go modules", directRequirements(t)},
		{"## Debian packages", debianPackages(t)},
	}
	for _, test := range tests {
		t.Run(strings.Trim(test.heading, "# "), func(t *testing.T) {
			documented := firstColumn(page, test.heading)
			for _, name := range test.used {
				if !slices.Contains(documented, name) {
					t.Errorf("%s is used, but not in docs/dependencies.md", name)
				}
			}
			for _, name := range documented {
				if !slices.Contains(test.used, name) {
					t.Errorf("%s is in docs/dependencies.md, but not used", name)
				}
			}
		})
	}
}

func TestFirstColumn(t *testing.T) {
	const page = "## One\n| name | for |\n|---|---|\n| `a/b.c` | x |\n| `empty` | |\n## Two\n| `d` | y | z |\n"
	if got, want := firstColumn(page, "## One"), []string{"a/b.c"}; !slices.Equal(got, want) {
		t.Errorf("one: %q, want %q", got, want)
	}
	if got, want := firstColumn(page, "## Two"), []string{"d"}; !slices.Equal(got, want) {
		t.Errorf("two: %q, want %q", got, want)
	}
}

// firstColumn returns the names, in backquotes, of the tables below a heading:
// of the rows whose last column is not empty.
func firstColumn(page, heading string) []string {
	_, section, _ := strings.Cut(page, heading+"\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var names []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|.*[^ |] \\|$").FindAllStringSubmatch(section, -1) {
		names = append(names, row[1])
	}
	return names
}

func directRequirements(t *testing.T) []string {
	t.Helper()
	edit := exec.Command("go", "mod", "edit", "-json")
	edit.Dir = root
	out, err := edit.Output()
	if err != nil {
		t.Fatalf("%s: %v", edit, err)
	}
	var file struct {
		Require []struct {
			Path     string
			Indirect bool
		}
	}
	if err := json.Unmarshal(out, &file); err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, module := range file.Require {
		if !module.Indirect {
			paths = append(paths, module.Path)
		}
	}
	return paths
}

func debianPackages(t *testing.T) []string {
	t.Helper()
	var packages []string
	for _, variable := range []string{"packages", "kernel_packages"} {
		_, list, _ := strings.Cut(readRoot(t, "tools/deps.sh"), "\n"+variable+"=\"")
		list, _, _ = strings.Cut(list, "\"\n")
		packages = append(packages, strings.Fields(list)...)
	}
	for _, match := range regexp.MustCompile(`pack: +"([^"]+)"`).FindAllStringSubmatch(readRoot(t, "e2e/cluster/deps.go"), -1) {
		packages = append(packages, match[1])
	}
	return packages
}

func readRoot(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
