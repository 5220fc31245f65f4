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

// ensurePrograms builds what the cache lacks. Programs appear in it whole or
// not at all, whenever this is interrupted, and two builds do not meet.
func (p plan) ensurePrograms(ctx context.Context, out io.Writer) error {
	if err := os.MkdirAll(p.Cache, 0o755); err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	unlock, err := lockDirectory(ctx, p.Cache, func() { fmt.Fprintln(out, "waiting for another build") })
	if err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	defer unlock()
	for _, m := range []goModule{p.kubernetesModule(), p.corednsModule()} {
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
	return nil
}

// build builds the packages and moves them into place.
func (m goModule) build(ctx context.Context, cache string, out io.Writer) (err error) {
	root, err := checkout(ctx)
	if err != nil {
		return err
	}
	const pattern = ".build-*"
	leftovers, err := filepath.Glob(filepath.Join(cache, pattern))
	if err != nil {
		return err
	}
	for _, dir := range leftovers { // of a build that was killed; we hold the lock
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	temporary, err := os.MkdirTemp(cache, pattern)
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

// goCommand runs the go command for a static program. It does not outlive this
// process.
func goCommand(ctx context.Context, dir string, args ...string) error {
	// The kernel means the thread when it tells of a parent's death.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w: %s", args[0], err, lastLines(string(out), 20))
	}
	return nil
}
