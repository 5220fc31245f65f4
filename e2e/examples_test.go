//go:build linux && !unit

package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kubectl-retina/kubectl-retina/e2e/internal/storage"
)

// TestExamples runs every example of the README, the pages in docs and the help
// texts on a cluster that has what they name.
func TestExamples(t *testing.T) {
	blocks := pageExamples(t)
	for _, args := range [][]string{
		{"--help"}, {"version", "--help"}, {"cleanup", "--help"}, {"doctor", "--help"}, {"shell", "--help"}, {"capture", "create", "--help"}, {"capture", "list", "--help"},
		{"capture", "logs", "--help"}, {"capture", "stop", "--help"}, {"capture", "download", "--help"}, {"capture", "delete", "--help"},
		{"capture", "read", "--help"}, {"capture", "filter", "--help"},
		{"completion", "install", "--help"},
		{"plugins", "--help"}, {"metrics", "snapshot", "--help"}, {"metrics", "top", "--help"}, {"metrics", "events", "--help"}, {"metrics", "serve", "--help"},
	} {
		_, text, _ := strings.Cut(retina(t, args...).stdout, "\nExamples:\n")
		text, _, _ = strings.Cut(text, "\n\nFlags:")
		text, _, _ = strings.Cut(text, "\n\nAvailable Commands:")
		blocks = append(blocks, commands(text))
	}
	blocks = unique(blocks) // in their order: a capture is begun before it is stopped
	if examples := slices.Concat(blocks...); len(examples) < 40 {
		t.Fatalf("only %d examples found: %q", len(examples), examples)
	}
	openExampleShop(t)
	bin := t.TempDir()
	if err := os.Symlink(the.program, filepath.Join(bin, "kubectl-retina")); err != nil {
		t.Fatal(err)
	}
	wireshark := "#!/bin/sh\nexec cat >/dev/null\n"
	if err := os.WriteFile(filepath.Join(bin, "wireshark"), []byte(wireshark), 0o755); err != nil {
		t.Fatal(err)
	}
	sas := azurite(t).Container(t, "examples").SAS(t, storage.SAS{Permissions: "cwrld"})
	storage.StartClaim(t, the.Cluster, the.client, "default", "captures")
	before := retina(t, "metrics", "snapshot", "deploy/web", "-n", "shop", "--duration", "1s", "-o", "json", "--collector-namespace", collectorNamespace)
	before.wantCode(t, 0)
	_, packets := capture(t, "deploy/web", "-n", "shop", "--duration", "1s")
	for _, block := range blocks {
		dir := t.TempDir() // for the whole block: a command may read what one above it wrote
		for _, name := range []string{"web.pcapng", "other.pcapng"} {
			if err := os.Symlink(packets, filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, "before.json"), []byte(before.stdout), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "sas.txt"), []byte(sas), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, example := range block {
			t.Run(example, func(t *testing.T) { runExample(t, bin, dir, sas, example) })
		}
	}
	wantNothingLeft(t)
}

