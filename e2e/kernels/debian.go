//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

const (
	// metapackage depends on the newest kernel of its suite. The kernels for clouds
	// have what nodes need and are small.
	metapackage = "linux-image-cloud-amd64"
	keyring     = "/usr/share/keyrings/debian-archive-keyring.gpg"
)

// release is a release of Debian and the kernel that it comes with.
type release struct {
	name   string   // as in the flag and the table
	suite  string   // the one that the kernel comes from
	suites []string // of the archive; those that end in -security are of the other one
}

// releases are what the tests run on, the oldest first.
func releases() []release {
	of := func(name, code string) release {
		return release{name: name, suite: code + "-security", suites: []string{code, code + "-security"}}
	}
	return []release{
		of("debian11", "bullseye"), of("debian12", "bookworm"), of("debian13", "trixie"),
		{name: "debian13-backports", suite: "trixie-backports", suites: []string{"trixie", "trixie-backports"}},
	}
}

// kernel is an unpacked kernel package.
type kernel struct {
	release
	version string // as uname -r
	dir     string // its files
	image   string // the one to boot
}

// fetch returns the kernel of a release, from the cache unless it is not there or
// fresh is set. Nothing is installed.
func fetch(ctx context.Context, r release, cache string, fresh bool) (kernel, error) {
	dir := filepath.Join(cache, r.name)
	if k, err := cached(r, dir); err == nil && !fresh {
		return k, nil
	}
	fresher, err := os.MkdirTemp(cache, r.name+".new")
	if err != nil {
		return kernel{}, err
	}
	defer os.RemoveAll(fresher)
	if err := download(ctx, r, fresher); err != nil {
		return kernel{}, fmt.Errorf("kernel of %s: %w", r.name, err)
	}
	if _, err := cached(r, fresher); err != nil {
		return kernel{}, fmt.Errorf("kernel of %s: %w", r.name, err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return kernel{}, err
	}
	if err := os.Rename(fresher, dir); err != nil {
		return kernel{}, err
	}
	return cached(r, dir)
}

// cached looks for an unpacked kernel: in /boot, or since Linux 7 with its modules.
func cached(r release, dir string) (kernel, error) {
	var found []kernel
	for _, place := range []string{"boot/vmlinuz-*", "usr/lib/modules/*/vmlinuz"} {
		images, err := filepath.Glob(filepath.Join(dir, place))
		if err != nil {
			return kernel{}, err
		}
		for _, image := range images {
			version, ok := strings.CutPrefix(filepath.Base(image), "vmlinuz-")
			if !ok {
				version = filepath.Base(filepath.Dir(image))
			}
			found = append(found, kernel{release: r, version: version, dir: dir, image: image})
		}
	}
	if len(found) != 1 {
		return kernel{}, fmt.Errorf("%d kernels in %s, want one", len(found), dir)
	}
	return found[0], nil
}

// download gets the kernel's packages by an apt of its own, which knows nothing of
// this machine's packages and leaves its lists alone, and unpacks them into dir.
func download(ctx context.Context, r release, dir string) error {
	work, err := os.MkdirTemp("", "kernels-apt")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	a, err := newApt(ctx, r, work)
	if err != nil {
		return err
	}
	if _, err := a.run(ctx, "apt-get", "update"); err != nil {
		return err
	}
	packages, err := a.kernelPackages(ctx)
	if err != nil {
		return err
	}
	if _, err := a.run(ctx, "apt-get", append([]string{"download"}, packages...)...); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(work, "*.deb"))
	if err != nil {
		return err
	}
	for _, file := range files {
		if out, err := exec.CommandContext(ctx, "dpkg-deb", "-x", file, dir).CombinedOutput(); err != nil {
			return fmt.Errorf("unpack %s: %w: %s", filepath.Base(file), err, out)
		}
	}
	return nil
}

// apt runs apt's programs on lists of its own.
type apt struct {
	dir     string
	options []string
	suite   string
}

