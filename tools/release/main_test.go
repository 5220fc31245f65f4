package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"sigs.k8s.io/yaml"

	"github.com/kubectl-retina/kubectl-retina/internal/version"
)

var testBuild = version.Info{Version: "v9.8.7", Commit: "0123456789ab", GoVersion: "go1.2.3"}

// buildPrograms builds a small program of this module, which has dependencies,
// under the names of those that are released.
func buildPrograms(t *testing.T, on ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range on {
		_, rest, _ := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(name, "kubectl-retina"), "retina-collector"), ".exe"), "-")
		system, arch, _ := strings.Cut(rest, "-")
		build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", filepath.Join(dir, name), "../plugindocs")
		build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+system, "GOARCH="+arch)
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", build, err, out)
		}
	}
	return dir
}

// release makes a release of programs and returns its directory.
func release(t *testing.T, programs string, args ...string) string {
	t.Helper()
	output := filepath.Join(t.TempDir(), "release")
	args = append([]string{"--programs", programs, "--licence", "../../LICENSE", "--output", output}, args...)
	if err := run(t.Context(), args, "1700000000", testBuild, io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
	return output
}

func TestRelease(t *testing.T) {
	programs := buildPrograms(t, "kubectl-retina-linux-amd64", "retina-collector-linux-amd64", "kubectl-retina-windows-amd64.exe")
	image := filepath.Join(t.TempDir(), "retina-collector.tar")
	if err := os.WriteFile(image, []byte("an image"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"--platform", "linux/amd64", "--platform", "windows/amd64", "--image", image}
	dir := release(t, programs, args...)
	want := []string{
		"SHA256SUMS", "krew-manifest.yaml",
		"kubectl-retina_v9.8.7_linux_amd64.cdx.json", "kubectl-retina_v9.8.7_linux_amd64.tar.gz",
		"kubectl-retina_v9.8.7_windows_amd64.cdx.json", "kubectl-retina_v9.8.7_windows_amd64.zip",
		"retina-collector_v9.8.7_image.tar", "retina-collector_v9.8.7_linux_amd64.cdx.json", "retina-collector_v9.8.7_linux_amd64.tar.gz",
	}
	if got := names(t, dir); !slices.Equal(got, want) {
		t.Errorf("files %q, want %q", got, want)
	}
	checkSums(t, dir)
	ours := []string{"kubectl-retina", "LICENSE", "THIRD_PARTY_LICENSES", "kubectl_complete-retina"}
	if got := unpackTar(t, filepath.Join(dir, want[3])); !slices.Equal(got, ours) {
		t.Errorf("in %s: %q, want %q", want[3], got, ours)
	}
	if got := unpackZip(t, filepath.Join(dir, want[5])); !slices.Equal(got, []string{"kubectl-retina.exe", ours[1], ours[2], "kubectl_complete-retina.cmd"}) {
		t.Errorf("in %s: %q", want[5], got)
	}
	again := release(t, programs, args...)
	for _, name := range want {
		if !bytes.Equal(read(t, dir, name), read(t, again, name)) {
			t.Errorf("%s is not the same the second time", name)
		}
	}
}

// TestMaterials compares the list of a program's modules with the go command's.
func TestMaterials(t *testing.T) {
	programs := buildPrograms(t, "kubectl-retina-linux-arm64", "retina-collector-linux-arm64")
	dir := release(t, programs, "--platform", "linux/arm64")
	var bom cdx.BOM
	text := read(t, dir, "kubectl-retina_v9.8.7_linux_arm64.cdx.json")
	if err := cdx.NewBOMDecoder(bytes.NewReader(text), cdx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, c := range *bom.Components {
		listed = append(listed, c.Name+" "+c.Version)
	}
	out, err := exec.Command("go", "version", "-m", filepath.Join(programs, "kubectl-retina-linux-arm64")).Output()
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, dep := range regexp.MustCompile(`(?m)^\tdep\t(\S+)\t(\S+)`).FindAllStringSubmatch(string(out), -1) {
		want = append(want, dep[1]+" "+dep[2])
	}
	if len(want) == 0 || !slices.Equal(listed[1:], want) || !strings.HasPrefix(listed[0], "stdlib 1.") {
		t.Errorf("listed\n%q, want stdlib and\n%q", listed, want)
	}
	if main := bom.Metadata.Component; main.Version != "v9.8.7" || bom.Metadata.Timestamp != "2023-11-14T22:13:20Z" ||
		(*main.Hashes)[0].Value != sum(read(t, programs, "kubectl-retina-linux-arm64")) {
		t.Errorf("of %+v at %s", main, bom.Metadata.Timestamp)
	}
	if bom.SpecVersion != cdx.SpecVersion1_6 || !regexp.MustCompile(`^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(bom.SerialNumber) {
		t.Errorf("version %s, serial number %s", bom.SpecVersion, bom.SerialNumber)
	}
}

func TestPURL(t *testing.T) {
	if got, want := purl("github.com/peterbourgon/diskv", "v2.0.1+incompatible"), "pkg:golang/github.com/peterbourgon/diskv@v2.0.1%2Bincompatible"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestRefused(t *testing.T) {
	programs := buildPrograms(t, "kubectl-retina-linux-amd64")
	if err := os.Rename(filepath.Join(programs, "kubectl-retina-linux-amd64"), filepath.Join(programs, "kubectl-retina-darwin-amd64")); err != nil {
		t.Fatal(err)
	}
	dirty := testBuild
	dirty.Commit += "-dirty"
	for _, test := range []struct {
		name, epoch string
		args        []string
		build       version.Info
		want        string
	}{
		{"no platform", "", nil, testBuild, "--platform is needed"},
		{"half a platform", "", []string{"--platform", "linux"}, testBuild, "OS/ARCH"},
		{"no such program", "", []string{"--platform", "plan9/amd64"}, testBuild, "kubectl-retina-plan9-amd64"},
		{"another platform's", "", []string{"--platform", "darwin/amd64"}, testBuild, "GOOS=linux, not darwin"},
		{"time", "yesterday", []string{"--platform", "darwin/amd64"}, testBuild, "SOURCE_DATE_EPOCH"},
		{"files of no commit", "", []string{"--platform", "darwin/amd64"}, dirty, "commit them first"},
	} {
		args := append([]string{"--programs", programs, "--licence", "../../LICENSE", "--output", filepath.Join(t.TempDir(), "out")}, test.args...)
		if err := run(t.Context(), args, test.epoch, test.build, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}

// TestKrewManifestInTree generates the manifest that is in the tree anew. Its
// checksums and commit are of the release that wrote it, and stay.
func TestKrewManifestInTree(t *testing.T) {
	tree, err := os.ReadFile("../../krew-manifest.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct {
		Spec struct {
			Version   string `json:"version"`
			Platforms []struct {
				URI      string `json:"uri"`
				Sum      string `json:"sha256"`
				Selector struct {
					Labels struct {
						OS   string `json:"os"`
						Arch string `json:"arch"`
					} `json:"matchLabels"`
				} `json:"selector"`
			} `json:"platforms"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(tree, &manifest); err != nil {
		t.Fatal(err)
	}
	made := regexp.MustCompile(`from commit ([0-9a-f]{12,}) with (go\S+);`).FindSubmatch(tree)
	if made == nil {
		t.Fatal("the manifest does not say which commit it was made of")
	}
	var packages []krewPackage
	var platforms []string
	for _, p := range manifest.Spec.Platforms {
		on := platform{p.Selector.Labels.OS, p.Selector.Labels.Arch}
		if !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(p.Sum) {
			t.Errorf("%s: checksum %q", on, p.Sum)
		}
		platforms = append(platforms, on.String())
		packages = append(packages, krewPackage{on, checksum{filepath.Base(p.URI), p.Sum}})
	}
	if want := strings.Fields("linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64"); !slices.Equal(platforms, want) {
		t.Errorf("platforms %q, want %q", platforms, want)
	}
	want, err := krewManifest(version.Info{Version: manifest.Spec.Version, Commit: string(made[1]), GoVersion: string(made[2])}, packages)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(tree, want) {
		t.Errorf("krew-manifest.yaml is not what make krew-manifest writes:\n%s\nwant\n%s", tree, want)
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, entry := range entries {
		all = append(all, entry.Name())
	}
	return all
}

func read(t *testing.T, dir, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func sum(content []byte) string {
	digest := sha256.Sum256(content)
	return hex.EncodeToString(digest[:])
}

// checkSums checks that SHA256SUMS has every other file, as it is.
func checkSums(t *testing.T, dir string) {
	t.Helper()
	listed := map[string]string{}
	for line := range strings.Lines(string(read(t, dir, "SHA256SUMS"))) {
		digest, name, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		listed[name] = digest
	}
	for _, name := range names(t, dir) {
		if name != "SHA256SUMS" && listed[name] != sum(read(t, dir, name)) {
			t.Errorf("SHA256SUMS has %q for %s", listed[name], name)
		}
	}
}

// unpackTar returns the names in an archive, after a look at their headers and
// at the licences.
func unpackTar(t *testing.T, path string) []string {
	t.Helper()
	compressed, err := gzip.NewReader(bytes.NewReader(read(t, filepath.Dir(path), filepath.Base(path))))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for r := tar.NewReader(compressed); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, header.Name)
		executable := strings.HasPrefix(header.Name, "kubectl")
		if header.Uid != 0 || header.Uname != "" || header.ModTime.Unix() != 1700000000 || (header.Mode == 0o755) != executable {
			t.Errorf("%+v", header)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if header.Name == "THIRD_PARTY_LICENSES" && (!bytes.Contains(text, []byte("\nsigs.k8s.io/yaml v")) || !bytes.Contains(text, []byte("the Go standard library go1."))) {
			t.Errorf("licences:\n%.2000s", text)
		}
	}
}

func unpackZip(t *testing.T, path string) []string {
	t.Helper()
	r, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var found []string
	for _, f := range r.File {
		found = append(found, f.Name)
		if f.Modified.Unix() != 1700000000 {
			t.Errorf("%s: time %s", f.Name, f.Modified)
		}
	}
	return found
}
