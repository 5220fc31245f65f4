//go:build linux

package main

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

const busyboxPath = "/bin/busybox"

// dependency is a program that must be installed and the Debian package that has it.
type dependency struct {
	program string // name to look up in PATH, or "" if present says more
	pack    string
	present func() bool
}

// cniDirs are where distributions put the CNI plugins.
func cniDirs() []string { return []string{"/usr/lib/cni", "/opt/cni/bin"} }

// cniDir returns the directory with the CNI plugins, or "".
func cniDir() string {
	for _, dir := range cniDirs() {
		if _, err := os.Stat(filepath.Join(dir, "bridge")); err == nil {
			return dir
		}
	}
	return ""
}

func dependencies() []dependency {
	return []dependency{
		{program: "containerd", pack: "containerd"},
		{program: "ctr", pack: "containerd"},
		{program: "runc", pack: "runc"},
		{pack: "containernetworking-plugins", present: func() bool { return cniDir() != "" }},
		{program: "etcd", pack: "etcd-server"},
		{program: "iptables", pack: "iptables"},
		{program: "ip6tables", pack: "iptables"},
		{program: "ip", pack: "iproute2"},
		{program: "modprobe", pack: "kmod"},
		{program: "nsenter", pack: "util-linux"},
		{program: "mount", pack: "mount"},
		{pack: "busybox-static", present: func() bool { return isStatic(busyboxPath) }},
	}
}

// isStatic reports whether path is a program that needs no dynamic linker, and
// so runs in an image of its own. The package busybox has the same path as
// busybox-static and is not.
func isStatic(path string) bool {
	file, err := elf.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	return !slices.ContainsFunc(file.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
}

// missingPackages returns the Debian packages that are not installed, sorted.
func missingPackages(all []dependency) []string {
	var missing []string
	for _, d := range all {
		if d.present != nil && d.present() {
			continue
		}
		if d.present == nil {
			if _, err := exec.LookPath(d.program); err == nil {
				continue
			}
		}
		missing = append(missing, d.pack)
	}
	slices.Sort(missing)
	return slices.Compact(missing)
}

// checkDependencies fails if something must be installed first.
func checkDependencies() error {
	missing := missingPackages(dependencies())
	if len(missing) == 0 {
		return nil
	}
	return hint.Wrap(fmt.Errorf("not installed: %s", strings.Join(missing, " ")),
		"install them with: go run ./e2e/cluster deps")
}

// installDependencies installs the missing packages with apt-get, and prints
// nothing if none is missing. Services that the packages start do not disturb
// the cluster: its own run in namespaces of their own.
func installDependencies(ctx context.Context, out io.Writer) error {
	missing := missingPackages(dependencies())
	if len(missing) == 0 {
		return nil
	}
	if err := needRoot("install packages"); err != nil {
		return err
	}
	names := strings.Join(missing, " ")
	if _, err := exec.LookPath("apt-get"); err != nil {
		return hint.Wrap(fmt.Errorf("not installed: %s; and there is no apt-get", names),
			"install what these Debian packages contain by other means")
	}
	fmt.Fprintln(out, "installing", names)
	install := append([]string{"install", "--yes", "--no-install-recommends"}, missing...)
	if aptGet(ctx, install...) != nil { // the package lists may be missing or old
		if err := errors.Join(aptGet(ctx, "update"), aptGet(ctx, install...)); err != nil {
			return fmt.Errorf("install %s: %w", names, err)
		}
	}
	return checkDependencies()
}

func aptGet(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "apt-get", append([]string{"--quiet"}, args...)...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("apt-get %s: %w: %s", args[0], err, lastLines(string(out), 5))
	}
	return nil
}

func needRoot(what string) error {
	if os.Geteuid() == 0 {
		return nil
	}
	return hint.Wrap(fmt.Errorf("only root can %s", what), "run it with sudo")
}

// lastLines returns the last n lines of text, blank ones aside.
func lastLines(text string, n int) string {
	lines := slices.DeleteFunc(strings.Split(text, "\n"), func(l string) bool { return strings.TrimSpace(l) == "" })
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
