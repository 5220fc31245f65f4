package target

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

func TestEverything(t *testing.T) {
	empty := []runtime.Object{newNamespace("shop")}
	pending := []runtime.Object{newNamespace("shop"), with(newPod("shop", "web-1", ""), phase(corev1.PodPending))}
	two := append(pending, with(newPod("shop", "web-2", ""), phase(corev1.PodSucceeded)))
	tests := map[string]struct {
		request         Request
		objects         []runtime.Object
		searched, found string
		err, hint       string // of Resolve; parts
	}{
		"namespace":         {request: Request{Namespace: "shop", Everything: true}, objects: two[:1], searched: "pods in namespace shop", err: "no pods in namespace shop", hint: "-A"},
		"default namespace": {request: Request{Everything: true}, objects: world(), searched: "pods in namespace default", found: "n2: default/web-1"},
		"pay":               {request: Request{Namespace: "pay", Everything: true}, objects: world(), searched: "pods in namespace pay", found: "n1: pay/etcd-n1 pay/till-1"},
		"all namespaces": {request: Request{AllNamespaces: true, Everything: true}, searched: "pods in all namespaces",
			objects: []runtime.Object{newPod("a", "x", "n1"), newPod("b", "y", "n2")}, found: "n1: a/x | n2: b/y"},
		"no pods at all": {request: Request{AllNamespaces: true, Everything: true}, objects: empty, searched: "pods in all namespaces", err: "no pods in all namespaces", hint: "start some"},
		"one pending":    {request: Request{Namespace: "shop", Everything: true}, objects: pending, searched: "pods in namespace shop", err: "1 pod among the pods in namespace shop, none Running: 1 Pending", hint: "kubectl describe pod web-1"},
		"two not running": {request: Request{Namespace: "shop", Everything: true}, objects: two, searched: "pods in namespace shop",
			err: "2 pods in namespace shop, none Running: 1 Pending, 1 Succeeded", hint: "kubectl describe pod"},
		"all nodes":    {request: Request{AllNodes: true}, objects: world(), searched: "all Linux nodes", found: "node n1 | node n2 | node n3"},
		"only windows": {request: Request{AllNodes: true}, objects: []runtime.Object{newNode("w1", "windows")}, searched: "all Linux nodes", err: "no Linux node: node w1 runs windows", hint: "kubectl get nodes"},
		"no nodes":     {request: Request{AllNodes: true}, searched: "all Linux nodes", err: "the cluster has no node", hint: "kubectl get nodes"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			client := fake.NewSimpleClientset(test.objects...)
			s := selection(t, test.request)
			r, err := s.Resolve(t.Context(), client)
			if test.err != "" {
				if err == nil || err.Error() != test.err || !strings.Contains(hint.Of(err), test.hint) {
					t.Errorf("error %v (%s), want %q (%s)", err, hint.Of(err), test.err, test.hint)
				}
			} else if err != nil {
				t.Fatal(err)
			} else if got := render(r); got != test.found {
				t.Errorf("found %q, want %q", got, test.found)
			}
			r, err = s.ResolveAny(t.Context(), client)
			if err != nil || render(r) != test.found || r.Searched != test.searched {
				t.Errorf("ResolveAny: %+v, %v", r, err)
			}
		})
	}
}

func TestEverythingWithOthers(t *testing.T) {
	tests := map[string]Request{
		"all pods and all nodes cannot be combined":             {Everything: true, AllNodes: true},
		"-l and all pods cannot be combined":                    {Everything: true, Selector: "a=b"},
		"TYPE/NAME arguments and all nodes cannot be combined":  {AllNodes: true, Args: []string{"pod/x"}},
		"--node-selectors and all nodes cannot be combined":     {AllNodes: true, NodeSelectors: "a=b"},
		"--namespace-selectors and all pods cannot be combined": {Everything: true, NamespaceSelectors: "a=b"},
		`"a/b" cannot be the name of a namespace`:               {Everything: true, Namespace: "a/b"},
	}
	for want, request := range tests {
		if _, err := request.Selection(); err == nil || err.Error() != want {
			t.Errorf("%+v: error %v, want %q", request, err, want)
		}
	}
}

