package follow

import (
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

func uidOf(name string) types.UID { return types.UID("u-" + name) }

// objectMeta takes labels as "k=v" and the controller as "Kind/name".
func objectMeta(namespace, name string, words ...string) metav1.ObjectMeta {
	m := metav1.ObjectMeta{Namespace: namespace, Name: name, UID: uidOf(name), Labels: map[string]string{}}
	for _, word := range words {
		if kind, owner, ok := strings.Cut(word, "/"); ok && !strings.Contains(word, "=") {
			yes := true
			m.OwnerReferences = []metav1.OwnerReference{{Kind: kind, Name: owner, UID: uidOf(owner), Controller: &yes}}
			continue
		}
		k, v, _ := strings.Cut(word, "=")
		m.Labels[k] = v
	}
	return m
}

// newPod returns a pod that runs on n1; change may be nil.
func newPod(namespace, name, ip string, words ...string) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: objectMeta(namespace, name, words...),
		Spec:       corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "app"}}},
		Status: corev1.PodStatus{
			Phase:             corev1.PodRunning,
			ContainerStatuses: []corev1.ContainerStatus{{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}},
		},
	}
	if ip != "" {
		pod.Status.PodIP, pod.Status.PodIPs = ip, []corev1.PodIP{{IP: ip}}
	}
	return pod
}

// with returns a changed copy.
func with[T interface{ DeepCopyObject() runtime.Object }](object T, change func(T)) T {
	object = object.DeepCopyObject().(T)
	change(object)
	return object
}

func inPhase(phase corev1.PodPhase) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		pod.Status.Phase = phase
		if phase != corev1.PodRunning {
			pod.Status.ContainerStatuses = nil
		}
	}
}

// deleting marks a pod as being deleted while its container still runs.
func deleting(pod *corev1.Pod) {
	now := metav1.NewTime(time.Unix(1, 0))
	pod.DeletionTimestamp = &now
}

func selector(word string) *metav1.LabelSelector {
	s, err := metav1.ParseToLabelSelector(word)
	if err != nil {
		panic(err)
	}
	return s
}

func replicas(n int32) *int32 { return &n }

func newDeployment(name, labels string) *appsv1.Deployment {
	return &appsv1.Deployment{ObjectMeta: objectMeta("shop", name), Spec: appsv1.DeploymentSpec{Selector: selector(labels)}}
}

func newReplicaSet(name string, n int32, words ...string) *appsv1.ReplicaSet {
	return &appsv1.ReplicaSet{
		ObjectMeta: objectMeta("shop", name, append(words, "app=web", "rs="+name)...),
		Spec:       appsv1.ReplicaSetSpec{Selector: selector("app=web,rs=" + name), Replicas: replicas(n)},
	}
}

func newNamespace(name string, words ...string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: objectMeta("", name, words...)}
}

func newNode(name, os string, words ...string) *corev1.Node {
	node := &corev1.Node{ObjectMeta: objectMeta("", name, words...)}
	node.Status.NodeInfo.OperatingSystem = os
	return node
}

func newJob(name string, done bool, words ...string) *batchv1.Job {
	job := &batchv1.Job{ObjectMeta: objectMeta("shop", name, words...), Spec: batchv1.JobSpec{Selector: selector("job=" + name)}}
	if done {
		job.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}}
	}
	return job
}

func newService(name, selects string) *corev1.Service {
	service := &corev1.Service{ObjectMeta: objectMeta("shop", name)}
	if selects != "" {
		service.Spec.Selector = selector(selects).MatchLabels
	}
	return service
}

func newEndpoints(name, service string, pods ...string) *discoveryv1.EndpointSlice {
	slice := &discoveryv1.EndpointSlice{ObjectMeta: objectMeta("shop", name, discoveryv1.LabelServiceName+"="+service)}
	for _, pod := range pods {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: pod}})
	}
	return slice
}
