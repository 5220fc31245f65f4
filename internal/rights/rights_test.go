package rights_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"sigs.k8s.io/yaml"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/rights"
)

// parse reads a manifest back: what of each object is left out is not of interest.
func parse(t *testing.T, manifest string) []rbacv1.ClusterRole {
	t.Helper()
	var roles []rbacv1.ClusterRole
	for i, text := range strings.Split(manifest, "---\n") {
		if i == 0 {
			for line := range strings.Lines(text) {
				if !strings.HasPrefix(line, "#") {
					t.Errorf("line %q before the first object", line)
				}
			}
			continue
		}
		var r rbacv1.ClusterRole
		if err := yaml.UnmarshalStrict([]byte(text), &r); err != nil && !strings.Contains(text, "Binding") {
			t.Fatalf("%v:\n%s", err, text)
		}
		roles = append(roles, r)
	}
	return roles
}

// granted are the rights of a role, as "get deployments.apps".
func granted(r rbacv1.ClusterRole) []string {
	var all []string
	for _, rule := range r.Rules {
		resource, subresource, _ := strings.Cut(rule.Resources[0], "/")
		for _, verb := range rule.Verbs {
			all = append(all, rights.Right{Verb: verb, Group: rule.APIGroups[0], Resource: resource, Subresource: subresource}.String())
		}
	}
	return all
}

func TestManifest(t *testing.T) {
	for _, test := range []struct {
		name    string
		options rights.Options
		roles   string
		has     []string
		lacks   []string
	}{
		{
			name: "smallest", options: rights.Options{Collectors: "ops", Targets: "shop"},
			roles: "Role ops/kubectl-retina-collectors, Role shop/kubectl-retina-targets",
			has:   []string{"create pods", "create pods/exec", "patch jobs.batch", "get deployments.apps", "list endpointslices.discovery.k8s.io"},
			lacks: []string{"list nodes", "watch events", "get pods/log"},
		},
		{
			name: "all namespaces", options: rights.Options{Collectors: "ops"},
			roles: "Role ops/kubectl-retina-collectors, ClusterRole /kubectl-retina-targets",
			has:   []string{"list nodes", "list namespaces", "get deployments.apps"},
			lacks: []string{"watch nodes"},
		},
		{
			name: "everything", options: rights.Options{Collectors: "ops", Targets: "shop", Everything: true},
			roles: "Role ops/kubectl-retina-collectors, Role shop/kubectl-retina-targets, Role default/kubectl-retina-apiserver",
			has:   []string{"watch events", "get pods/log", "list services", "watch deployments.apps"},
			lacks: []string{"list nodes", "create deployments.apps"},
		},
		{
			name: "everything everywhere", options: rights.Options{Collectors: "ops", Everything: true},
			roles: "Role ops/kubectl-retina-collectors, ClusterRole /kubectl-retina-targets",
			has:   []string{"watch nodes", "watch networkpolicies.networking.k8s.io"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			var names, all []string
			for _, r := range parse(t, rights.Manifest(test.options)) {
				names = append(names, fmt.Sprintf("%s %s/%s", r.Kind, r.Namespace, r.Name))
				own := granted(r)
				slices.Sort(own)
				if len(slices.Compact(slices.Clone(own))) != len(own) {
					t.Errorf("%s grants something twice: %q", r.Name, own)
				}
				all = append(all, own...)
			}
			if got := strings.Join(names, ", "); got != test.roles {
				t.Errorf("roles %s, want %s", got, test.roles)
			}
			for _, right := range test.has {
				if !slices.Contains(all, right) {
					t.Errorf("%s is not granted", right)
				}
			}
			for _, right := range test.lacks {
				if slices.Contains(all, right) {
					t.Errorf("%s is granted", right)
				}
			}
		})
	}
}

func TestManifestBinds(t *testing.T) {
	for text, want := range map[string]string{
		"user/ann":                  "kind: User\n  name: \"ann\"\n  apiGroup: rbac.authorization.k8s.io\n",
		"user/https://id.example#1": "name: \"https://id.example#1\"",
		"group/oncall":              "kind: Group\n  name: \"oncall\"",
		"serviceaccount/ci/runner":  "kind: ServiceAccount\n  name: \"runner\"\n  namespace: ci\n- kind: User\n  name: \"bob\"\n  apiGroup: rbac.authorization.k8s.io\n",
	} {
		subject, err := rights.ParseSubject(text)
		if err != nil {
			t.Fatal(err)
		}
		manifest := rights.Manifest(rights.Options{Collectors: "ops", Subjects: []rights.Subject{subject, {Kind: "User", Name: "bob"}}})
		for _, part := range []string{want, "kind: RoleBinding", "kind: ClusterRoleBinding", "  name: kubectl-retina-targets\n"} {
			if !strings.Contains(manifest, part) {
				t.Errorf("%s: no %q in\n%s", text, part, manifest)
			}
		}
	}
	for _, text := range []string{"", "ann", "user/", "serviceaccount/ci", "serviceaccount//x", "role/x"} {
		if _, err := rights.ParseSubject(text); err == nil || hint.Of(err) == "" {
			t.Errorf("%q: error %v, hint %q", text, err, hint.Of(err))
		}
	}
}

// TestAsk: an API server that fails, or that cannot tell, has not said no.
func TestAsk(t *testing.T) {
	client := fake.NewSimpleClientset()
	client.PrependReactor("create", "selfsubjectaccessreviews", func(action clienttesting.Action) (bool, runtime.Object, error) {
		review := action.(clienttesting.CreateActionImpl).Object.(*authorizationv1.SelfSubjectAccessReview).DeepCopy()
		switch asked := review.Spec.ResourceAttributes; {
		case asked.Verb == "list":
			return true, nil, errors.New("server is busy")
		case asked.Verb == "watch":
			review.Status.EvaluationError = "webhook is away"
		case asked.Resource == "jobs" && asked.Group == "batch" && asked.Namespace == "ops":
		default:
			review.Status.Allowed = true
		}
		return true, review, nil
	})
	all := rights.Of(rights.Needed(), rights.Collectors)
	answer := rights.Ask(t.Context(), client, "ops", all)
	if got := rights.Names(answer.Missing); got != "create jobs.batch, patch jobs.batch, delete jobs.batch" {
		t.Errorf("missing %s", got)
	}
	if got := rights.Names(answer.Unknown); got != "list pods, watch pods" || answer.Err == nil || answer.Err.Error() != "server is busy" {
		t.Errorf("unknown %s: %v", got, answer.Err)
	}
	if got := rights.Missing(t.Context(), client, "ops", rights.Of(all, rights.Collectors)[:4]); len(got) != 0 {
		t.Errorf("missing %s", rights.Names(got))
	}
}

// TestNeededForRuns: what preflight asks for is what roles give.
func TestNeededForRuns(t *testing.T) {
	want := "create pods, list pods, watch pods, delete pods, create pods/exec, create jobs.batch, patch jobs.batch, delete jobs.batch"
	if got := rights.Names(rights.Of(rights.Needed(), rights.Collectors)); got != want {
		t.Errorf("a run needs %s, want %s", got, want)
	}
	if got := rights.Names(rights.ForTarget("pod", true)); got != "get pods" {
		t.Errorf("pod/NAME takes %s", got)
	}
	if got := rights.Names(rights.ForTarget("node", false)); got != "list nodes" {
		t.Errorf("nodes by label take %s", got)
	}
}
