//go:build linux && !unit

package e2e

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// deployedManifests are those of docs/prometheus.md, word by word.
func deployedManifests(t *testing.T) string {
	t.Helper()
	document, err := os.ReadFile("../docs/prometheus.md")
	if err != nil {
		t.Fatal(err)
	}
	for block := range strings.SplitSeq(string(document), "```yaml\n") {
		if text, _, closed := strings.Cut(block, "```"); closed && strings.Contains(text, "kind: Deployment") {
			return text
		}
	}
	t.Fatal("the document has no Deployment")
	return ""
}

// loadCommandImage makes the image of the command that manifests name, as the document
// says, and brings it to the nodes.
func loadCommandImage(t *testing.T, manifests string) {
	t.Helper()
	reference := regexp.MustCompile(`(?m)^\s+image: (\S+)$`).FindStringSubmatch(manifests)
	if reference == nil {
		t.Fatal("the Deployment has no image")
	}
	archive := filepath.Join(t.TempDir(), "command.tar")
	run(t, exec.Command("go", "run", "../tools/ociimage", "--program", "kubectl-retina", "--binary", runtime.GOARCH+"="+the.program,
		"--reference", reference[1], "--output", archive))
	if err := the.Load(t.Context(), archive); err != nil {
		t.Fatal(err)
	}
}

// A deployed is the Deployment of docs/prometheus.md; its endpoint is asked over the
// API server.
type deployed struct{}

func (deployed) get(path string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	body, err := the.client.CoreV1().Services("retina").ProxyGet("http", "retina-serve", "metrics", path, nil).DoRaw(ctx)
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", path, err, body)
	}
	return string(body), nil
}

func (d deployed) scrape() (scrape, error) {
	text, err := d.get("/metrics")
	if err != nil {
		return nil, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(strings.NewReader(text))
}

// TestServeInTheCluster applies what docs/prometheus.md says, to a cluster in which
// the program has no kubeconfig and only those rights.
func TestServeInTheCluster(t *testing.T) {
	s := openShop(t, "")
	manifests := deployedManifests(t)
	loadCommandImage(t, manifests)
	audit := startAudit(t, "retina", "retina-serve")
	apply(t, manifests)
	var d deployed
	t.Cleanup(func() {
		if t.Failed() {
			log, err := the.Command(context.Background(), "kubectl", "logs", "-n", "retina", "-l", "app.kubernetes.io/name=retina-serve", "--tail=50").CombinedOutput()
			t.Logf("the Deployment's log: %v\n%s", err, log)
		}
	})
	kubectl(t, "rollout", "status", "-n", "retina", "deployment/retina-serve", "--timeout=90s")
	s.send(t, s.client["n2"], s.web["n1"].Status.PodIP, 50)
	eventually(t, 30*time.Second, func() error {
		all, err := d.scrape()
		if err != nil {
			return err
		}
		return atLeast(50, podPackets, "podname=web-n1", "direction=ingress", "namespace="+s.namespace, "node=n1", "workload_kind=Pod")(all)
	})
	eventually(t, 30*time.Second, func() error { // until the other node's first sample is in
		text, err := d.get("/healthz")
		if err == nil && text != "ok\n" {
			err = fmt.Errorf("/healthz: %q", text)
		}
		return err
	})
	apply(t, podYAML(s.namespace, "late", "n2", "app: late", restricted))
	late := runningPod(t, s.namespace, "late")
	s.send(t, s.client["n1"], late.Status.PodIP, 50, "--rate", "10") // while it is being found
	eventually(t, 30*time.Second, func() error {
		all, err := d.scrape()
		if err != nil {
			return err
		}
		return atLeast(1, podPackets, "podname=late", "direction=ingress")(all)
	})
	kubectl(t, "delete", "deployment", "-n", "retina", "retina-serve", "--wait=true")
	eventually(t, 30*time.Second, func() error {
		pods, err := the.client.CoreV1().Pods("retina").List(context.Background(), metav1.ListOptions{})
		if err == nil && len(pods.Items) > 0 {
			err = fmt.Errorf("pod %s is left", pods.Items[0].Name)
		}
		return err
	})
	wantNothingLeft(t)
	wantExactRights(t, manifests, audit)
}

// wantExactRights checks that manifests give the rights that were used, and no others.
func wantExactRights(t *testing.T, manifests string, audit audit) {
	t.Helper()
	// Used on days that this test does not have.
	rare := map[string]string{
		"get jobs.batch in retina":   "to delete collectors whose command was killed",
		"create pods/exec in retina": "from Kubernetes 1.35 on",
	}
	given := givenRights(t, manifests)
	used, refused := audit.rights(t)
	for right := range refused {
		t.Errorf("it may not %s", right)
	}
	for right := range used {
		if everywhere, _, _ := strings.Cut(right, " in "); !given[right] {
			right = everywhere
		}
		delete(given, right)
	}
	for _, right := range slices.Sorted(maps.Keys(given)) {
		if rare[right] == "" {
			t.Errorf("the document gives the right to %s, which is not used", right)
		}
	}
	t.Logf("used: %s", strings.Join(slices.Sorted(maps.Keys(used)), ", "))
}

// givenRights are those of the roles, as audit.rights names them.
func givenRights(t *testing.T, manifests string) map[string]bool {
	t.Helper()
	given := map[string]bool{}
	for document := range strings.SplitSeq(manifests, "---\n") {
		var role rbacv1.ClusterRole
		if err := yaml.Unmarshal([]byte(document), &role); err != nil {
			t.Fatal(err)
		}
		if role.Kind != "Role" && role.Kind != "ClusterRole" {
			continue
		}
		for _, rule := range role.Rules {
			for _, verb := range rule.Verbs {
				for _, resource := range rule.Resources {
					name, sub, isSub := strings.Cut(resource, "/")
					right := verb + " " + name
					if rule.APIGroups[0] != "" {
						right += "." + rule.APIGroups[0]
					}
					if isSub {
						right += "/" + sub
					}
					if role.Kind == "Role" {
						right += " in " + role.Namespace
					}
					given[right] = true
				}
			}
		}
	}
	return given
}