// pageExamples are the commands of each block of README.md and docs, but for the
// blocks that begin with "# needs", and for the reference, which has the help texts.
func pageExamples(t *testing.T) [][]string {
	t.Helper()
	files := []string{"../README.md"}
	err := filepath.WalkDir("../docs", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Name() == "reference" {
			return filepath.SkipDir
		}
		if filepath.Ext(name) == ".md" {
			files = append(files, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var blocks [][]string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, block := range strings.Split(string(text), "```") {
			if _, content, _ := strings.Cut(block, "\n"); i%2 == 1 && !strings.HasPrefix(content, "# needs ") {
				blocks = append(blocks, commands(content))
			}
		}
	}
	return blocks
}

// unique are the blocks in their order, without the commands of an earlier one.
func unique(blocks [][]string) [][]string {
	seen := map[string]bool{}
	for i := range blocks {
		blocks[i] = slices.DeleteFunc(blocks[i], func(command string) bool {
			before := seen[command]
			seen[command] = true
			return before
		})
	}
	return blocks
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
	manifest := namespaceYAML("shop", "team: shop") + podYAML("shop", "web-1", "n1", "app: api", "") +
		namespaceYAML("monitoring", "") + podYAML("monitoring", "prometheus-0", "n2", "app: prometheus", "") +
		fmt.Sprintf("---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: shop}\nspec: {replicas: 2, selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {terminationGracePeriodSeconds: 1, containers: [{name: main, image: \"%s\", args: [serve]}]}}}\n", trafficImage)
	for service, app := range map[string]string{"web": "web", "db": "api"} {
		manifest += fmt.Sprintf("---\napiVersion: v1\nkind: Service\nmetadata: {name: %s, namespace: shop}\nspec: {selector: {app: %s}, ports: [{port: 80, targetPort: 8080}]}\n", service, app)
	}
	apply(t, manifest)
	kubectl(t, "wait", "-n", "shop", "--for=condition=Available", "--timeout=60s", "deployment/web")
	runningPod(t, "shop", "web-1")
	runningPod(t, "monitoring", "prometheus-0")
}

// runExample runs one example as kubectl would run it, and ends it as a user
// would when it has a long time to go.
func runExample(t *testing.T, bin, dir, sas, example string) {
	creates := strings.Contains(example, "capture create")
	if named := regexp.MustCompile(`capture (?:stop|logs|download|delete) ([a-z]+)`).FindStringSubmatch(example); named != nil {
		openStored(t, sas, named[1])
	} else if strings.Contains(example, "capture list") || strings.Contains(example, " night") && !creates {
		openStored(t, sas, "night")
	}
	command := strings.ReplaceAll(example, "kubectl retina", "kubectl-retina")
	if strings.Contains(command, "--blob") {
		command += " --insecure-blob" // Azurite has no certificate
	}
	if !strings.Contains(command, "|") {
		command = "exec " + command
	}
	p := &process{Cmd: the.Command(t.Context(), "bash", "-o", "pipefail", "-c", command), started: time.Now()}
	p.Dir, p.Stdout, p.Stderr = dir, &p.stdout, &p.stderr
	p.Env = append(p.Env, "PATH="+bin+":"+os.Getenv("PATH"), "SAS="+sas, "DISPLAY=:7")
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	codes := []int{0}
	interrupt := func() {
		codes = []int{130}
		time.Sleep(time.Second) // part of the case: it goes on for a while
		p.signal(t, syscall.SIGINT)
	}
	switch {
	case strings.Contains(command, "--expect"):
		codes = []int{0, 3, 4} // what is measured is not the example's doing
	case strings.Contains(command, "metrics serve"):
		p.waitFor(t, "serving")
		interrupt()
	case strings.Contains(command, "metrics events") && !strings.Contains(command, "--duration"):
		p.waitFor(t, "watching")
		interrupt()
	case strings.Contains(command, "metrics top") && !strings.Contains(command, "--once"):
		p.printed(t)
		interrupt()
	case creates && !strings.Contains(command, "|") && !strings.Contains(command, "--no-wait") && !strings.Contains(command, "--dry-run"):
		p.waitFor(t, "capturing")
		interrupt()
	case strings.Contains(command, "--watch"):
		p.printed(t)
		p.signal(t, syscall.SIGINT)
	}
	if r := p.wait(t); !slices.Contains(codes, r.code) {
		t.Errorf("exit code %d, want one of %v: %s", r.code, codes, r)
	}
	leave(t)
}

// printed waits until there is something on standard output.
func (p *process) printed(t testing.TB) {
	t.Helper()
	eventually(t, 20*time.Second, func() error {
		if p.stdout.String() == "" {
			return errors.New("nothing is printed yet")
		}
		return nil
	})
}

// openStored makes a capture of this name, stored on the nodes and in a container.
func openStored(t testing.TB, sas, name string) {
	t.Helper()
	retina(t, "capture", "create", "node/n1", "node/n2", "--name", name, "--no-wait", "--duration", "1s", "--include-metadata=false",
		"--host-path", ".", "--blob-upload-file", secretFile(t, sas), "--insecure-blob").wantCode(t, 0)
	eventually(t, 40*time.Second, func() error {
		if r := retina(t, "capture", "list"); !strings.Contains(r.stdout, "Done") {
			return fmt.Errorf("%s is not done: %s", name, r)
		}
		return nil
	})
}

// leave deletes what an example has left to itself.
func leave(t testing.TB) {
	t.Helper()
	retina(t, "cleanup", "-A", "--force").wantCode(t, 0)
	for _, node := range []string{"n1", "n2"} {
		onNode(t, node, "sh", "-c", "rm -rf /var/log/retina/captures/*")
	}
}
