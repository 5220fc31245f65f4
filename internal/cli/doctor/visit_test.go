package doctor

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/kube"
	"github.com/kubectl-retina/kubectl-retina/internal/doctor"
)

// testVisit is a visit to a cluster with two nodes, where the user may do all
// but has no terminal. lacks are rights that the user has not.
func testVisit(t *testing.T, maxNodes int, lacks ...string) *visit {
	t.Helper()
	var nodes []runtime.Object
	for _, name := range []string{"n1", "n2"} {
		nodes = append(nodes, &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelOSStable: "linux"}},
			Status: corev1.NodeStatus{
				NodeInfo:   corev1.NodeSystemInfo{OperatingSystem: "linux"},
				Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
			},
		})
	}
	client := fake.NewSimpleClientset(nodes...)
	client.PrependReactor("create", "selfsubjectaccessreviews", func(action clienttesting.Action) (bool, runtime.Object, error) {
		review := action.(clienttesting.CreateActionImpl).Object.(*authorizationv1.SelfSubjectAccessReview).DeepCopy()
		asked := review.Spec.ResourceAttributes
		review.Status.Allowed = !slices.Contains(lacks, asked.Verb+" "+asked.Resource)
		return true, review, nil
	})
	client.PrependReactor("create", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
		create := action.(clienttesting.CreateActionImpl)
		if !slices.Contains(create.CreateOptions.DryRun, metav1.DryRunAll) {
			t.Errorf("a pod is created: %+v", create)
		}
		return true, create.Object, nil
	})
	streams, _, _, _ := genericiooptions.NewTestIOStreams()
	o := &options{streams: streams, now: time.Now, maxNodes: maxNodes, output: "table", image: "collector:1"}
	o.collectors.Namespace = "ops"
	return newVisit(o, &kube.Cluster{Client: client, Namespace: "shop"})
}

func verdicts(v *visit) map[string]doctor.Check {
	all := map[string]doctor.Check{}
	for _, c := range v.report.Checks {
		all[c.Name] = c
	}
	return all
}

// TestManyNodes: what was found out of the cluster is told also when nobody can be
// asked whether so many nodes are to get a collector.
func TestManyNodes(t *testing.T) {
	v := testVisit(t, 1)
	if err := v.run(t.Context()); !errors.Is(err, exit.ErrSilent) || exit.Code(err) != exit.Partial {
		t.Errorf("ended with %v", err)
	}
	all := verdicts(v)
	for name, want := range map[string]doctor.Status{"rights": doctor.OK, "rights/targets": doctor.OK, "namespace": doctor.OK, "nodes": doctor.Unknown} {
		if all[name].Status != want {
			t.Errorf("%s: %+v, want %s", name, all[name], want)
		}
	}
	if c := all["nodes"]; !strings.HasPrefix(c.Detail, "2 to look at; none was looked at") || !strings.HasSuffix(c.Hint, "--max-nodes 2") {
		t.Errorf("%+v", c)
	}
	for maxNodes, want := range map[int]bool{0: true, 2: true, 1: false} {
		nodes, may, err := testVisit(t, maxNodes).examineCluster(t.Context())
		if len(nodes) != 2 || may != want || err != nil {
			t.Errorf("--max-nodes %d: %v, may %t, %v", maxNodes, nodes, may, err)
		}
	}
}

// TestImageOn: without the kubelet's events nobody knows whether an image was pulled.
func TestImageOn(t *testing.T) {
	v := testVisit(t, 0)
	v.checkRights(t.Context())
	v.pulled["n2"] = true
	if v.imageOn("n1") != doctor.ImageThere || v.imageOn("n2") != doctor.ImagePulled {
		t.Errorf("%d, %d", v.imageOn("n1"), v.imageOn("n2"))
	}
	v = testVisit(t, 0, "watch events")
	v.checkRights(t.Context())
	if v.imageOn("n1") != doctor.ImageUnknown {
		t.Errorf("%d", v.imageOn("n1"))
	}
}
