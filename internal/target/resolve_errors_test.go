package target

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

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
		"in another namespace": {
			request: Request{Args: []string{"pod/till-1"}},
			want:    `pod "till-1" not found in namespace "shop"`, hint: "there is one in namespace pay",
			calls: []string{"get namespaces shop", "get shop/pods till-1", "list pods  metadata.name=till-1", "list shop/pods"},
		},
		"like nothing there is": {
			request: Request{Args: []string{"deploy/payments"}},
			want:    `deployment "payments" not found in namespace "shop"`, hint: "see: kubectl get deployments -n shop",
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
			request: Request{NodeNames: []string{"host-of-another"}}, want: `node "host-of-another" not found`, hint: "see: kubectl get nodes",
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
