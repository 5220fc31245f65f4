package target

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

func TestResolve(t *testing.T) {
	tests := map[string]struct {
		request Request
		want    string // render
		skipped string
		calls   []string
	}{
		"pod": {
			request: Request{Args: []string{"pod/web-1"}}, want: "n1: shop/web-1",
			calls: []string{"get shop/pods web-1"},
		},
		"pods by flag": {
			request: Request{PodNames: []string{"web-2", "web-1"}}, want: "n1: shop/web-1 | n2: shop/web-2",
			calls: []string{"get shop/pods web-1", "get shop/pods web-2"},
		},
		"pod being deleted, by its name": {
			request: Request{Args: []string{"pod/web-4"}}, want: "n1: shop/web-4",
			calls: []string{"get shop/pods web-4"},
		},
		"deployment: its own pods only": {
			request: Request{Args: []string{"deploy/web"}}, want: "n1: shop/web-1 | n2: shop/web-2",
			skipped: "pod shop/web-3 Pending, pod shop/web-4 being deleted",
			calls:   []string{"get shop/deployments web", "list shop/pods app=web", "list shop/replicasets app=web"},
		},
		"replicaset": {
			request: Request{Args: []string{"rs/web-old"}}, want: "n2: shop/web-2", skipped: "pod shop/web-4 being deleted",
			calls: []string{"get shop/replicasets web-old", "list shop/pods app=web"},
		},
		"statefulset": {
			request: Request{Args: []string{"sts/db"}}, want: "n1: shop/db-0",
			calls: []string{"get shop/statefulsets db", "list shop/pods app=db"},
		},
		"daemonset": {
			request: Request{Args: []string{"ds/log"}}, want: "n1: shop/log-a | n2: shop/log-b",
			calls: []string{"get shop/daemonsets log", "list shop/pods app=log"},
		},
		"replicationcontroller": {
			request: Request{Args: []string{"rc/old"}}, want: "n2: shop/old-1",
			calls: []string{"get shop/replicationcontrollers old", "list shop/pods app=old"},
		},
		"job": {
			request: Request{Args: []string{"job/once"}}, want: "n1: shop/once-x",
			calls: []string{"get shop/jobs once", "list shop/pods job=once"},
		},
		"cronjob: its active job": {
			request: Request{Args: []string{"cj/tick"}}, want: "n2: shop/tick-2-x",
			calls: []string{"get shop/cronjobs tick", "list shop/jobs", "list shop/pods job=tick-2"},
		},
		"service: whatever it selects": {
			request: Request{Args: []string{"svc/web"}}, want: "n1: shop/orphan shop/stranger shop/web-1 | n2: shop/web-2",
			skipped: "pod shop/web-3 Pending, pod shop/web-4 being deleted",
			calls:   []string{"get shop/services web", "list shop/pods app=web"},
		},
		"service without selector": {
			request: Request{Args: []string{"svc/manual"}}, want: "n1: shop/db-0 shop/web-1",
			calls: []string{
				"get shop/pods db-0", "get shop/pods gone", "get shop/pods web-1",
				"get shop/services manual", "list shop/endpointslices kubernetes.io/service-name=manual",
			},
		},
		"node by name, never by hostname": {
			request: Request{Args: []string{"node/n1"}}, want: "node n1",
			calls: []string{"get nodes n1"},
		},
		"mixed, and asked twice": {
			request: Request{Args: []string{"node/n1", "pod/web-1", "svc/manual", "node/n2"}},
			want:    "node n1: shop/db-0 shop/web-1 | node n2",
			calls: []string{
				"get nodes n1", "get nodes n2", "get shop/pods db-0", "get shop/pods gone", "get shop/pods web-1", "get shop/pods web-1",
				"get shop/services manual", "list shop/endpointslices kubernetes.io/service-name=manual",
			},
		},
		"one of two has nothing": {
			request: Request{Args: []string{"deploy/zero", "cj/idle", "svc/ext", "pod/web-1"}}, want: "n1: shop/web-1",
			skipped: "cronjob shop/idle has no active job, deployment shop/zero has no pods, service shop/ext stands for db.example.com outside the cluster",
			calls: []string{
				"get shop/cronjobs idle", "get shop/deployments zero", "get shop/pods web-1", "get shop/services ext",
				"list shop/endpointslices kubernetes.io/service-name=ext", "list shop/jobs", "list shop/pods app=zero",
			},
		},
		"-l in a namespace": {
			request: Request{Selector: "app in (db,log),!canary"}, want: "n1: shop/db-0 shop/db-x shop/log-a | n2: shop/log-b",
			calls: []string{"list shop/pods app in (db,log),!canary"},
		},
		"-l -A": {
			request: Request{Selector: "app in (till,db)", AllNamespaces: true}, want: "n1: pay/till-1 shop/db-0 shop/db-x",
			calls: []string{"list pods app in (db,till)"},
		},
		"pod selectors stay in -n": {
			request: Request{PodSelectors: "app=web"}, want: "n1: shop/orphan shop/stranger shop/web-1 | n2: shop/web-2",
			skipped: "pod shop/web-3 Pending, pod shop/web-4 being deleted",
			calls:   []string{"list shop/pods app=web"},
		},
		"pod selectors in namespaces": {
			request: Request{PodSelectors: "app in (till,db)", NamespaceSelectors: "team=a"}, want: "n1: pay/till-1 shop/db-0 shop/db-x",
			calls: []string{"list namespaces team=a", "list pay/pods app in (db,till)", "list shop/pods app in (db,till)"},
		},
		"all of a namespace": {
			request: Request{NamespaceSelectors: "kubernetes.io/metadata.name=pay"}, want: "n1: pay/etcd-n1 pay/till-1",
			calls: []string{"list namespaces kubernetes.io/metadata.name=pay", "list pay/pods"},
		},
		"node names": {
			request: Request{NodeNames: []string{"n2", "n1"}}, want: "node n1 | node n2",
			calls: []string{"get nodes n1", "get nodes n2"},
		},
		"node selectors take Linux": {
			request: Request{NodeSelectors: "pool in (a,b,c,d)"}, want: "node n1 | node n2 | node n3",
			skipped: "node w1 runs windows, node w2 runs windows",
			calls:   []string{"list nodes pool in (a,b,c,d)"},
		},
		"node names of a pool": {
			request: Request{NodeNames: []string{"n1", "n2"}, NodeSelectors: "pool=a"}, want: "node n1",
			skipped: "node n2 does not match pool=a",
			calls:   []string{"get nodes n1", "get nodes n2"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			client := fake.NewClientset(world()...)
			tt.request.Namespace = "shop"
			s := selection(t, tt.request)
			r, err := s.Resolve(context.Background(), client)
			if err != nil {
				t.Fatalf("%v (%s)", err, hint.Of(err))
			}
			if got := render(r); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if got := skippedText(r); got != tt.skipped {
				t.Errorf("skipped %s\nwant    %s", got, tt.skipped)
			}
			if diff := cmp.Diff(tt.calls, calls(client)); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
			if r.Searched != s.String() {
				t.Errorf("searched %q, selection is %q", r.Searched, s)
			}
		})
	}
}

