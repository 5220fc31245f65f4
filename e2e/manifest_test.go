//go:build linux && !unit

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// manifestFile writes a manifest of a capture, with the fields below
// captureTarget, captureOption and outputConfiguration.
func manifestFile(t testing.TB, name, target, option, output string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name+".yaml")
	text := fmt.Sprintf(`# as for Retina's operator
apiVersion: retina.sh/v1alpha1
kind: Capture
metadata:
  name: %s
spec:
  captureConfiguration:
    captureTarget: {%s}
    captureOption: {%s}
    includeMetadata: true
  outputConfiguration: {%s}
`, name, target, option, output)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// A manifest with every kind of selector, stored on the nodes.
func TestManifestWithHostPath(t *testing.T) {
	shop := openShop(t, "team: manifest")
	path := "manifest/" + uniqueName(t)
	file := manifestFile(t, "from-manifest",
		"namespaceSelector: {matchLabels: {team: manifest}}, podSelector: {matchExpressions: [{key: app, operator: In, values: [web, db]}, {key: canary, operator: DoesNotExist}]}",
		"duration: 4s, maxCaptureSize: 20, packetSize: 96, noResolveDNS: true", "hostPath: "+path)
	p := start(t, "capture", "create", "--collector-namespace", collectorNamespace, "-f", file)
	p.waitFor(t, "capturing")
	shop.get(t, shop.client["n1"], shop.web["n1"], "/manifest", 5)
	shop.get(t, shop.client["n1"], shop.web["n2"], "/manifest", 5)
	r := p.wait(t)
	r.wantCode(t, 0)
	if !strings.Contains(r.stderr, "is ignored: spec.captureConfiguration.captureOption.noResolveDNS") {
		t.Errorf("what is ignored was not told:\n%s", r)
	}
	for _, node := range []string{"n1", "n2"} {
		files := fromNode(t, node, "/var/log/retina/captures/"+path)
		if len(files) != 1 || !strings.HasPrefix(filepath.Base(files[0]), "from-manifest-"+node+"-") {
			t.Fatalf("archives of %s: %q", node, files)
		}
		a := openArchive(t, files[0])
		packets := a.packets()[0]
		if got := len(rows(t, packets, "tcp.dstport == 8080 && tcp.flags.syn == 1 && tcp.flags.ack == 0", "frame.number")); got == 0 {
			t.Errorf("no connection is in the archive of %s", node)
		}
		if got := rows(t, packets, "frame.cap_len > 96", "frame.number"); len(got) > 0 {
			t.Errorf("%d packets are longer than packetSize", len(got))
		}
		if a.record.Limits.FileBytes != 20<<20 || a.record.Limits.Seconds != 4 || a.record.SnapLen != 96 {
			t.Errorf("record %+v, snaplen %d", a.record.Limits, a.record.SnapLen)
		}
		if !slices.Contains(a.names, "metadata/before/node/routes.txt") {
			t.Errorf("no metadata in the archive of %s: %q", node, a.names)
		}
	}
	wantNothingLeft(t)
}

// What --dry-run=client prints is captured by -f, without the cluster meanwhile.
func TestManifestFromTheCommandLine(t *testing.T) {
	shop := openShop(t, "")
	printed := retina(t, "capture", "create", "svc/web", "-n", shop.namespace, "--duration", "4s", "--packet-size", "80", "--dry-run=client", "-o", "yaml",
		"--kubeconfig", "/does/not/exist")
	printed.wantCode(t, 0)
	file := filepath.Join(t.TempDir(), "web.yaml")
	if err := os.WriteFile(file, []byte(printed.stdout), 0o600); err != nil {
		t.Fatal(err)
	}
	again := retina(t, "capture", "create", "-f", file, "--dry-run=client", "-o", "yaml")
	again.wantCode(t, 0)
	if again.stdout != printed.stdout {
		t.Errorf("printed\n%s\nand then\n%s", printed.stdout, again.stdout)
	}
	p, packets := startCapture(t, "-f", file)
	p.waitFor(t, "capturing")
	shop.get(t, shop.client["n1"], shop.web["n2"], "/printed", 5)
	p.wait(t).wantCode(t, 0)
	if got := len(rows(t, packets, "tcp.dstport == 8080 && tcp.flags.syn == 1 && tcp.flags.ack == 0", "frame.number")); got == 0 {
		t.Error("nothing was captured")
	}
	wantNothingLeft(t)
}

