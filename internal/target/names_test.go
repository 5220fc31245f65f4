package target

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

func addrs(texts ...string) []netip.Addr {
	var out []netip.Addr
	for _, t := range texts {
		out = append(out, netip.MustParseAddr(t))
	}
	return out
}

func at(ips ...string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		for _, ip := range ips {
			p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: ip})
		}
		p.Status.HostIPs = []corev1.HostIP{{IP: "192.168.0." + strings.TrimPrefix(p.Spec.NodeName, "n")}}
	}
}

// addressed is a cluster in which everything has an address.
func addressed() []runtime.Object {
	service := func(namespace, name string, ips ...string) *corev1.Service {
		return &corev1.Service{ObjectMeta: objectMeta(namespace, name), Spec: corev1.ServiceSpec{ClusterIP: ips[0], ClusterIPs: ips}}
	}
	node := func(n int) *corev1.Node {
		node := newNode(fmt.Sprintf("n%d", n), "linux")
		node.Status.Addresses = []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: fmt.Sprintf("192.168.0.%d", n)},
			{Type: corev1.NodeExternalIP, Address: fmt.Sprintf("203.0.113.%d", n)},
			{Type: corev1.NodeHostName, Address: "10.9.9.9"},
		}
		return node
	}
	ended := func(p *corev1.Pod) { at("10.0.0.1")(p); p.Status.Phase = corev1.PodSucceeded }
	host := func(p *corev1.Pod) { at("192.168.0.1")(p); p.Spec.HostNetwork = true }
	return []runtime.Object{
		node(1), node(2), node(3),
		with(newPod("shop", "web-1", "n1", "app=web"), at("10.0.0.1", "fd00::1")),
		with(newPod("shop", "job-1", "n1"), ended), // its address is web-1's now
		with(newPod("shop", "db-0", "n2"), at("10.0.1.1")),
		with(newPod("shop", "proxy", "n1", "app=proxy"), host),
		with(newPod("pay", "till", "n3"), at("10.0.2.1")),
		with(newPod("pay", "till-2", "n1"), at("10.0.0.9")),
		service("shop", "web", "10.96.0.7", "fd00:96::7"), service("shop", "db", "None"), service("pay", "till", "10.96.0.8"),
		service("kube-system", "kube-dns", "10.96.0.10"), service("default", "kubernetes", "10.96.0.1"),
		&corev1.Service{ObjectMeta: objectMeta("shop", "ext"), Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName}},
	}
}

func recordLines(records []NameRecord) []string {
	var out []string
	for _, r := range records {
		out = append(out, r.Addr.String()+" "+strings.Join(r.Names, " "))
	}
	return out
}

func TestNames(t *testing.T) {
	tests := map[string]struct {
		request Request
		want    []string
		calls   []string
	}{
		"pods": {
			Request{Selector: "app in (web,proxy)"},
			[]string{
				"10.0.0.1 web-1.shop", "10.0.1.1 db-0.shop",
				"10.96.0.1 kubernetes.default.svc", "10.96.0.7 web.shop.svc", "10.96.0.10 kube-dns.kube-system.svc",
				"192.168.0.1 n1", "192.168.0.2 n2", "203.0.113.1 n1", "fd00::1 web-1.shop", "fd00:96::7 web.shop.svc",
			},
			[]string{"get nodes n1", "list default/services", "list kube-system/services", "list shop/pods", "list shop/services"},
		},
		"a node": {
			Request{Args: []string{"node/n1"}},
			[]string{
				"10.0.0.1 web-1.shop", "10.0.0.9 till-2.pay",
				"10.96.0.1 kubernetes.default.svc", "10.96.0.7 web.shop.svc", "10.96.0.8 till.pay.svc", "10.96.0.10 kube-dns.kube-system.svc",
				"192.168.0.1 n1", "203.0.113.1 n1", "fd00::1 web-1.shop", "fd00:96::7 web.shop.svc",
			},
			[]string{"list pods  spec.nodeName=n1", "list services"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			client := fake.NewClientset(addressed()...)
			tt.request.Namespace = "shop"
			r, err := selection(t, tt.request).Resolve(context.Background(), client)
			if err != nil {
				t.Fatal(err)
			}
			client.ClearActions()
			records, warnings := Names(context.Background(), client, r)
			if len(warnings) > 0 {
				t.Error(warnings)
			}
			if diff := cmp.Diff(tt.want, recordLines(records)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.calls, calls(client)); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNamesWithoutRights(t *testing.T) {
	client := fake.NewClientset(addressed()...)
	r, err := selection(t, Request{Namespace: "shop", Selector: "app=web"}).Resolve(context.Background(), client)
	if err != nil {
		t.Fatal(err)
	}
	for _, resource := range []string{"pods", "services", "nodes"} {
		forbid(client, "*", resource)
	}
	records, warnings := Names(context.Background(), client, r)
	if got, want := recordLines(records), []string{"10.0.0.1 web-1.shop", "fd00::1 web-1.shop"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if len(warnings) != 3 {
		t.Fatalf("got warnings %v, want one for each of pods, services, nodes", warnings)
	}
	for i, resource := range []string{"pods", "services", "nodes"} {
		if w := warnings[i]; !strings.Contains(w.Error(), " "+resource) || !strings.Contains(hint.Of(w), resource) {
			t.Errorf("warning %q with hint %q", w, hint.Of(w))
		}
	}
}

// Rights that end at the namespace must not cost the names within it.
func TestNamesInPart(t *testing.T) {
	client := fake.NewClientset(addressed()...)
	r := &Resolved{Nodes: []Node{{Name: "n1", Pods: []Pod{{Namespace: "shop", Name: "web-1"}}}, {Name: "missing"}}}
	records, warnings := Names(context.Background(), client, r)
	if len(warnings) != 1 || !strings.Contains(warnings[0].Error(), "missing") {
		t.Errorf("warnings %v", warnings)
	}
	if got := recordLines(records); !slices.Contains(got, "203.0.113.1 n1") || !slices.Contains(got, "10.96.0.7 web.shop.svc") {
		t.Errorf("got %q", got)
	}
}

// Many namespaces and nodes are read in one list each.
func TestNamesOfMany(t *testing.T) {
	objects := addressed()
	r := &Resolved{}
	for i := range maxLookups + 1 {
		namespace, node := fmt.Sprintf("ns%d", i), fmt.Sprintf("many%d", i)
		objects = append(objects, with(newPod(namespace, "p", node), at(fmt.Sprintf("10.1.0.%d", i))))
		r.Nodes = append(r.Nodes, Node{Name: node, Pods: []Pod{{Namespace: namespace, Name: "p", Node: node}}})
	}
	client := fake.NewClientset(objects...)
	records, warnings := Names(context.Background(), client, r)
	if len(warnings) > 0 {
		t.Error(warnings)
	}
	if diff := cmp.Diff([]string{"list nodes", "list pods", "list services"}, calls(client)); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	got := recordLines(records)
	if !slices.Contains(got, "10.1.0.16 p.ns16") || !slices.Contains(got, "10.96.0.8 till.pay.svc") {
		t.Errorf("got %q", got)
	}
	for _, other := range []string{"10.0.2.1 till.pay", "203.0.113.1 n1"} {
		if slices.Contains(got, other) {
			t.Errorf("%s has nothing to do with it", other)
		}
	}
}