func TestResolveErrors(t *testing.T) {
	tests := map[string]struct {
		request    Request
		want, hint string // exactly
		calls      []string
	}{
		"no such pod": {
			request: Request{Args: []string{"pod/wbe-1"}},
			want:    `pod "wbe-1" not found in namespace "shop"`, hint: "did you mean web-1 or win-1?",
			calls: []string{"get namespaces shop", "get shop/pods wbe-1", "list shop/pods"},
		},
		"beginning of a pod's name": {
			request: Request{Args: []string{"pod/log"}},
			want:    `pod "log" not found in namespace "shop"`, hint: "did you mean log-a or log-b?",
		},
		"like nothing there is": {
			request: Request{Args: []string{"deploy/payments"}},
			want:    `deployment "payments" not found in namespace "shop"`, hint: "",
		},
		"two letters swapped": {
			request: Request{Args: []string{"deploy/wbe"}},
			want:    `deployment "wbe" not found in namespace "shop"`, hint: "did you mean web?",
		},
		"no such namespace": {
			request: Request{Namespace: "shpo", Args: []string{"deploy/web"}},
			want:    `namespace "shpo" not found`, hint: "did you mean shop?",
			calls: []string{"get namespaces shpo", "get shpo/deployments web", "list namespaces"},
		},
		"no such namespace, by selector": {
			request: Request{Namespace: "shpo", Selector: "app=web"},
			want:    `namespace "shpo" not found`, hint: "did you mean shop?",
		},
		"no such node": {
			request: Request{Args: []string{"node/n4"}},
			want:    `node "n4" not found`, hint: "did you mean n1 or n2 or n3?",
			calls: []string{"get nodes n4", "list nodes"},
		},
		"hostname is no name": {
			request: Request{NodeNames: []string{"host-of-another"}}, want: `node "host-of-another" not found`,
		},
		"Windows node": {
			request: Request{Args: []string{"node/w1", "node/n1"}}, want: "node w1 runs windows", hint: "name Linux nodes only",
		},
		"Windows nodes": {
			request: Request{NodeSelectors: "pool=d"}, want: "no Linux node matches --node-selectors pool=d: node w2 runs windows",
		},
		"no node": {
			request: Request{NodeSelectors: "pool=x"}, want: "no node matches --node-selectors pool=x",
			hint: "see what there is with: kubectl get nodes --show-labels",
		},
		"no node of the named": {
			request: Request{NodeNames: []string{"n1"}, NodeSelectors: "pool=b"},
			want:    "no node matches --node-names n1 and --node-selectors pool=b",
			hint:    "see what there is with: kubectl get nodes --show-labels",
		},
		"deployment without pods": {
			request: Request{Args: []string{"deploy/zero"}}, want: "deployment shop/zero has no pods",
			calls: []string{"get shop/deployments zero", "list shop/pods app=zero"},
		},
		"none Running": {
			request: Request{Args: []string{"deploy/slow"}},
			want:    "deployment shop/slow has 3 pods, none Running: 2 Pending, 1 Succeeded",
			hint:    "see why with: kubectl describe pod slow-1 -n shop",
		},
		"pod is pending": {
			request: Request{Args: []string{"pod/web-3"}}, want: "pod shop/web-3 is Pending",
			hint: "see why with: kubectl describe pod web-3 -n shop",
		},
		"pod has ended": {request: Request{Args: []string{"pod/slow-3"}}, want: "pod shop/slow-3 is Succeeded"},
		"two of nothing": {
			request: Request{Args: []string{"deploy/zero", "pod/slow-1"}},
			want:    "deployment shop/zero has no pods; pod shop/slow-1 is Pending",
			hint:    "see why with: kubectl describe pod slow-1 -n shop",
		},
		"Windows pods": {
			request: Request{Selector: "app=win"},
			want:    "2 pods match -l app=win in namespace shop, none Running on Linux: 2 on Windows",
		},
		"no match": {
			request: Request{Selector: "app=x"}, want: "no pod matches -l app=x in namespace shop",
			hint:  "see what there is with: kubectl get pods --show-labels -n shop",
			calls: []string{"get namespaces shop", "list shop/pods app=x"},
		},
		"no match anywhere": {
			request: Request{Selector: "app=x", AllNamespaces: true}, want: "no pod matches -l app=x in all namespaces",
			hint:  "see what there is with: kubectl get pods --show-labels -A",
			calls: []string{"list pods app=x"},
		},
		"one match": {
			request: Request{PodSelectors: "job=tick-1"}, want: "1 pod matches --pod-selectors job=tick-1 in namespace shop, none Running: 1 Succeeded",
		},
		"no namespace": {
			request: Request{PodSelectors: "app=web", NamespaceSelectors: "team=x"}, want: "no namespace matches --namespace-selectors team=x",
			hint: "see what there is with: kubectl get namespaces --show-labels",
		},
		"empty namespace": {
			request: Request{NamespaceSelectors: "team=b"}, want: "no pod matches --namespace-selectors team=b",
			hint: "see what there is with: kubectl get pods --show-labels -A",
		},
		"idle cronjob": {
			request: Request{Args: []string{"cj/idle"}}, want: "cronjob shop/idle has no active job",
			hint: "start one with: kubectl create job --from=cronjob/idle NAME -n shop",
		},
		"service without pods": {request: Request{Args: []string{"svc/nobody"}}, want: "service shop/nobody selects no pods"},
		"service without endpoints": {
			request: Request{Args: []string{"svc/bare"}}, want: "service shop/bare has no selector and no endpoint that is a pod",
			hint: "name the pods that talk to it instead",
		},
		"external service": {
			request: Request{Args: []string{"svc/ext"}}, want: "service shop/ext stands for db.example.com outside the cluster",
			hint: "name the pods that talk to it instead",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			client := fake.NewClientset(world()...)
			if tt.request.Namespace == "" {
				tt.request.Namespace = "shop"
			}
			r, err := selection(t, tt.request).Resolve(context.Background(), client)
			if err == nil {
				t.Fatalf("got %s", render(r))
			}
			if err.Error() != tt.want {
				t.Errorf("got  %s\nwant %s", err, tt.want)
			}
			if h := hint.Of(err); h != tt.hint {
				t.Errorf("hint %s\nwant %s", h, tt.hint)
			}
			if diff := cmp.Diff(tt.calls, calls(client)); diff != "" && tt.calls != nil {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
			if errors.As(err, new(*UsageError)) {
				t.Error("a state of the cluster is no usage error")
			}
		})
	}
	if r, err := (Selection{}).Resolve(context.Background(), fake.NewClientset()); err == nil {
		t.Errorf("the zero Selection selects %v", r)
	}
}

