package target

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// objectMeta returns an ObjectMeta whose UID is derived from what it names; words are
// labels as "k=v" and the controller as "Kind/name".
func objectMeta(namespace, name string, words ...string) metav1.ObjectMeta {
	m := metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID("uid-" + name), Labels: map[string]string{}}
	for _, w := range words {
		if kind, name, ok := strings.Cut(w, "/"); ok && !strings.Contains(w, "=") {
			yes := true
			m.OwnerReferences = []metav1.OwnerReference{{Kind: kind, Name: name, UID: types.UID("uid-" + name), Controller: &yes}}
			continue
		}
		k, v, _ := strings.Cut(w, "=")
		m.Labels[k] = v
	}
	return m
}

func newPod(namespace, name, node string, words ...string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: objectMeta(namespace, name, words...),
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "app"}}},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning},
	}
}

func with[T any](object T, change func(T)) T {
	change(object)
	return object
}

func phase(p corev1.PodPhase) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Status.Phase = p }
}

// deleting marks a pod as being deleted, while its container still runs.
func deleting(pod *corev1.Pod) {
	now := metav1.NewTime(time.Unix(1, 0))
	pod.DeletionTimestamp = &now
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
}

func newNode(name, os string, words ...string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: objectMeta("", name, words...)}
	n.Labels["kubernetes.io/hostname"] = "host-of-another" // must never be looked at
	n.Status.NodeInfo.OperatingSystem = os
	n.Status.Images = []corev1.ContainerImage{{Names: []string{"large"}}}
	return n
}

func matching(word string) *metav1.LabelSelector {
	k, v, _ := strings.Cut(word, "=")
	return &metav1.LabelSelector{MatchLabels: map[string]string{k: v}}
}

// world is a small cluster with one of everything that can go wrong.
func world() []runtime.Object {
	return slices.Concat(worldNodes(), worldWorkloads(), worldJobs(), worldServices())
}

func worldNodes() []runtime.Object {
	namespace := func(name string, words ...string) *corev1.Namespace {
		return &corev1.Namespace{ObjectMeta: objectMeta("", name, append(words, "kubernetes.io/metadata.name="+name)...)}
	}
	return []runtime.Object{
		namespace("shop", "team=a"), namespace("pay", "team=a"), namespace("void", "team=b"), namespace("default"),
		newNode("n1", "linux", "pool=a"), newNode("n2", "linux", "pool=b"), newNode("w1", "windows", "pool=a"),
		newNode("n3", "", "pool=c", "kubernetes.io/os=linux"), newNode("w2", "", "pool=d", "kubernetes.io/os=windows"),
		newPod("default", "web-1", "n2", "app=web"), // not the one in shop
		newPod("pay", "till-1", "n1", "app=till"),
		with(newPod("pay", "etcd-n1", "n1", "app=etcd", "Node/n1"), func(p *corev1.Pod) {
			p.Spec.HostNetwork = true
			p.Annotations = map[string]string{"kubernetes.io/config.hash": "abc", "kubernetes.io/config.mirror": "abc"}
		}),
	}
}

func worldWorkloads() []runtime.Object {
	replicaSet := func(name string, words ...string) *appsv1.ReplicaSet {
		return &appsv1.ReplicaSet{ObjectMeta: objectMeta("shop", name, words...), Spec: appsv1.ReplicaSetSpec{Selector: matching("app=web")}}
	}
	deployment := func(name, selector string) *appsv1.Deployment {
		return &appsv1.Deployment{ObjectMeta: objectMeta("shop", name), Spec: appsv1.DeploymentSpec{Selector: matching(selector)}}
	}
	return []runtime.Object{
		deployment("web", "app=web"), deployment("zero", "app=zero"), deployment("slow", "app=slow"),
		replicaSet("web-new", "app=web", "Deployment/web"), replicaSet("web-old", "app=web", "Deployment/web"),
		replicaSet("other-1", "app=web", "Deployment/other"), replicaSet("slow-1", "app=slow", "Deployment/slow"),
		newPod("shop", "web-1", "n1", "app=web", "ReplicaSet/web-new", "pod-template-hash=new"),
		newPod("shop", "web-2", "n2", "app=web", "ReplicaSet/web-old", "pod-template-hash=old"),
		with(newPod("shop", "web-3", "", "app=web", "ReplicaSet/web-new"), phase(corev1.PodPending)),
		with(newPod("shop", "web-4", "n1", "app=web", "ReplicaSet/web-old"), deleting),
		newPod("shop", "stranger", "n1", "app=web", "ReplicaSet/other-1"),
		newPod("shop", "orphan", "n1", "app=web"),
		with(newPod("shop", "slow-1", "", "app=slow", "ReplicaSet/slow-1"), phase(corev1.PodPending)),
		with(newPod("shop", "slow-2", "n1", "app=slow", "ReplicaSet/slow-1"), phase(corev1.PodPending)),
		with(newPod("shop", "slow-3", "n1", "app=slow", "ReplicaSet/slow-1"), phase(corev1.PodSucceeded)),
		&appsv1.StatefulSet{ObjectMeta: objectMeta("shop", "db"), Spec: appsv1.StatefulSetSpec{Selector: matching("app=db")}},
		newPod("shop", "db-0", "n1", "app=db", "StatefulSet/db"), newPod("shop", "db-x", "n1", "app=db"),
		&appsv1.DaemonSet{ObjectMeta: objectMeta("shop", "log"), Spec: appsv1.DaemonSetSpec{Selector: matching("app=log")}},
		newPod("shop", "log-b", "n2", "app=log", "DaemonSet/log"), newPod("shop", "log-a", "n1", "app=log", "DaemonSet/log"),
		&corev1.ReplicationController{ObjectMeta: objectMeta("shop", "old"), Spec: corev1.ReplicationControllerSpec{Selector: map[string]string{"app": "old"}}},
		newPod("shop", "old-1", "n2", "app=old", "ReplicationController/old"),
		with(newPod("shop", "win-1", "w1", "app=win"), func(p *corev1.Pod) { p.Spec.OS = &corev1.PodOS{Name: corev1.Windows} }),
		with(newPod("shop", "win-2", "w1", "app=win"), func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"kubernetes.io/os": "windows"} }),
	}
}

