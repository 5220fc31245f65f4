package target

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
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
		"pod being deleted, by its name and its deployment": {
			request: Request{Args: []string{"deploy/web", "pod/web-4"}}, want: "n1: shop/web-1 shop/web-4 | n2: shop/web-2",
			skipped: "pod shop/web-3 Pending",
			calls:   []string{"get shop/deployments web", "get shop/pods web-4", "list shop/pods app=web", "list shop/replicasets app=web"},
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
			request: Request{Args: []string{"svc/manual"}}, want: "n1: shop/db-0 shop/web-1", skipped: "pod shop/web-4 being deleted",
			calls: []string{
				"get shop/pods db-0", "get shop/pods gone", "get shop/pods web-1", "get shop/pods web-4",
				"get shop/services manual", "list shop/endpointslices kubernetes.io/service-name=manual",
			},
		},
		"node by name, never by hostname": {
			request: Request{Args: []string{"node/n1"}}, want: "node n1",
			calls: []string{"get nodes n1"},
		},
		"mixed, and asked twice": {
			request: Request{Args: []string{"node/n1", "pod/web-1", "svc/manual", "node/n2"}},
			want:    "node n1: shop/db-0 shop/web-1 | node n2", skipped: "pod shop/web-4 being deleted",
			calls: []string{
				"get nodes n1", "get nodes n2", "get shop/pods db-0", "get shop/pods gone", "get shop/pods web-1", "get shop/pods web-1", "get shop/pods web-4",
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
