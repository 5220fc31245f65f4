//go:build linux && !unit

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestExamples runs every example of the help texts and of the README on a
// cluster that has what they name.
func TestExamples(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var examples []string
	for i, block := range strings.Split(string(readme), "```") {
		if i%2 == 1 {
			examples = append(examples, commands(block)...)
		}
	}
	for _, args := range [][]string{{"--help"}, {"capture", "create", "--help"}, {"version", "--help"}} {
		_, text, _ := strings.Cut(retina(t, args...).stdout, "\nExamples:\n")
		text, _, _ = strings.Cut(text, "\n\nFlags:")
		text, _, _ = strings.Cut(text, "\n\nAvailable Commands:")
		examples = append(examples, commands(text)...)
	}
	slices.Sort(examples)
	examples = slices.Compact(examples)
	if len(examples) < 8 {
		t.Fatalf("only %d examples found: %q", len(examples), examples)
	}
	openExampleShop(t)
	bin := t.TempDir()
	if err := os.Symlink(the.program, filepath.Join(bin, "kubectl-retina")); err != nil {
		t.Fatal(err)
	}
	for _, example := range examples {
		t.Run(example, func(t *testing.T) { runExample(t, bin, example) })
	}
	wantNothingLeft(t)
}

// commands are the lines of a text that run kubectl retina, without comments.
func commands(text string) []string {
	var all []string
	for line := range strings.Lines(text) {
		line = strings.TrimPrefix(strings.TrimSpace(line), "$ ")
		if command, _, _ := strings.Cut(line, " #"); regexp.MustCompile(`^kubectl retina [a-z]+ `).MatchString(command) {
			all = append(all, strings.TrimSpace(command))
		}
	}
	return all
}

// openExampleShop makes the namespace shop with what the examples name.
func openExampleShop(t *testing.T) {
	kubectl(t, "delete", "namespace", "shop", "--ignore-not-found", "--wait=true") // of an earlier run
	manifest := namespaceYAML("shop", "") + podYAML("shop", "web-1", "n1", "app: api", "") +
		fmt.Sprintf("---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: shop}\nspec: {replicas: 2, selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {terminationGracePeriodSeconds: 1, containers: [{name: main, image: \"%s\", args: [serve]}]}}}\n", trafficImage)
	for service, app := range map[string]string{"web": "web", "db": "api"} {
		manifest += fmt.Sprintf("---\napiVersion: v1\nkind: Service\nmetadata: {name: %s, namespace: shop}\nspec: {selector: {app: %s}, ports: [{port: 80, targetPort: 8080}]}\n", service, app)
	}
	apply(t, manifest)
	kubectl(t, "wait", "-n", "shop", "--for=condition=Available", "--timeout=60s", "deployment/web")
	runningPod(t, "shop", "web-1")
}

// runExample runs one example as kubectl would run it, and ends it as a user
// would when it has a long time to go.
func runExample(t *testing.T, bin, example string) {
	command := strings.ReplaceAll(example, "kubectl retina", "kubectl-retina")
	if !strings.Contains(command, "|") {
		command = "exec " + command
	}
	p := &process{Cmd: the.Command(t.Context(), "bash", "-o", "pipefail", "-c", command), started: time.Now()}
	p.Dir, p.Stdout, p.Stderr = t.TempDir(), &p.stdout, &p.stderr
	p.Env = append(p.Env, "PATH="+bin+":"+os.Getenv("PATH"))
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	long := !strings.Contains(command, "|") && strings.Contains(command, "capture create")
	if long {
		p.waitFor(t, "capturing")
		time.Sleep(time.Second) // part of the case: it goes on for a while
		p.signal(t, syscall.SIGINT)
	}
	r := p.wait(t)
	if want := map[bool]int{true: 130, false: 0}[long]; r.code != want {
		t.Errorf("%s", r)
	}
}
