package target

import (
	"errors"
	"strings"
	"testing"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

func TestSelection(t *testing.T) {
	tests := map[string]struct {
		request Request
		want    string // Selection.String
	}{
		"type/name":            {Request{Namespace: "shop", Args: []string{"pod/web-1"}}, "pod shop/web-1"},
		"no namespace":         {Request{Args: []string{"pod/web-1"}}, "pod default/web-1"},
		"several and mixed":    {Request{Namespace: "shop", Args: []string{"deploy/web", "sts/db", "node/n1"}}, "deployment shop/web, statefulset shop/db, node n1"},
		"type name name":       {Request{Namespace: "shop", Args: []string{"pods", "x", "y"}}, "pod shop/x, pod shop/y"},
		"type,type name":       {Request{Namespace: "shop", Args: []string{"deploy,svc", "web"}}, "deployment shop/web, service shop/web"},
		"asked twice":          {Request{Namespace: "shop", Args: []string{"po/x", "pods/x"}}, "pod shop/x"},
		"node with -A":         {Request{AllNamespaces: true, Args: []string{"no/n1"}}, "node n1"},
		"-l":                   {Request{Namespace: "shop", Selector: "app=web"}, "-l app=web in namespace shop"},
		"-l full syntax":       {Request{Namespace: "shop", Selector: " app in (b,a), tier!=db,!canary "}, "-l app in (a,b),!canary,tier!=db in namespace shop"},
		"-l -A beats -n":       {Request{Namespace: "shop", AllNamespaces: true, Selector: "app"}, "-l app in all namespaces"},
		"pod names":            {Request{Namespace: "shop", PodNames: []string{" x", "y ", "", "x"}}, "pod shop/x, pod shop/y"},
		"pod selectors":        {Request{Namespace: "shop", PodSelectors: "app=web"}, "--pod-selectors app=web in namespace shop"},
		"pod selectors -A":     {Request{AllNamespaces: true, PodSelectors: "app=web"}, "--pod-selectors app=web in all namespaces"},
		"namespace selectors":  {Request{Namespace: "shop", NamespaceSelectors: "team=a"}, "--namespace-selectors team=a"},
		"both selectors":       {Request{PodSelectors: "app=web", NamespaceSelectors: "team=a"}, "--pod-selectors app=web and --namespace-selectors team=a"},
		"node names":           {Request{NodeNames: []string{"n1", " n2"}}, "node n1, node n2"},
		"node selectors":       {Request{NodeSelectors: "kubernetes.io/os=linux"}, "--node-selectors kubernetes.io/os=linux"},
		"node names of a pool": {Request{NodeNames: []string{"n1", "n2"}, NodeSelectors: "pool=a"}, "--node-names n1,n2 and --node-selectors pool=a"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s, err := tt.request.Selection()
			if err != nil {
				t.Fatal(err)
			}
			if got := s.String(); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestUsageErrors(t *testing.T) {
	tests := map[string]struct {
		request    Request
		want, hint string // parts
	}{
		"nothing":               {Request{}, "no target given", "--node-selectors kubernetes.io/os=linux"},
		"only a namespace":      {Request{Namespace: "shop", AllNamespaces: true}, "no target given", "deploy/web"},
		"blank selector":        {Request{Selector: "  "}, "no target given", ""},
		"blank names":           {Request{PodNames: []string{" ", ""}}, "no target given", ""},
		"empty selector":        {Request{Selector: ","}, "not a label selector", "app in (a,b)"},
		"bad selector":          {Request{Selector: "app in (a"}, `-l "app in (a" is not a label selector`, "app in (a,b)"},
		"Retina's k:v":          {Request{NodeSelectors: "agentpool=a,version:v20"}, `--node-selectors "agentpool=a,version:v20" is not`, "app=web"},
		"bad pod selectors":     {Request{PodSelectors: "a=b=c"}, "--pod-selectors", "app=web"},
		"bad ns selectors":      {Request{PodSelectors: "a=b", NamespaceSelectors: "==,"}, "--namespace-selectors", "app=web"},
		"bad pod sel. with ns":  {Request{PodSelectors: "((", NamespaceSelectors: "a=b"}, "--pod-selectors", "app=web"},
		"args and -l":           {Request{Args: []string{"pod/x"}, Selector: "a=b"}, "TYPE/NAME arguments and -l cannot be combined", "keep one"},
		"args and nodes":        {Request{Args: []string{"pod/x"}, NodeSelectors: "a=b"}, "TYPE/NAME arguments and --node-selectors cannot be combined", "keep one"},
		"pods and nodes":        {Request{PodSelectors: "a=b", NodeNames: []string{"n1"}}, "--pod-selectors and --node-names cannot", ""},
		"names and selectors":   {Request{PodNames: []string{"x"}, PodSelectors: "a=b"}, "--pod-names and --pod-selectors cannot", ""},
		"names and namespaces":  {Request{PodNames: []string{"x"}, NamespaceSelectors: "a=b"}, "--pod-names and --namespace-selectors cannot", ""},
		"-l and namespaces":     {Request{Selector: "x", NamespaceSelectors: "a=b"}, "-l and --namespace-selectors cannot", ""},
		"-A and namespaces":     {Request{AllNamespaces: true, NamespaceSelectors: "a=b"}, "--namespace-selectors and -A cannot", ""},
		"-A and a name":         {Request{AllNamespaces: true, Args: []string{"pod/x"}}, "a resource cannot be retrieved by name across all namespaces", "-n NAMESPACE"},
		"-A and pod names":      {Request{AllNamespaces: true, PodNames: []string{"x"}}, "a resource cannot be retrieved by name across all namespaces", ""},
		"unknown type":          {Request{Args: []string{"depoly/web"}}, `"depoly" is not a type of target`, "did you mean deploy?"},
		"strange type":          {Request{Args: []string{"configmap/web"}}, `"configmap" is not a type`, "use one of pod, deployment,"},
		"wrong group":           {Request{Args: []string{"pods.apps/web"}}, `"pods.apps" is not a type`, ""},
		"type alone":            {Request{Args: []string{"pods"}}, `"pods" says no name`, "pod/NAME"},
		"name alone":            {Request{Args: []string{"web-1"}}, `"web-1" is not TYPE/NAME`, "did you mean pod/web-1"},
		"not even a name":       {Request{Args: []string{"Web 1"}}, `"Web 1" is not TYPE/NAME`, "such as deploy/web"},
		"type among type/names": {Request{Args: []string{"pod", "pod/x"}}, `"pod" is not TYPE/NAME`, "pod/web-1"},
		"two slashes":           {Request{Args: []string{"shop/pod/x"}}, "not TYPE/NAME", "one slash"},
		"no name":               {Request{Args: []string{"pod/"}}, "not TYPE/NAME", ""},
		"empty argument":        {Request{Args: []string{""}}, `"" is not TYPE/NAME`, ""},
		"no type":               {Request{Args: []string{"pods,", "x"}}, `"" is not a type`, ""},
		"bad name":              {Request{Args: []string{"pod/a,b"}}, `"a,b" cannot be the name of a pod`, "lower-case"},
		"bad pod name":          {Request{PodNames: []string{"../x"}}, `"../x" cannot be the name of a pod`, ""},
		"bad node name":         {Request{NodeNames: []string{"n1", "N_2"}}, `"N_2" cannot be the name of a node`, ""},
		"bad node name 2":       {Request{NodeNames: []string{"N_2"}, NodeSelectors: "a=b"}, `"N_2" cannot be the name of a node`, ""},
		"bad namespace":         {Request{Namespace: "a/b", Selector: "a=b"}, `"a/b" cannot be the name of a namespace`, "-n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s, err := tt.request.Selection()
			var usage *UsageError
			if !errors.As(err, &usage) {
				t.Fatalf("got %q and %v, want a UsageError", s, err)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q lacks %q", err, tt.want)
			}
			if h := hint.Of(err); !strings.Contains(h, tt.hint) || h == "" {
				t.Errorf("hint %q lacks %q", h, tt.hint)
			}
		})
	}
}

func TestKindOf(t *testing.T) {
	tests := map[string]string{
		"pod": "pod", "pods": "pod", "po": "pod", "Pod": "pod", "pods.v1": "pod", "pods.v1.": "pod",
		"deploy": "deployment", "deployments": "deployment", "deployment.apps": "deployment", "deployments.v1.apps": "deployment",
		"sts": "statefulset", "statefulsets": "statefulset", "ds": "daemonset", "daemonset": "daemonset",
		"rs": "replicaset", "replicasets": "replicaset", "rc": "replicationcontroller",
		"job": "job", "jobs.batch": "job", "cj": "cronjob", "cronjob": "cronjob", "cronjobs": "cronjob",
		"svc": "service", "services": "service", "no": "node", "node": "node", "nodes": "node",
		"": "", "configmap": "", "pods.apps": "", "deployments.extensions": "", "deployments.v1": "",
	}
	for word, want := range tests {
		if k, ok := kindOf(word); k.name != want || ok != (want != "") {
			t.Errorf("kindOf(%q) = %q, %v; want %q", word, k.name, ok, want)
		}
	}
}

func FuzzSelection(f *testing.F) {
	f.Add("pod/x deploy/y", "", "", "shop", uint8(0))
	f.Add("pods x y", "", "", "", uint8(1))
	f.Add("", "app in (a,b),tier!=db", "", "shop", uint8(2))
	f.Add("", "app in (\n", "x", "shop", uint8(3))
	f.Add("", "k8s.io/x>3", "n1,n2", "", uint8(4))
	f.Fuzz(func(t *testing.T, args, selector, names, namespace string, way uint8) {
		r := Request{Args: strings.Fields(args), Namespace: namespace, AllNamespaces: way&1 != 0}
		switch way >> 1 % 5 {
		case 0:
			r.Selector = selector
		case 1:
			r.PodSelectors, r.NamespaceSelectors = selector, names
		case 2:
			r.PodNames, r.NodeSelectors = strings.Split(names, ","), selector
		case 3:
			r.NodeNames, r.NodeSelectors = strings.Split(names, ","), selector
		case 4:
			r.NamespaceSelectors = selector
		}
		s, err := r.Selection()
		if err != nil {
			var usage *UsageError
			if !errors.As(err, &usage) || strings.ContainsAny(err.Error()+hint.Of(err), "\r\n") {
				t.Fatalf("%#v: %q is not a UsageError of one line", r, err)
			}
			return
		}
		if len(s.queries) == 0 || s.String() == "" {
			t.Fatalf("%#v selects nothing, without an error", r)
		}
		for _, q := range s.queries {
			checkQuery(t, q, r.AllNamespaces)
		}
	})
}

// checkQuery checks what the API server could not: that a query never asks for
// more than was meant.
func checkQuery(t *testing.T, q query, all bool) {
	switch q := q.(type) {
	case object:
		if checkName(q.kind.name, q.name) != nil {
			t.Errorf("name %q", q.name)
		}
		if q.kind.namespaced() == (q.namespace == "") {
			t.Errorf("%s %q in namespace %q", q.kind.name, q.name, q.namespace)
		}
	case podsMatching:
		if q.selector.Empty() || all != (q.namespace == "") {
			t.Errorf("%s", q)
		}
	case podsInNamespaces:
		if q.namespaces.Empty() {
			t.Errorf("%s", q)
		}
	case nodesMatching:
		if q.selector.Empty() {
			t.Errorf("%s", q)
		}
	}
}
