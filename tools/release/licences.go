package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
)

// isLicence matches the names of files that say who may do what with a module,
// which those who pass it on have to pass on too.
var isLicence = regexp.MustCompile(`(?i)^(licen[cs]e|copying|copyright|notice)([.-]|$)`)

// licences returns one text with the licences and notices of all that a program
// is built of, each text once.
func licences(ctx context.Context, info *debug.BuildInfo) ([]byte, error) {
	places, err := directories(ctx, modules(info))
	if err != nil {
		return nil, err
	}
	root, err := goOutput(ctx, "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	places = append(places, place{"the Go standard library " + info.GoVersion, strings.TrimSpace(root)})
	holders := map[string][]string{} // text -> who has it
	var texts []string
	for _, p := range places {
		found, err := p.texts()
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("%s has no licence in %s", p.name, p.dir)
		}
		for _, text := range found {
			if holders[text] == nil {
				texts = append(texts, text)
			}
			if !slices.Contains(holders[text], p.name) {
				holders[text] = append(holders[text], p.name)
			}
		}
	}
	var out bytes.Buffer
	for _, text := range texts {
		fmt.Fprintf(&out, "%s\n%s\n\n%s\n\n", strings.Repeat("=", 80), strings.Join(holders[text], "\n"), strings.TrimSpace(text))
	}
	return out.Bytes(), nil
}

// place is the source of a module.
type place struct{ name, dir string }

// texts reads the licences in a directory. The Go tree's is in its root alone:
// what lies deeper is of the compiler and its tests.
func (p place) texts() ([]string, error) {
	var texts []string
	deep := !strings.HasPrefix(p.name, "the Go")
	err := filepath.WalkDir(p.dir, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != p.dir && (!deep || entry.Name() == "testdata" || strings.HasPrefix(entry.Name(), ".")):
			return filepath.SkipDir
		case !entry.Type().IsRegular() || !isLicence.MatchString(entry.Name()) || filepath.Ext(path) == ".go":
			return nil
		}
		text, err := os.ReadFile(path)
		texts = append(texts, string(text))
		return err
	})
	return texts, err
}

// directories asks the go command where the source of modules is.
func directories(ctx context.Context, all []debug.Module) ([]place, error) {
	if len(all) == 0 {
		return nil, nil
	}
	args := []string{"list", "-m", "-f", "{{.Path}} {{.Version}} {{.Dir}}"}
	for _, m := range all {
		args = append(args, m.Path)
	}
	text, err := goOutput(ctx, args...)
	if err != nil {
		return nil, err
	}
	var places []place
	for line := range strings.Lines(text) {
		words := strings.SplitN(strings.TrimSpace(line), " ", 3)
		if len(words) != 3 || words[2] == "" {
			return nil, fmt.Errorf("module %s is not on this machine", line)
		}
		i := slices.IndexFunc(all, func(m debug.Module) bool { return m.Path == words[0] })
		if i < 0 || all[i].Version != words[1] {
			return nil, fmt.Errorf("the program was not built of %s %s, which go.mod asks for", words[0], words[1])
		}
		places = append(places, place{words[0] + " " + words[1], words[2]})
	}
	return places, nil
}

func goOutput(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "go", args...).Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		return "", fmt.Errorf("go %s: %w: %s", args[0], err, failed.Stderr)
	}
	return string(out), err
}