// What is not there yet is no mistake for who follows; what is named is.
func TestResolveAny(t *testing.T) {
	tests := map[string]struct {
		request Request
		skipped string
		err     string
	}{
		"labels":             {Request{Namespace: "shop", Selector: "app=none"}, "", ""},
		"deployment of none": {Request{Namespace: "shop", Args: []string{"deploy/zero"}}, "deployment shop/zero has no pods", ""},
		"pending":            {Request{Namespace: "shop", Args: []string{"pod/slow-1"}}, "pod shop/slow-1 Pending", ""},
		"namespaces":         {Request{NamespaceSelectors: "team=x"}, "--namespace-selectors team=x selects no namespace", ""},
		"pool":               {Request{NodeSelectors: "pool=x"}, "", ""},
		"no such pod":        {Request{Namespace: "shop", Args: []string{"pod/zzz"}}, "", `pod "zzz" not found in namespace "shop"`},
		"no such namespace":  {Request{Namespace: "zzz", Everything: true}, "", `namespace "zzz" not found`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r, err := selection(t, test.request).ResolveAny(t.Context(), fake.NewSimpleClientset(world()...))
			if test.err != "" {
				if err == nil || err.Error() != test.err {
					t.Errorf("error %v, want %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := skippedText(r); got != test.skipped || len(r.Nodes) != 0 || r.Searched == "" {
				t.Errorf("skipped %q, want %q; %d nodes", got, test.skipped, len(r.Nodes))
			}
		})
	}
}

func TestParts(t *testing.T) {
	tests := map[string]struct {
		request Request
		want    string // kind namespace name labels pods names
	}{
		"labels":     {Request{Namespace: "shop", Selector: "app=web"}, "pod shop - app=web - []"},
		"everywhere": {Request{AllNamespaces: true, Everything: true}, "pod - - - - []"},
		"mixed":      {Request{Namespace: "shop", Args: []string{"deploy/web", "no/n1"}}, "deployment shop web - - [], node - n1 - - []"},
		"namespaces": {Request{NamespaceSelectors: "team=a", PodSelectors: "app=web"}, "namespace - - team=a app=web []"},
		"nodes":      {Request{NodeNames: []string{"n1", "n2"}, NodeSelectors: "pool=a"}, "node - - pool=a - [n1 n2]"},
		"all nodes":  {Request{AllNodes: true}, "node - - - - []"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var words []string
			for _, p := range selection(t, test.request).Parts() {
				word := p.Kind
				for _, s := range []string{p.Namespace, p.Name, labelText(p.Labels), labelText(p.Pods)} {
					if s == "" {
						s = "-"
					}
					word += " " + s
				}
				words = append(words, word+" ["+strings.Join(p.Names, " ")+"]")
			}
			if got := strings.Join(words, ", "); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func labelText(s labels.Selector) string { return s.String() }

func TestObserve(t *testing.T) {
	tests := map[string]struct {
		pod          *corev1.Pod
		fresh, known string
	}{
		"running":  {newPod("shop", "x", "n1"), "", ""},
		"deleting": {with(newPod("shop", "x", "n1"), deleting), "being deleted", ""},
		"deleted":  {with(with(newPod("shop", "x", "n1"), deleting), func(p *corev1.Pod) { p.Status.ContainerStatuses = nil }), "being deleted", "being deleted"},
		"ended":    {with(newPod("shop", "x", "n1"), phase(corev1.PodFailed)), "Failed", "Failed"},
	}
	for name, test := range tests {
		pod, fresh := Observe(test.pod, false)
		_, known := Observe(test.pod, true)
		if fresh != test.fresh || known != test.known || pod.UID != "uid-x" {
			t.Errorf("%s: %q and %q, want %q and %q", name, fresh, known, test.fresh, test.known)
		}
	}
}

func newNamespace(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: objectMeta("", name)}
}