func TestForbidden(t *testing.T) {
	tests := map[string]struct {
		request    Request
		verb, what string   // that is forbidden
		want       []string // parts of the error
		hint       string   // part
	}{
		"list pods": {
			Request{Selector: "app=web"}, "list", "pods",
			[]string{"list pods in namespace shop: ", "user jane cannot list it"}, "the right to list pods in namespace shop; to check it: kubectl auth can-i list pods -n shop",
		},
		"list all pods": {
			Request{Selector: "app=web", AllNamespaces: true}, "list", "pods",
			[]string{"list pods: ", "user jane"}, "list pods in all namespaces; to check it: kubectl auth can-i list pods -A",
		},
		"get pod": {
			Request{Args: []string{"pod/web-1"}}, "get", "pods",
			[]string{"get pods in namespace shop: "}, "can-i get pods -n shop",
		},
		"get deployment": {
			Request{Args: []string{"deploy/web"}}, "get", "deployments",
			[]string{"get deployments.apps in namespace shop: "}, "can-i get deployments.apps -n shop",
		},
		"list replicasets": {
			Request{Args: []string{"deploy/web"}}, "list", "replicasets",
			[]string{"user jane"}, "can-i list replicasets.apps -n shop",
		},
		"list jobs":           {Request{Args: []string{"cj/tick"}}, "list", "jobs", nil, "can-i list jobs.batch -n shop"},
		"list endpointslices": {Request{Args: []string{"svc/manual"}}, "list", "endpointslices", nil, "can-i list endpointslices.discovery.k8s.io -n shop"},
		"endpoints' pods":     {Request{Args: []string{"svc/manual"}}, "get", "pods", nil, "can-i get pods -n shop"},
		"list namespaces":     {Request{NamespaceSelectors: "team=a"}, "list", "namespaces", nil, "kubectl auth can-i list namespaces"},
		"list nodes":          {Request{NodeSelectors: "pool=a"}, "list", "nodes", nil, "kubectl auth can-i list nodes"},
		"get node":            {Request{NodeNames: []string{"n1"}}, "get", "nodes", nil, "kubectl auth can-i get nodes"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			client := fake.NewClientset(world()...)
			forbid(client, tt.verb, tt.what)
			tt.request.Namespace = "shop"
			_, err := selection(t, tt.request).Resolve(context.Background(), client)
			if !apierrors.IsForbidden(err) {
				t.Fatalf("got %v, which is not Forbidden", err)
			}
			for _, part := range tt.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q lacks %q", err, part)
				}
			}
			if !strings.Contains(hint.Of(err), tt.hint) {
				t.Errorf("hint %q lacks %q", hint.Of(err), tt.hint)
			}
		})
	}
}

