package retina_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestWorkflowsOnlyCallMake keeps what CI does possible on any machine, and what
// it runs of others the same: actions are named by commit.
func TestWorkflowsOnlyCallMake(t *testing.T) {
	files, err := filepath.Glob(".github/workflows/*.yml")
	if err != nil || len(files) < 2 {
		t.Fatalf("workflows: %q, %v", files, err)
	}
	targets := makeTargets(t)
	for _, file := range files {
		text := readFile(t, file)
		if strings.Contains(text, "run: |") {
			t.Errorf("%s has a script", file)
		}
		for _, step := range regexp.MustCompile(`(?m)^\s*-? ?run: (.*)$`).FindAllStringSubmatch(text, -1) {
			command := regexp.MustCompile(`^(?:sudo --preserve-env=PATH )?make ([a-z-]+)(?: VERSION="\$GITHUB_REF_NAME")?$`).FindStringSubmatch(step[1])
			if command == nil || !targets[command[1]] {
				t.Errorf("%s: %q is not one call of a make target", file, step[1])
			}
		}
		for _, step := range regexp.MustCompile(`uses: (.*)`).FindAllStringSubmatch(text, -1) {
			if !regexp.MustCompile(`^actions/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`).MatchString(step[1]) {
				t.Errorf("%s: %q is not pinned to a commit, with its version", file, step[1])
			}
		}
	}
}

// TestPagesNameWhatExists looks for each make target, and each file of ours, that
// the pages for contributors name.
func TestPagesNameWhatExists(t *testing.T) {
	targets := makeTargets(t)
	for _, page := range []string{"CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "README.md"} {
		text := readFile(t, page)
		for _, match := range regexp.MustCompile("(?m)(?:^|`)make ([a-z-]+)").FindAllStringSubmatch(text, -1) {
			if !targets[match[1]] {
				t.Errorf("%s: there is no make %s", page, match[1])
			}
		}
		paths := regexp.MustCompile("[`(]((?:internal|bpf|tools|docs|e2e|cmd)/[a-zA-Z0-9_./-]+|[A-Z]+\\.md)[`)]").FindAllStringSubmatch(text, -1)
		if page == "CONTRIBUTING.md" && len(paths) < 10 {
			t.Errorf("%s: only %d paths found", page, len(paths))
		}
		for _, match := range paths {
			path := regexp.MustCompile(`/NAME/?$`).ReplaceAllString(match[1], "")
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
	}
}

func makeTargets(t *testing.T) map[string]bool {
	t.Helper()
	targets := map[string]bool{}
	for _, match := range regexp.MustCompile(`(?m)^([a-z-]+):`).FindAllStringSubmatch(readFile(t, "Makefile"), -1) {
		targets[match[1]] = true
	}
	return targets
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
