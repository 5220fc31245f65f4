package inventory

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// began is when everything in these tests was created.
func began() time.Time { return time.Date(2026, 11, 22, 16, 0, 0, 0, time.UTC) }

func world(objects ...runtime.Object) *fake.Clientset { return fake.NewSimpleClientset(objects...) }

func meta(name, run, capture, component string) metav1.ObjectMeta {
	labels := map[string]string{labelName: programName, labelManagedBy: programName, labelRun: run, labelComponent: component}
	if capture != "" {
		labels[labelCapture] = capture
	}
	return metav1.ObjectMeta{
		Namespace: "netops", Name: name, UID: types.UID("uid-" + name), Labels: labels,
		Annotations: map[string]string{}, CreationTimestamp: metav1.NewTime(began()),
	}
}

// lease is the Job of a capture, which has finished and lives for ttl.
func lease(run, capture, mode string, ttl time.Duration) *batchv1.Job {
	name := "retina-" + run
	if capture != "" {
		name = "retina-capture-" + capture
	}
	job := &batchv1.Job{ObjectMeta: meta(name, run, capture, componentLease)}
	job.Annotations[AnnotationMode] = mode
	job.Spec.TTLSecondsAfterFinished = new(int32(ttl / time.Second))
	job.Status.CompletionTime = new(metav1.NewTime(began()))
	return job
}

// collector is a pod on a node whose container is in a state.
func collector(run, capture, node string, state corev1.ContainerState) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: meta("retina-"+run+"-"+node, run, capture, componentCollector)}
	pod.Annotations[annotationNode], pod.Annotations[annotationPods] = node, "2"
	pod.Spec.NodeName = node
	pod.Spec.Containers = []corev1.Container{{Name: collectorContainer, Image: "collector:v1", Command: []string{"/retina-collector", keepCommand}}}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: collectorContainer, State: state}}
	switch {
	case state.Running != nil:
		pod.Status.Phase = corev1.PodRunning
	case state.Terminated != nil && state.Terminated.ExitCode == 0:
		pod.Status.Phase = corev1.PodSucceeded
	case state.Terminated != nil:
		pod.Status.Phase = corev1.PodFailed
	default:
		pod.Status.Phase = corev1.PodPending
	}
	return pod
}

func runs() corev1.ContainerState {
	return corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
}

func waits(reason string) corev1.ContainerState {
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}
}

func ended(code int32, reason, message string) corev1.ContainerState {
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason, Message: message}}
}

// lastWord is a container that has ended with this status as its last word.
func lastWord(t *testing.T, code int32, status wire.Status) corev1.ContainerState {
	t.Helper()
	text, err := json.Marshal(status)
	if err != nil {
		t.Fatal(err)
	}
	return ended(code, "Completed", string(text))
}

// answers is a Prober that knows what each node says; one that it does not know
// does not answer.
type answers map[string]wire.Status

func (a answers) Status(_ context.Context, _, _, node, _ string) (wire.Status, error) {
	if status, ok := a[node]; ok {
		return status, nil
	}
	return wire.Status{}, fmt.Errorf("node %s: no answer\x1b[31m", node)
}
