//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/kubectl-retina/kubectl-retina/e2e/internal/storage/programs"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

const modulePath = "github.com/kubectl-retina/kubectl-retina"

// goModule is a module of this checkout with programs to build and keep.
type goModule struct {
	dir      string // in the checkout
	ldflags  string
	packages map[string]string // path to install the program at -> package
	duration string            // what to tell those who wait for the first build
}

// kubernetesModule builds Kubernetes as its own release does, as far as
// `kubectl version` and the version of the nodes tell.
func (p plan) kubernetesModule() goModule {
	m := goModule{
		dir:      "e2e/cluster/modules/kubernetes",
		ldflags:  "-s -w",
		packages: map[string]string{},
		duration: "about 6 minutes on 2 cores",
	}
	major, rest, _ := strings.Cut(strings.TrimPrefix(kubernetesVersion, "v"), ".")
	minor, _, _ := strings.Cut(rest, ".")
	for name, value := range map[string]string{"gitVersion": kubernetesVersion, "gitMajor": major, "gitMinor": minor} {
		m.ldflags += fmt.Sprintf(" -X k8s.io/component-base/version.%s=%s", name, value)
	}
	for _, name := range []string{
		"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "kubectl",
	} {
		m.packages[p.program(name)] = "k8s.io/kubernetes/cmd/" + name
	}
	return m
}

func (p plan) corednsPath() string {
	return filepath.Join(p.Cache, "coredns-"+corednsVersion, "bin", "coredns")
}

func (p plan) corednsModule() goModule {
	return goModule{
		dir:      "e2e/cluster/modules/coredns",
		ldflags:  "-s -w",
		packages: map[string]string{p.corednsPath(): "."},
		duration: "about a minute on 2 cores",
	}
}

func (p plan) versitygwModule() goModule {
	return goModule{
		dir:      "e2e/cluster/modules/versitygw",
		ldflags:  "-s -w",
		packages: map[string]string{programs.Versitygw(p.Settings): "github.com/versity/versitygw/cmd/versitygw"},
		duration: "about a minute on 2 cores",
	}
}

func (p plan) krewModule() goModule {
	return goModule{
		dir:      "e2e/cluster/modules/krew",
		ldflags:  "-s -w",
		packages: map[string]string{p.Settings.Krew(): "sigs.k8s.io/krew/cmd/krew"},
		duration: "about half a minute on 2 cores",
	}
}

// ensurePrograms builds or installs what the cache lacks. Programs appear in it
// whole or not at all, whenever this is interrupted, and two builds do not meet.
func (p plan) ensurePrograms(ctx context.Context, out io.Writer) error {
	if err := os.MkdirAll(p.Cache, 0o755); err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	unlock, err := lockDirectory(ctx, p.Cache, func() { fmt.Fprintln(out, "waiting for another build") })
	if err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	defer unlock()
	for _, m := range []goModule{p.kubernetesModule(), p.corednsModule(), p.versitygwModule(), p.krewModule()} {
		for path := range m.packages {
			if _, err := os.Stat(path); err == nil {
				delete(m.packages, path)
			}
		}
		if len(m.packages) == 0 {
			continue
		}
		if err := m.build(ctx, p.Cache, out); err != nil {
			return err
		}
	}
	return p.ensureAzurite(ctx, out)
}

// ensureAzurite installs the blob server of the tests.
func (p plan) ensureAzurite(ctx context.Context, out io.Writer) (err error) {
	if _, err := os.Stat(programs.Azurite(p.Settings)); err == nil {
		return nil
	}
	if _, err := exec.LookPath("npm"); err != nil {
		return hint.Wrap(err, "install Node.js 20 or later, with npm")
	}
	temporary, err := buildDirectory(p.Cache)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temporary)) }()
	fmt.Fprintln(out, "installing Azurite (about half a minute, only the first time)")
	// Scripts of packages are not run: what the blob server needs is all there.
	err = command(ctx, temporary, nil, "npm", "install", "--prefix="+temporary,
		"--ignore-scripts", "--no-audit", "--no-fund", "azurite@"+programs.AzuriteVersion)
	if err != nil {
		return err
	}
	return os.Rename(temporary, programs.AzuriteDir(p.Settings))
}

// buildDirectory makes a directory in the cache for what is not complete, in
// place of those of builds that were killed. The caller holds the cache's lock.
func buildDirectory(cache string) (string, error) {
	const pattern = ".build-*"
	leftovers, err := filepath.Glob(filepath.Join(cache, pattern))
	if err != nil {
		return "", err
	}
	for _, dir := range leftovers {
		if err := os.RemoveAll(dir); err != nil {
			return "", err
		}
	}
	return os.MkdirTemp(cache, pattern)
}

// build builds the packages and moves them into place.
func (m goModule) build(ctx context.Context, cache string, out io.Writer) (err error) {
	root, err := checkout(ctx)
	if err != nil {
		return err
	}
	temporary, err := buildDirectory(cache)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temporary)) }()

	args := []string{"build", "-buildvcs=false", "-ldflags", m.ldflags, "-o", temporary + "/"}
	var names []string
	for path, pack := range m.packages {
		args = append(args, pack)
		names = append(names, filepath.Base(path))
	}
	fmt.Fprintf(out, "building %s (%s, only the first time)\n", strings.Join(names, ", "), m.duration)
	if err := goCommand(ctx, filepath.Join(root, m.dir), args...); err != nil {
		return fmt.Errorf("%s: %w", m.dir, err)
	}
	for path, pack := range m.packages {
		if err := install(temporary, pack, path); err != nil {
			return err
		}
	}
	return nil
}

// install moves what go build made of package pack in dir to path.
func install(dir, pack, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	built := filepath.Join(dir, filepath.Base(path))
	if pack == "." { // named after its module
		entries, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil || len(entries) != 1 {
			return fmt.Errorf("%s: build made %d files: %w", path, len(entries), err)
		}
		built = entries[0]
	}
	return os.Rename(built, path)
}

// checkout returns the root of the project's source. The programs of the
// cluster are built from it.
func checkout(ctx context.Context) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", modulePath)
	out, err := cmd.Output()
	dir := strings.TrimSpace(string(out))
	if err != nil || dir == "" {
		return "", hint.Wrap(errors.New("the project's source is not here"), "run it inside the checkout, with Go installed")
	}
	return dir, nil
}

// goCommand runs the go command for a static program.
func goCommand(ctx context.Context, dir string, args ...string) error {
	return command(ctx, dir, []string{"CGO_ENABLED=0", "GOWORK=off"}, "go", args...)
}

// command runs a program in dir, with more environment. It does not outlive
// this process.
func command(ctx context.Context, dir string, env []string, name string, args ...string) error {
	// The kernel means the thread when it tells of a parent's death.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, args[0], err, lastLines(string(out), 20))
	}
	return nil
}
