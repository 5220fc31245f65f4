//go:build linux

package main

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

// needed is how to get what is not there.
const needed = "install it with: make deps-kernels"

// programs are what the tests run, and the names they run them by.
func programs() map[string][]string {
	tables := func(kind string) []string { return []string{"iptables-" + kind, "ip6tables-" + kind} }
	return map[string][]string{
		"busybox": {"sleep", "sh", "cat"},
		"ip":      nil, "tc": nil, "nft": nil, "sysctl": nil,
		"xtables-nft-multi":    append(tables("nft"), "iptables", "ip6tables"),
		"xtables-legacy-multi": tables("legacy"),
	}
}

// addPrograms puts the programs, their libraries and iptables' extensions into an
// initramfs.
func addPrograms(fs initramfs) error {
	for program, names := range programs() {
		path, err := exec.LookPath(program)
		if err != nil {
			return hint.Wrap(err, needed)
		}
		if err := addWithLibraries(fs, path, "/bin/"+program); err != nil {
			return err
		}
		for _, name := range names {
			fs.link("/bin/"+name, program)
		}
	}
	extensions, err := filepath.Glob("/usr/lib/*/xtables/*.so")
	if err != nil {
		return err
	}
	for _, path := range extensions {
		if err := addWithLibraries(fs, path, path); err != nil {
			return err
		}
	}
	return nil
}

// addWithLibraries adds a program, its dynamic linker and its libraries.
func addWithLibraries(to initramfs, path, name string) error {
	if _, ok := to[name]; ok {
		return nil
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	to.file(name, content)
	file, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer file.Close()
	if section := file.Section(".interp"); section != nil {
		linker, err := section.Data()
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		at := string(linker[:len(linker)-1])
		if err := addWithLibraries(to, at, at); err != nil {
			return err
		}
	}
	libraries, err := file.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for _, library := range libraries {
		at, err := findLibrary(library)
		if err == nil {
			err = addWithLibraries(to, at, at)
		}
		if err != nil {
			return fmt.Errorf("library of %s: %w", path, err)
		}
	}
	return nil
}

// findLibrary looks where Debian's dynamic linker does.
func findLibrary(name string) (string, error) {
	for _, dir := range []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/lib", "/usr/lib"} {
		at := filepath.Join(dir, name)
		if _, err := os.Stat(at); !errors.Is(err, fs.ErrNotExist) {
			return at, err
		}
	}
	return "", fmt.Errorf("%s: %w", name, fs.ErrNotExist)
}