// The plan names what would be created, and none of it is.
func TestManifestPlan(t *testing.T) {
	shop := openShop(t, "")
	file := manifestFile(t, "planned", "podNames: [web-n1, web-n2]", "duration: 4s", "hostPath: planned")
	var r result
	wantNothingCreated(t, func() {
		r = retina(t, "capture", "create", "--collector-namespace", collectorNamespace, "-n", shop.namespace, "-f", file, "--dry-run=server", "-o", "json")
	})
	r.wantCode(t, 0)
	var plan struct {
		Kind, Name, Namespace string
		Nodes                 []struct {
			Name    string
			Targets []string
			Pod     *corev1.Pod
		}
		Ends, Outputs []string
		Rights        []struct {
			Right, Namespace string
			Granted          bool
		}
	}
	if err := json.Unmarshal([]byte(r.stdout), &plan); err != nil {
		t.Fatalf("%v: %s", err, r)
	}
	if plan.Kind != "CapturePlan" || plan.Name != "planned" || plan.Namespace != collectorNamespace || len(plan.Nodes) != 2 {
		t.Fatalf("plan %+v", plan)
	}
	for i, node := range []string{"n1", "n2"} {
		n := plan.Nodes[i]
		if n.Name != node || !slices.Equal(n.Targets, []string{"pod " + shop.namespace + "/web-" + node}) || n.Pod.Spec.NodeName != node || !*n.Pod.Spec.Containers[0].SecurityContext.Privileged {
			t.Errorf("node %+v", n)
		}
	}
	if !slices.Equal(plan.Outputs, []string{"host path /var/log/retina/captures/planned"}) || len(plan.Rights) < 8 || !plan.Rights[0].Granted {
		t.Errorf("outputs %q, rights %+v", plan.Outputs, plan.Rights)
	}
	text := retina(t, "capture", "create", "--collector-namespace", collectorNamespace, "-n", shop.namespace, "-f", file, "--dry-run=server")
	text.wantCode(t, 0)
	for _, want := range []string{"capture planned of ", "n2: pod " + shop.namespace + "/web-n2", "yes  create pods/exec in namespace " + collectorNamespace, "privileged: true"} {
		if !strings.Contains(text.stdout, want) {
			t.Errorf("%q is not in the plan:\n%s", want, text.stdout)
		}
	}
	wantNothingLeft(t)
}

// Several captures need nobody who waits for them, and run at the same time.
func TestSeveralManifests(t *testing.T) {
	shop := openShop(t, "")
	first := manifestFile(t, "several-a", "podNames: [web-n1]", "duration: 5m", "")
	second := manifestFile(t, "several-b", "podSelector: {matchLabels: {app: client}}", "duration: 5m", "")
	args := []string{"capture", "create", "--collector-namespace", collectorNamespace, "-n", shop.namespace, "-f", first, "-f", second}
	retina(t, args...).wantError(t, 2, "-f has 2 captures", "--no-wait")
	retina(t, append(args, "--no-wait")...).wantCode(t, 0)
	if c := awaitStatus(t, "several-a", "Capturing"); len(c.Nodes) != 1 {
		t.Errorf("listed %+v", c)
	}
	if c := awaitStatus(t, "several-b", "Capturing"); len(c.Nodes) != 2 {
		t.Errorf("listed %+v", c)
	}
	remove(t, "several-a", "several-b")
	wantNothingLeft(t)
}