// What only helps to explain must not replace the explanation.
func TestNotFoundWithoutRights(t *testing.T) {
	for _, request := range []Request{
		{Namespace: "shop", Args: []string{"pod/wbe-1"}},
		{Namespace: "shop", Selector: "app=nobody"},
	} {
		client := fake.NewClientset(world()...)
		forbid(client, "get", "namespaces")
		if len(request.Args) > 0 {
			forbid(client, "list", "pods")
		}
		_, err := selection(t, request).Resolve(context.Background(), client)
		if err == nil || !strings.Contains(err.Error(), "shop") || strings.Contains(err.Error(), "forbidden") {
			t.Errorf("%v: got %v", request, err)
		}
	}
}

func TestPod(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	tests := map[string]struct {
		pod  *corev1.Pod
		want Pod
	}{
		"of a deployment": {
			with(newPod("shop", "web-7c9d-x", "n1", "ReplicaSet/web-7c9d", "pod-template-hash=7c9d"), func(p *corev1.Pod) {
				p.Status.PodIPs = []corev1.PodIP{{IP: "10.0.0.1"}, {IP: "fd00::1"}, {IP: "not an address"}}
				p.Spec.InitContainers = []corev1.Container{{Name: "migrate"}, {Name: "proxy", RestartPolicy: &always}}
			}),
			Pod{Name: "web-7c9d-x", Owner: "Deployment/web", IPs: addrs("10.0.0.1", "fd00::1"), Containers: []string{"app", "proxy"}},
		},
		"of a bare replicaset": {
			newPod("shop", "web-x", "n1", "ReplicaSet/web-7c9d"),
			Pod{Name: "web-x", Owner: "ReplicaSet/web-7c9d"},
		},
		"of a statefulset, one address": {
			with(newPod("shop", "db-0", "n1", "StatefulSet/db"), func(p *corev1.Pod) { p.Status.PodIP = "10.0.0.2" }),
			Pod{Name: "db-0", Owner: "StatefulSet/db", IPs: addrs("10.0.0.2")},
		},
		"static": {
			with(newPod("shop", "etcd", "n1", "Node/n1"), func(p *corev1.Pod) {
				p.Spec.HostNetwork = true
				p.Annotations = map[string]string{"kubernetes.io/config.hash": "abc", "kubernetes.io/config.mirror": "abc"}
			}),
			Pod{Name: "etcd", Owner: "Node/n1", CgroupUID: "abc", HostNetwork: true},
		},
		"pretending to be static": {
			with(newPod("shop", "evil", "n1"), func(p *corev1.Pod) {
				p.Annotations = map[string]string{"kubernetes.io/config.hash": "uid-of-another"}
			}),
			Pod{Name: "evil"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r, err := selection(t, Request{Namespace: "shop", Args: []string{"pod/" + tt.pod.Name}}).
				Resolve(context.Background(), fake.NewClientset(tt.pod))
			if err != nil {
				t.Fatal(err)
			}
			want := tt.want
			want.Namespace, want.Node, want.UID = "shop", "n1", "uid-"+want.Name
			if want.CgroupUID == "" {
				want.CgroupUID = want.UID
			}
			if want.Containers == nil {
				want.Containers = []string{"app"}
			}
			got := r.Nodes[0].Pods[0]
			if !slices.Equal(got.IPs, want.IPs) {
				t.Errorf("addresses %v, want %v", got.IPs, want.IPs)
			}
			got.IPs, want.IPs = nil, nil
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if n := r.Nodes[0]; n.Whole || n.Object != nil {
				t.Errorf("node %v was not asked for", n)
			}
		})
	}
}

func TestNodeObject(t *testing.T) {
	for _, request := range []Request{{Args: []string{"node/n1"}}, {NodeSelectors: "pool=a"}} {
		r, err := selection(t, request).Resolve(context.Background(), fake.NewClientset(world()...))
		if err != nil {
			t.Fatal(err)
		}
		n := r.Nodes[0]
		if !n.Whole || n.Object == nil || n.Object.Name != "n1" || n.Object.Status.NodeInfo.OperatingSystem != "linux" {
			t.Fatalf("%v: got %v", request, n)
		}
		if n.Object.Status.Images != nil {
			t.Errorf("%v: images are kept", request)
		}
	}
}

func TestPodBeingDeletedThatHasStopped(t *testing.T) {
	pod := with(newPod("shop", "x", "n1"), func(p *corev1.Pod) { deleting(p); p.Status.ContainerStatuses = nil })
	_, err := selection(t, Request{Namespace: "shop", Args: []string{"pod/x"}}).Resolve(context.Background(), fake.NewClientset(pod))
	if err == nil || err.Error() != "pod shop/x is being deleted" {
		t.Errorf("got %v", err)
	}
}
