package cleanup

import (
	"errors"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/kube"
)

func now() time.Time { return time.Date(2026, 11, 22, 16, 0, 0, 0, time.UTC) }

func meta(namespace, name, run, capture, component string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: namespace, Name: name, CreationTimestamp: metav1.NewTime(now()), Annotations: map[string]string{"retina.sh/mode": "detached"},
		Labels: map[string]string{"app.kubernetes.io/name": "kubectl-retina", "app.kubernetes.io/managed-by": "kubectl-retina", "retina.sh/run": run, "retina.sh/capture": capture, "retina.sh/component": component},
	}
}

// world has a capture that runs, one that has ended, and an orphan elsewhere.
func world() *fake.Clientset {
	lease := func(run, capture string) *batchv1.Job {
		return &batchv1.Job{
			ObjectMeta: meta("netops", "retina-capture-"+capture, run, capture, "lease"),
			Spec:       batchv1.JobSpec{TTLSecondsAfterFinished: new(int32(3600))},
			Status:     batchv1.JobStatus{CompletionTime: new(metav1.NewTime(now()))},
		}
	}
	pod := func(namespace, run, capture string, phase corev1.PodPhase) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: meta(namespace, "retina-"+run+"-0", run, capture, "collector"),
			Spec:       corev1.PodSpec{NodeName: "n1"}, Status: corev1.PodStatus{Phase: phase},
		}
	}
	return fake.NewSimpleClientset(
		lease("r1", "busy"), pod("netops", "r1", "busy", corev1.PodRunning),
		lease("r2", "over"), pod("netops", "r2", "over", corev1.PodSucceeded),
		pod("shop", "r3", "lost", corev1.PodRunning),
	)
}

func TestCleanup(t *testing.T) {
	const inUse = "capture/busy is in use: collectors run on n1\nhint: --force deletes what is in use too\n"
	tests := []struct {
		name      string
		options   options
		namespace string
		out, err  string
		deleted   int
	}{
		{"one namespace", options{}, "netops", "job/retina-capture-over deleted\npod/retina-r2-0 deleted\n", inUse, 2},
		{"dry run", options{dryRun: true}, "netops", "job/retina-capture-over deleted (dry run)\npod/retina-r2-0 deleted (dry run)\n", inUse, 0},
		{
			"all namespaces", options{allNamespaces: true}, "",
			"job/retina-capture-over deleted from namespace netops\npod/retina-r2-0 deleted from namespace netops\npod/retina-r3-0 deleted from namespace shop\n",
			strings.Replace(inUse, "in use:", "in use in namespace netops:", 1), 3,
		},
		{"by force", options{force: true}, "netops", "job/retina-capture-busy deleted\npod/retina-r1-0 deleted\njob/retina-capture-over deleted\npod/retina-r2-0 deleted\n", "", 4},
		{"nothing", options{}, "default", "", "Nothing to clean up in namespace default.\n", 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			client, deleted := world(), 0
			client.PrependReactor("delete", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
				deleted++
				return true, nil, nil
			})
			streams, _, stdout, stderr := genericiooptions.NewTestIOStreams()
			o := test.options
			o.streams, o.now = streams, func() time.Time { return now().Add(time.Minute) }
			if err := o.run(t.Context(), client, test.namespace); err != nil {
				t.Fatal(err)
			}
			if stdout.String() != test.out || stderr.String() != test.err || deleted != test.deleted {
				t.Errorf("%d deleted; stdout:\n%swant:\n%sstderr:\n%swant:\n%s", deleted, stdout, test.out, stderr, test.err)
			}
		})
	}
}

func TestWhatCannotBeDeletedIsNamed(t *testing.T) {
	client := world()
	client.PrependReactor("delete", "jobs", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "jobs"}, "x", nil)
	})
	streams, _, stdout, _ := genericiooptions.NewTestIOStreams()
	o := options{streams: streams, now: now}
	err := o.run(t.Context(), client, "netops")
	if exit.Code(err) != exit.Partial || !strings.Contains(err.Error(), "you may not delete job netops/retina-capture-over") {
		t.Errorf("%v (code %d)", err, exit.Code(err))
	}
	if stdout.String() != "pod/retina-r2-0 deleted\n" {
		t.Errorf("stdout %q", stdout)
	}
	client.PrependReactor("list", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("boom")
	})
	if err := o.run(t.Context(), client, "netops"); exit.Code(err) != exit.Failed {
		t.Errorf("%v (code %d)", err, exit.Code(err))
	}
}

func TestArguments(t *testing.T) {
	streams, _, _, _ := genericiooptions.NewTestIOStreams()
	cmd := New(kube.NewFlags(), streams)
	if err := cmd.Args(cmd, []string{"web"}); exit.Code(err) != exit.Usage {
		t.Errorf("%v", err)
	}
}
