package kube

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

const kubeconfig = `
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: u, user: {}}]
contexts:
- {name: shop, context: {cluster: c, user: u, namespace: shop}}
- {name: none, context: {cluster: c, user: u}}
current-context: shop
`

// cluster is what a command with these flags gets.
func cluster(t *testing.T, args ...string) (*Cluster, error) {
	t.Helper()
	flags := NewFlags()
	cmd := &cobra.Command{Use: "test"}
	flags.AddTo(cmd)
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	return flags.Cluster()
}

func TestNamespaces(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, []byte(kubeconfig), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args              []string
		own, ofTheContext string
	}{
		{nil, "shop", "shop"},
		{[]string{"-n", "db"}, "db", "shop"},
		{[]string{"--context", "none"}, "default", "default"},
		{[]string{"--context", "none", "-n", "db"}, "db", "default"},
		{[]string{"--server", "https://127.0.0.1:2"}, "shop", "shop"},
	} {
		t.Setenv("KUBECONFIG", "")
		c, err := cluster(t, append(test.args, "--kubeconfig", file)...)
		if err != nil || c.Namespace != test.own || c.ContextNamespace != test.ofTheContext {
			t.Errorf("%q: %+v, %v; want namespaces %q and %q", test.args, c, err, test.own, test.ofTheContext)
		}
		t.Setenv("KUBECONFIG", file)
		c, err = cluster(t, test.args...)
		if err != nil || c.Namespace != test.own || c.ContextNamespace != test.ofTheContext {
			t.Errorf("%q with $KUBECONFIG: %+v, %v; want namespaces %q and %q", test.args, c, err, test.own, test.ofTheContext)
		}
	}
}

func TestMistakes(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, []byte(kubeconfig), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args       []string
		code       int
		text, help string
	}{
		{[]string{"--request-timeout", "soon"}, exit.Usage, `--request-timeout "soon" is not a time`, "1s, 2m, 3h"},
		{[]string{"--context", "shpo"}, exit.Failed, `kubeconfig has no context "shpo"`, "its contexts are: none, shop"},
		{[]string{"--kubeconfig", file + "x"}, exit.Failed, "kubeconfig: ", "check --kubeconfig"},
	} {
		_, err := cluster(t, append([]string{"--kubeconfig", file}, test.args...)...)
		if err == nil || exit.Code(err) != test.code || !strings.Contains(err.Error(), test.text) || !strings.Contains(hint.Of(err), test.help) {
			t.Errorf("%q: %v (%s), exit code %d; want %q (%q), %d", test.args, err, hint.Of(err), exit.Code(err), test.text, test.help, test.code)
		}
	}
	if _, err := cluster(t, "--kubeconfig", file, "--request-timeout", "0"); err != nil {
		t.Error(errors.Unwrap(err), err)
	}
}

// Without a kubeconfig client-go asks this machine: that is not what the user has to
// mend.
func TestExplainWithoutCluster(t *testing.T) {
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	t.Setenv("HOME", t.TempDir())
	t.Setenv("KUBERNETES_MASTER", "")
	c, err := cluster(t)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Client.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
	if err == nil {
		t.Skip("something answers at localhost:8080")
	}
	if got := hint.Of(Explain(err)); !strings.Contains(got, "KUBECONFIG") {
		t.Errorf("%v, hint %q", err, got)
	}
}

// A credential plugin that fails says nothing of the cluster.
func TestExplainCredentialPlugin(t *testing.T) {
	for _, command := range []string{"absent-credential-plugin", "false"} {
		file := filepath.Join(t.TempDir(), "config")
		text := strings.Replace(kubeconfig, "user: {}", "user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: '"+command+"', interactiveMode: Never}}", 1)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := cluster(t, "--kubeconfig", file)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Client.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
		if got := hint.Of(Explain(err)); !strings.Contains(got, "credential plugin") {
			t.Errorf("%s: %v, hint %q", command, err, got)
		}
	}
}
