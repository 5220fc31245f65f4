//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	retina "github.com/kubectl-retina/kubectl-retina"
	"github.com/kubectl-retina/kubectl-retina/e2e/kernels/plan"
)

const modulePath = "github.com/kubectl-retina/kubectl-retina/"

// testedPackages are those that talk with the kernel, as patterns for go list.
func testedPackages() []string {
	return []string{"./internal/plugin/...", "./internal/hostns", "./internal/collector", "./internal/pcapfilter/ebpf"}
}

// built are programs for the machines, in a directory.
type built struct {
	dir    string
	suites []suite
}

// suite is a program of tests and its package.
type suite struct {
	name string // the package, without the module's path
	dir  string // its source
	file string
}

// build compiles the tests of the packages whose name matches, the collector, and
// the machines' first process.
func build(ctx context.Context, only *regexp.Regexp, dir string) (*built, error) {
	format := "{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}} {{.Dir}}{{end}}"
	out, err := run(ctx, "go", append([]string{"list", "-f", format}, testedPackages()...)...)
	if err != nil {
		return nil, err
	}
	b := &built{dir: dir}
	for line := range strings.Lines(out) {
		importPath, source, ok := strings.Cut(strings.TrimSpace(line), " ")
		name := strings.TrimPrefix(importPath, modulePath)
		if !ok || !only.MatchString(name) {
			continue
		}
		s := suite{name: name, dir: source, file: filepath.Join(dir, strings.ReplaceAll(name, "/", "-")+".test")}
		if _, err := run(ctx, "go", "test", "-c", "-ldflags", "-s -w", "-o", s.file, importPath); err != nil {
			return nil, err
		}
		b.suites = append(b.suites, s)
	}
	for name, source := range map[string]string{"init": "./e2e/kernels/guest", "retina-collector": "./cmd/retina-collector"} {
		if _, err := run(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(dir, name), source); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func run(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	var wrong strings.Builder
	cmd.Stderr = &wrong
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, wrong.String())
	}
	return string(out), nil
}

// probes are what the collector is asked in each machine: for each plugin, and by
// each way of attaching where a plugin has several.
func probes(c *retina.Catalogue) []plan.Probe {
	var all []plan.Probe
	for _, p := range c.Plugins {
		all = append(all, plan.Probe{Plugin: p.Name})
		if slices.ContainsFunc(p.Hooks, func(h retina.Hook) bool { return h.Kind == "tcx" }) {
			all = append(all, plan.Probe{Plugin: p.Name, Hook: "tcx"}, plan.Probe{Plugin: p.Name, Hook: "socket"})
		}
	}
	return all
}

// suiteLimit is how long one program of tests may run.
const suiteLimit = 10 * time.Minute

// image writes the initramfs of one machine.
func (b *built) image(ctx context.Context, k kernel, p plan.Plan, to string) error {
	files := initramfs{}
	if err := addPrograms(files); err != nil {
		return err
	}
	for name, at := range map[string]string{"init": "/init", "retina-collector": plan.Collector} {
		content, err := os.ReadFile(filepath.Join(b.dir, name))
		if err != nil {
			return err
		}
		files.file(at, content)
	}
	for i := range p.Suites {
		if err := b.addSuite(files, b.suites[i], &p.Suites[i]); err != nil {
			return err
		}
	}
	modules, err := k.modules(ctx, wantedModules())
	if err != nil {
		return err
	}
	for _, m := range modules {
		at := "/modules/" + m.name + ".ko"
		files.file(at, m.content)
		p.Modules = append(p.Modules, at)
	}
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	files.file(plan.Path, text)
	return files.save(to)
}

// addSuite adds a program of tests where its package is, with the package's
// testdata and its parents', which tests may read.
func (b *built) addSuite(files initramfs, s suite, planned *plan.Suite) error {
	content, err := os.ReadFile(s.file)
	if err != nil {
		return err
	}
	planned.Dir = "/src/" + s.name
	planned.Program = path.Join(planned.Dir, "suite.test")
	files.file(planned.Program, content)
	for at, name := s.dir, s.name; name != "."; at, name = filepath.Dir(at), path.Dir(name) {
		data := filepath.Join(at, "testdata")
		err := filepath.WalkDir(data, func(file string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			content, err := os.ReadFile(file)
			if err == nil {
				files.file("/src/"+name+"/testdata"+strings.TrimPrefix(file, data), content)
			}
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (fs initramfs) save(to string) error {
	file, err := os.Create(to)
	if err != nil {
		return err
	}
	buffered := bufio.NewWriterSize(file, 1<<20)
	return errors.Join(fs.write(buffered), buffered.Flush(), file.Close())
}