func newApt(ctx context.Context, r release, dir string) (*apt, error) {
	for _, d := range []string{"state/lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	if _, err := os.Stat(keyring); errors.Is(err, fs.ErrNotExist) {
		return nil, hint.Wrap(err, needed)
	}
	main, security, err := archives(ctx)
	if err != nil {
		return nil, err
	}
	var sources strings.Builder
	for _, suite := range r.suites {
		at := main
		if strings.HasSuffix(suite, "-security") {
			at = security
		}
		fmt.Fprintf(&sources, "deb [signed-by=%s] %s %s main\n", keyring, at, suite)
	}
	list := filepath.Join(dir, "sources.list")
	if err := os.WriteFile(list, []byte(sources.String()), 0o600); err != nil {
		return nil, err
	}
	return &apt{dir: dir, suite: r.suite, options: []string{
		"-qq", "-o", "Dir::Etc::sourcelist=" + list, "-o", "Dir::Etc::sourceparts=-", "-o", "Dir::State=" + filepath.Join(dir, "state"),
		"-o", "Dir::Cache=" + filepath.Join(dir, "cache"), "-o", "Dir::State::status=/dev/null", "-o", "APT::Architecture=amd64",
		"-o", "Acquire::Languages=none", "-o", "APT::Sandbox::User=", "-o", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
	}}, nil
}

// archives are where this machine's apt finds Debian: its main archive, and the one
// of security updates.
func archives(ctx context.Context) (main, security string, err error) {
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(REPO_URI)", "Created-By: Packages").Output()
	if err != nil {
		return "", "", hint.Wrap(fmt.Errorf("ask apt for its archives: %w", err), "the kernels come from Debian's archive: run this on Debian")
	}
	for line := range strings.Lines(string(out)) {
		switch word := strings.Split(strings.TrimSpace(line), "|"); {
		case len(word) != 3 || word[0] != "Debian":
		case word[1] == "Debian":
			main = word[2]
		case word[1] == "Debian-Security":
			security = word[2]
		}
	}
	if main == "" || security == "" {
		return "", "", hint.Wrap(errors.New("apt knows no archive of Debian, or none of its security updates"),
			"run: apt-get update; the kernels come from Debian's archive, so this needs Debian")
	}
	return main, security, nil
}

// run runs one of apt's programs.
func (a *apt) run(ctx context.Context, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, slices.Concat(a.options, args)...)
	cmd.Dir = a.dir
	var wrong strings.Builder
	cmd.Stderr = &wrong
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", program, args[0], err, strings.TrimSpace(wrong.String()))
	}
	return string(out), nil
}

// kernelPackages are the packages with the newest kernel's image and modules:
// one, or since Linux 7 several.
func (a *apt) kernelPackages(ctx context.Context) ([]string, error) {
	image, err := a.depends(ctx, metapackage, "linux-image-")
	if err != nil {
		return nil, err
	}
	if len(image) != 1 {
		return nil, fmt.Errorf("%s depends on %d kernels, want one", metapackage, len(image))
	}
	version := strings.TrimPrefix(image[0], "linux-image-")
	parts, err := a.depends(ctx, image[0], "linux-")
	if err != nil {
		return nil, err
	}
	return append(image, slices.DeleteFunc(parts, func(name string) bool { return !strings.HasSuffix(name, "-"+version) })...), nil
}

// depends lists what a package depends on, of the names with this prefix.
func (a *apt) depends(ctx context.Context, name, prefix string) ([]string, error) {
	out, err := a.run(ctx, "apt-cache", "-t", a.suite, "depends", "--no-recommends", "--no-suggests", "--no-conflicts", "--no-breaks",
		"--no-replaces", "--no-enhances", name)
	if err != nil {
		return nil, err
	}
	var found []string
	for line := range strings.Lines(out) {
		if on, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: "); ok && strings.HasPrefix(on, prefix) {
			found = append(found, on)
		}
	}
	return found, nil
}
