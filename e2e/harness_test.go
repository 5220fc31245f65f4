//go:build linux && !unit

// Package e2e runs the real programs on the real cluster that e2e/cluster
// starts, and looks at what they wrote with tshark.
package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kubectl-retina/kubectl-retina/e2e/internal/lab"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

// Images on the cluster's nodes.
const (
	trafficImage = "localhost/retina-traffic:1"
	// absentImage is in no registry, on a port where none listens: nothing is
	// asked for beyond the node itself.
	absentImage = "localhost:1/absent:1"
)

// collectorNamespace is where the tests' collectors run, apart from the targets.
const collectorNamespace = "retina-e2e"

// A world is the cluster and the programs under test.
type world struct {
	*lab.Cluster
	client  kubernetes.Interface
	program string // bin/kubectl-retina
}

// the is the world of this test run, made by TestMain.
var the world

func TestMain(m *testing.M) {
	if err := setUp(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		if text := hint.Of(err); text != "" {
			fmt.Fprintln(os.Stderr, "hint:", text)
		}
		os.Exit(1)
	}
	code := m.Run()
	if err := stopServers(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func setUp() error {
	if os.Geteuid() != 0 {
		return errors.New("these tests use a real cluster in network namespaces and need root; without it run: make test-unit")
	}
	for _, program := range []string{"tshark", "capinfos"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%w: run make deps", err)
		}
	}
	settings, err := lab.FromEnvironment()
	if err != nil {
		return err
	}
	if the.Cluster, err = lab.Open(settings); err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", the.Kubeconfig())
	if err != nil {
		return err
	}
	config.Dial = the.Dial
	config.QPS, config.Burst = 100, 200
	if the.client, err = kubernetes.NewForConfig(config); err != nil {
		return err
	}
	if the.program, err = filepath.Abs("../bin/kubectl-retina"); err != nil {
		return err
	}
	build := exec.Command("make", "-C", "..", "build", "image")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("make build image: %w\n%s", err, out)
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: collectorNamespace}}
	if _, err := the.client.CoreV1().Namespaces().Create(context.Background(), namespace, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return loadImage()
}

// loadImage brings the collector's image to every node, in place of an
// earlier build of the same tag.
func loadImage() error {
	archive, err := filepath.Abs("../dist/retina-collector.tar")
	if err != nil {
		return err
	}
	return the.Load(context.Background(), archive)
}

// A result is what became of one command.
type result struct {
	stdout, stderr string
	code           int
	took           time.Duration
}

func (r result) String() string {
	return fmt.Sprintf("exit code %d after %.1fs\nstdout:\n%s\nstderr:\n%s", r.code, r.took.Seconds(), r.stdout, r.stderr)
}

// A process is a command that runs.
type process struct {
	*exec.Cmd
	stdout, stderr lockedBuffer
	started        time.Time
}

// start starts kubectl-retina where the API server answers, with args.
func start(t testing.TB, args ...string) *process {
	t.Helper()
	return startIn(t, t.TempDir(), nil, args...)
}

// startIn is start with a working directory and more environment.
func startIn(t testing.TB, dir string, env []string, args ...string) *process {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	t.Cleanup(cancel)
	p := &process{Cmd: the.Command(ctx, append([]string{the.program}, args...)...), started: time.Now()}
	p.Dir, p.Stdout, p.Stderr = dir, &p.stdout, &p.stderr
	p.Env = append(p.Env, env...)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.ProcessState == nil {
			_ = p.Process.Kill()
			_ = p.Wait()
		}
	})
	return p
}

// wait waits for the end of p.
func (p *process) wait(t testing.TB) result {
	t.Helper()
	err := p.Wait()
	var exitError *exec.ExitError
	if err != nil && !errors.As(err, &exitError) {
		t.Fatal(err)
	}
	return result{stdout: p.stdout.String(), stderr: p.stderr.String(), code: p.ProcessState.ExitCode(), took: time.Since(p.started)}
}

// waitFor waits until p has written text to its standard error.
func (p *process) waitFor(t testing.TB, text string) {
	t.Helper()
	eventually(t, 90*time.Second, func() error {
		if !strings.Contains(p.stderr.String(), text) {
			return fmt.Errorf("%q is not in stderr:\n%s", text, p.stderr.String())
		}
		return nil
	})
}

func (p *process) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := p.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// retina runs kubectl-retina to its end.
func retina(t testing.TB, args ...string) result {
	t.Helper()
	return start(t, args...).wait(t)
}

// capture runs capture create with its output in a new file, whose path it
// returns.
func capture(t testing.TB, args ...string) (result, string) {
	t.Helper()
	p, file := startCapture(t, args...)
	return p.wait(t), file
}

func startCapture(t testing.TB, args ...string) (*process, string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "capture.pcapng")
	return start(t, append([]string{"capture", "create", "--collector-namespace", collectorNamespace, "--write", file}, args...)...), file
}

// wantCode fails the test at once when r ended with another exit code.
func (r result) wantCode(t testing.TB, code int) {
	t.Helper()
	if r.code != code {
		t.Fatalf("exit code %d, want %d: %s", r.code, code, r)
	}
}

// wantError checks that r was refused, in one line that says all of texts and
// possibly a hint, without a stack or a usage page.
func (r result) wantError(t testing.TB, code int, texts ...string) {
	t.Helper()
	r.wantCode(t, code)
	if r.stdout != "" {
		t.Errorf("an error wrote to stdout: %s", r.stdout)
	}
	for _, text := range texts {
		if !strings.Contains(r.stderr, text) {
			t.Errorf("%q is not in stderr:\n%s", text, r.stderr)
		}
	}
	for line := range strings.Lines(r.stderr) {
		if !regexp.MustCompile(`^(error|hint|warning): `).MatchString(line) {
			t.Errorf("line of another kind in stderr: %q", line)
		}
	}
}

// kubectl runs kubectl as administrator and returns its output.
func kubectl(t testing.TB, args ...string) string {
	t.Helper()
	// Not the test's context: that has ended when a cleanup runs.
	return run(t, the.Command(context.Background(), append([]string{"kubectl"}, args...)...))
}

// apply creates objects and deletes them at the end of the test, without
// waiting: names are unique.
func apply(t testing.TB, manifest string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "manifest.yaml")
	if err := os.WriteFile(file, []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	kubectl(t, "apply", "-f", file)
	t.Cleanup(func() {
		cmd := the.Command(context.Background(), "kubectl", "delete", "-f", file, "--ignore-not-found", "--wait=false", "--grace-period=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
}

// onNode runs a command in the namespaces of a node.
func onNode(t testing.TB, node string, args ...string) string {
	t.Helper()
	cmd, err := the.NodeCommand(context.Background(), node, args...)
	if err != nil {
		t.Fatal(err)
	}
	return run(t, cmd)
}

func run(t testing.TB, cmd *exec.Cmd) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s%s", cmd, err, stdout.String(), stderr.String())
	}
	return stdout.String()
}

// eventually tries until there is no error, and fails with the last one.
func eventually(t testing.TB, patience time.Duration, try func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %s: %v", patience, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
