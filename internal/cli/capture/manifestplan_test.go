package capture

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/kube"
	"github.com/kubectl-retina/kubectl-retina/internal/session"
	"github.com/kubectl-retina/kubectl-retina/internal/target"
)

// planned is the plan of a command line on a cluster with shopPods on n1.
func planned(t *testing.T, preview *session.Preview, args ...string) (*captureRun, *Plan) {
	t.Helper()
	o := options(t, args...)
	c, err := o.complete()
	if err != nil {
		t.Fatal(err)
	}
	r := newRun(o, c)
	client := fake.NewSimpleClientset()
	client.PrependReactor("create", "selfsubjectaccessreviews", func(action clienttesting.Action) (bool, runtime.Object, error) {
		review := action.(clienttesting.CreateActionImpl).GetObject().(*authorizationv1.SelfSubjectAccessReview).DeepCopy()
		review.Status.Allowed = review.Spec.ResourceAttributes.Verb != "watch"
		return true, review, nil
	})
	r.cluster = &kube.Cluster{Client: client, REST: &rest.Config{}}
	r.collectors.Namespace = "ops"
	if err := r.prepareStorage(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.resolved = &target.Resolved{Searched: c.selection.String(), Nodes: []target.Node{{Name: "n1", Pods: shopPods}, {Name: "n2", Pods: shopPods[1:]}}}
	r.plan()
	return r, r.newPlan(preview)
}

// withoutWatch is a preview for a user who may not watch pods.
func withoutWatch(t *testing.T, r *captureRun) *session.Preview {
	t.Helper()
	config := r.sessionConfig()
	config.Rand = strings.NewReader(strings.Repeat("a", 100))
	p, err := session.NewPreview(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPlanGolden(t *testing.T) {
	empty := &session.Preview{Lease: &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "x"}}}
	r, _ := planned(t, empty, "deploy/web", "--name", "web", "--host-path", "x", "--duration", "90s")
	p := r.newPlan(withoutWatch(t, r))
	var out bytes.Buffer
	if err := p.print(&out, ""); err != nil {
		t.Fatal(err)
	}
	const path = "testdata/plan.txt"
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), out.String()); diff != "" {
		t.Errorf("%s (UPDATE_GOLDEN=1 accepts it):\n%s", path, diff)
	}
	out.Reset()
	if err := p.print(&out, "json"); err != nil {
		t.Fatal(err)
	}
	var again Plan
	if err := json.Unmarshal(out.Bytes(), &again); err != nil || again.Nodes[1].Pod.Spec.NodeName != "n2" || again.Kind != "CapturePlan" || len(again.Warnings) == 0 {
		t.Errorf("%v: %s", err, &out)
	}
}

func TestPlanOfEndsAndOutputs(t *testing.T) {
	lease := &session.Preview{Lease: &batchv1.Job{}}
	for _, test := range []struct {
		args          []string
		ends, outputs string
	}{
		{[]string{"--write", "x.pcapng"}, "after 1m, at 100 MB", "file x.pcapng"},
		{[]string{"--duration", "0", "--max-size", "0", "--packet-count", "5", "--write", "x"}, "after 5 packets, when it is stopped, or after 24h", "file x"},
		{[]string{"--host-path", "y", "--file-count", "3", "--duration", "0"}, "when it is stopped, or after 24h", "host path /var/log/retina/captures/y"},
		{[]string{"--no-wait", "--keep", "2h"}, "after 1m, on each node at 100 MB", "the nodes, for capture download, for 2h"},
	} {
		_, p := planned(t, lease, append(test.args, "deploy/web")...)
		if ends, outputs := strings.Join(p.Ends, ", "), strings.Join(p.Outputs, ", "); ends != test.ends || outputs != test.outputs {
			t.Errorf("%v: ends %q, outputs %q", test.args, ends, outputs)
		}
	}
}

func TestRightsForReading(t *testing.T) {
	for want, args := range map[string][]string{
		"get pods in shop": {"pod/a", "pod/b"},
		"get deployments.apps in shop, list pods in shop, list replicasets.apps in shop": {"deploy/a"},
		"get services in shop, list pods in shop":                                        {"svc/a"},
		"get cronjobs.batch in shop, list pods in shop, list jobs.batch in shop":         {"cj/a"},
		"list pods in shop":          {"-l", "a=b"},
		"list pods":                  {"-l", "a=b", "-A"},
		"list namespaces, list pods": {"--namespace-selectors", "a=b"},
		"list nodes":                 {"--node-selectors", "a=b"},
		"get nodes":                  {"--node-names", "n1", "--node-selectors", "a=b"},
		"get nodes, get pods in shop, get secrets in ops": {"node/n1", "pod/a", "--blob-upload-secret", "s"},
	} {
		o := options(t, args...)
		o.request.Namespace, o.collectors.Namespace = "shop", "ops"
		c, err := o.complete()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range newRun(o, c).readRights() {
			if r.Namespace != "" {
				r.Right += " in " + r.Namespace
			}
			got = append(got, r.Right)
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("%v: %q, want %q", args, got, want)
		}
	}
}

// The secret that a manifest names is looked for in the manifest's words.
func TestMissingSecretOfAManifest(t *testing.T) {
	o, err := read(t, document("web", "podNames: [a]", "", "blobUpload: sas"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := o.complete()
	if err != nil {
		t.Fatal(err)
	}
	r := newRun(o, c)
	r.cluster = &kube.Cluster{Client: fake.NewSimpleClientset(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "other"}})}
	err = r.inManifest(r.prepareStorage(t.Context()))
	if err == nil || !strings.HasPrefix(err.Error(), "standard input: spec.outputConfiguration.blobUpload: there is no secret sas") {
		t.Error(err)
	}
}

// Rights to keep up are in the plan; the user of this cluster may not watch.
func TestRightsForFollowing(t *testing.T) {
	lease := &session.Preview{Lease: &batchv1.Job{}}
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"deploy/web"}, "watch pods=false list deployments.apps=true watch deployments.apps=false watch replicasets.apps=false "},
		{[]string{"deploy/web", "--no-follow"}, ""},
		{[]string{"pod/a", "--no-follow", "--filter", "svc web"}, "get services=true list services=true watch services=false list endpointslices.discovery.k8s.io=true watch endpointslices.discovery.k8s.io=false "},
	} {
		args, want := test.args, test.want
		r, p := planned(t, lease, args...)
		var got string
		for _, right := range r.followRights(t.Context(), p.Rights) {
			got += fmt.Sprintf("%s=%t ", right.Right, right.Granted)
			if (right.For == "") != (right.Granted && !strings.Contains(right.Right, "deployments")) {
				t.Errorf("%q: %+v", args, right)
			}
		}
		if got != want {
			t.Errorf("%q: %s, want %s", args, got, want)
		}
	}
}