func worldJobs() []runtime.Object {
	newJob := func(name string, words ...string) *batchv1.Job {
		return &batchv1.Job{ObjectMeta: objectMeta("shop", name, words...), Spec: batchv1.JobSpec{Selector: matching("job=" + name)}}
	}
	done := func(j *batchv1.Job) {
		j.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}}
	}
	return []runtime.Object{
		newJob("once"), newPod("shop", "once-x", "n1", "job=once", "Job/once"),
		&batchv1.CronJob{ObjectMeta: objectMeta("shop", "tick")}, &batchv1.CronJob{ObjectMeta: objectMeta("shop", "idle")},
		with(newJob("tick-1", "CronJob/tick"), done), newJob("tick-2", "CronJob/tick"), newJob("tick-9", "CronJob/tock"),
		with(newJob("idle-1", "CronJob/idle"), done),
		with(newPod("shop", "tick-1-x", "n1", "job=tick-1", "Job/tick-1"), phase(corev1.PodSucceeded)),
		newPod("shop", "tick-2-x", "n2", "job=tick-2", "Job/tick-2"), newPod("shop", "tick-9-x", "n1", "job=tick-9", "Job/tick-9"),
	}
}

func worldServices() []runtime.Object {
	service := func(name string, spec corev1.ServiceSpec) *corev1.Service {
		return &corev1.Service{ObjectMeta: objectMeta("shop", name), Spec: spec}
	}
	slice := func(name string, pods ...string) *discoveryv1.EndpointSlice {
		s := &discoveryv1.EndpointSlice{ObjectMeta: objectMeta("shop", name, "kubernetes.io/service-name=manual")}
		for _, p := range pods {
			s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: p}})
		}
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{"192.0.2.1"}},
			discoveryv1.Endpoint{TargetRef: &corev1.ObjectReference{Kind: "Node", Name: "n1"}})
		return s
	}
	return []runtime.Object{
		service("web", corev1.ServiceSpec{Selector: map[string]string{"app": "web"}}),
		service("nobody", corev1.ServiceSpec{Selector: map[string]string{"app": "nobody"}}),
		service("manual", corev1.ServiceSpec{}), service("bare", corev1.ServiceSpec{}),
		service("ext", corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "db.example.com", Selector: map[string]string{"app": "web"}}),
		slice("manual-1", "db-0", "gone"), slice("manual-2", "db-0", "web-1", "web-4"),
	}
}

// calls renders what was asked of the API server, sorted: requests that are
// made at the same time have no order.
func calls(client *fake.Clientset) []string {
	var out []string
	for _, a := range client.Actions() {
		s := a.GetVerb() + " "
		if a.GetNamespace() != "" {
			s += a.GetNamespace() + "/"
		}
		s += a.GetResource().Resource
		switch a := a.(type) {
		case clienttesting.GetAction:
			s += " " + a.GetName()
		case clienttesting.ListAction:
			l := a.GetListRestrictions()
			s += strings.TrimRight(fmt.Sprintf(" %s %s", l.Labels, l.Fields), " ")
		}
		out = append(out, s)
	}
	slices.Sort(out)
	return out
}

// render writes r as "n1: shop/web-1 | node n2: shop/web-2".
func render(r *Resolved) string {
	var nodes []string
	for _, n := range r.Nodes {
		var pods []string
		for _, p := range n.Pods {
			pods = append(pods, p.String())
		}
		head := n.Name
		if n.Whole {
			head = "node " + head
		}
		nodes = append(nodes, strings.TrimRight(head+": "+strings.Join(pods, " "), ": "))
	}
	return strings.Join(nodes, " | ")
}

func skippedText(r *Resolved) string {
	var out []string
	for _, s := range r.Skipped {
		out = append(out, s.Target+" "+s.Reason)
	}
	return strings.Join(out, ", ")
}

func selection(t *testing.T, r Request) Selection {
	t.Helper()
	s, err := r.Selection()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// forbid makes the fake server refuse a verb on a resource; "*" is every verb.
func forbid(client *fake.Clientset, verb, resource string) {
	client.PrependReactor(verb, resource, func(a clienttesting.Action) (bool, runtime.Object, error) {
		gr := schema.GroupResource{Group: a.GetResource().Group, Resource: resource}
		return true, nil, apierrors.NewForbidden(gr, "", fmt.Errorf("user jane cannot %s it", a.GetVerb()))
	})
}
