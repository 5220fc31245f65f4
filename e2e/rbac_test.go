//go:build linux && !unit

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubectl-retina/kubectl-retina/internal/rights"
)

// grantPrinted gives a user the roles that doctor prints, until the test ends.
func grantPrinted(t *testing.T, user string, args ...string) {
	t.Helper()
	r := retina(t, append([]string{"doctor", "--print-rbac", "--collector-namespace", collectorNamespace, "--bind-to", "user/" + user}, args...)...)
	r.wantCode(t, 0)
	apply(t, r.stdout)
}

// allowed waits until the API server's word on a right is this.
func allowed(t *testing.T, user, namespace string, right rights.Right, want bool) {
	t.Helper()
	eventually(t, 20*time.Second, func() error {
		review, err := the.client.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), &authorizationv1.SubjectAccessReview{
			Spec: authorizationv1.SubjectAccessReviewSpec{User: user, ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace: namespace, Verb: right.Verb, Group: right.Group, Resource: right.Resource, Subresource: right.Subresource,
			}},
		}, metav1.CreateOptions{})
		if err == nil && review.Status.Allowed != want {
			err = fmt.Errorf("%s in namespace %q: %t, want %t", right, namespace, review.Status.Allowed, want)
		}
		return err
	})
}

// change gives a Role, or with no namespace a ClusterRole, other rules, and returns
// those that it had.
func change(t *testing.T, namespace, name string, to func([]rbacv1.PolicyRule) []rbacv1.PolicyRule) (had []rbacv1.PolicyRule) {
	t.Helper()
	if namespace == "" {
		edit(t, the.client.RbacV1().ClusterRoles(), name, func(role *rbacv1.ClusterRole) { had, role.Rules = role.Rules, to(role.Rules) })
		return had
	}
	edit(t, the.client.RbacV1().Roles(namespace), name, func(role *rbacv1.Role) { had, role.Rules = role.Rules, to(role.Rules) })
	return had
}

// edit changes an object of the cluster.
func edit[T any](t *testing.T, client interface {
	Get(ctx context.Context, name string, o metav1.GetOptions) (T, error)
	Update(ctx context.Context, object T, o metav1.UpdateOptions) (T, error)
}, name string, change func(T)) {
	t.Helper()
	ctx := context.Background() // the test may have failed
	object, err := client.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	change(object)
	if _, err := client.Update(ctx, object, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// lacking are the rules without one right.
func lacking(rules []rbacv1.PolicyRule, right rights.Right) []rbacv1.PolicyRule {
	var less []rbacv1.PolicyRule
	for _, rule := range rules {
		if slices.Equal(rule.Resources, []string{strings.TrimSuffix(right.Resource+"/"+right.Subresource, "/")}) && slices.Equal(rule.APIGroups, []string{right.Group}) {
			rule.Verbs = slices.DeleteFunc(slices.Clone(rule.Verbs), func(verb string) bool { return verb == right.Verb })
		}
		if len(rule.Verbs) > 0 {
			less = append(less, rule)
		}
	}
	return less
}

// without takes one right out of a Role, or with no namespace out of a ClusterRole,
// does f, and puts it back.
func without(t *testing.T, user, namespace, name string, right rights.Right, f func()) {
	t.Helper()
	had := change(t, namespace, name, func(rules []rbacv1.PolicyRule) []rbacv1.PolicyRule { return lacking(rules, right) })
	allowed(t, user, namespace, right, false)
	f()
	change(t, namespace, name, func([]rbacv1.PolicyRule) []rbacv1.PolicyRule { return had })
	allowed(t, user, namespace, right, true)
}

// openRBACShop makes a namespace with a target of each kind that takes a right of
// its own to be found.
func openRBACShop(t *testing.T) *shop {
	t.Helper()
	s := openShop(t, "")
	apply(t, fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: api, namespace: %[1]s}
spec: {replicas: 1, selector: {matchLabels: {app: api}}, template: {metadata: {labels: {app: api}}, spec: {terminationGracePeriodSeconds: 1, containers: [{name: main, image: "%[2]s", args: [serve]}]}}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly, namespace: %[1]s}
spec: {suspend: true, schedule: "0 3 * * *", jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: main, image: "%[2]s"}]}}}}}
---
apiVersion: v1
kind: Service
metadata: {name: bare, namespace: %[1]s}
spec: {ports: [{port: 80}]}
`, s.namespace, trafficImage))
	kubectl(t, "wait", "-n", s.namespace, "--for=condition=Available", "--timeout=60s", "deployment/api")
	return s
}

// wantRefused checks that a run without a right names it, at once.
func wantRefused(t *testing.T, right rights.Right, args ...string) {
	t.Helper()
	r := retina(t, args...)
	if r.code != 1 || !strings.Contains(r.stderr, right.String()) || !strings.Contains(r.stderr, "hint: ") || r.took > 20*time.Second {
		t.Errorf("without the right to %s: %s", right, r)
	}
}

// TestPrintedRoles: a user with exactly the printed Roles captures and measures;
// without any one of their rights the error names it, at once.
func TestPrintedRoles(t *testing.T) {
	s := openRBACShop(t)
	const user = "e2e-ann"
	grantPrinted(t, user, "-n", s.namespace)
	needed := rights.Of(rights.Needed(), rights.Collectors)
	allowed(t, user, collectorNamespace, needed[len(needed)-1], true)
	as := []string{"-n", s.namespace, "--collector-namespace", collectorNamespace, "--as", user}
	capturing := func(target string) []string {
		return append([]string{"capture", "create", target, "--duration", "1s", "--write", filepath.Join(t.TempDir(), "x.pcapng")}, as...)
	}
	measuring := append([]string{"metrics", "snapshot", "--duration", "1s"}, as...)
	retina(t, capturing("deploy/api")...).wantCode(t, 0)
	retina(t, capturing("pod/web-n1")...).wantCode(t, 0)
	retina(t, measuring...).wantCode(t, 0)
	shell := append([]string{"shell", "pod/web-n1", "--image", shellImage}, as...)
	retina(t, append(shell, "--", "true")...).wantCode(t, 0)
	// doctor asks for no more than its roles give, or its advice would lead nowhere.
	report := examination(t, 0, "n1", "-n", s.namespace, "--as", user, "--stream-time", "0")
	wantVerdict(t, report, "rights", "", "ok", "")
	wantVerdict(t, report, "rights/targets", "", "ok", "")
	wantNothingLeft(t)

	refused := func(right rights.Right, args []string) { wantRefused(t, right, args...) }
	for i, right := range needed {
		without(t, user, collectorNamespace, rights.CollectorsRole, right, func() {
			refused(right, capturing("pod/web-n1"))
			if i%4 == 0 { // it is one check for both
				refused(right, measuring)
			}
		})
	}
	// The kinds without objects here are refused before anybody looks.
	target := map[string]string{
		"get pods": "pod/web-n1", "list pods": "svc/web", "get deployments.apps": "deploy/api", "list replicasets.apps": "deploy/api",
		"get statefulsets.apps": "sts/x", "get daemonsets.apps": "ds/x", "get replicasets.apps": "rs/x", "get replicationcontrollers": "rc/x",
		"get jobs.batch": "job/x", "get cronjobs.batch": "cronjob/nightly", "list jobs.batch": "cronjob/nightly",
		"get services": "svc/web", "list endpointslices.discovery.k8s.io": "svc/bare",
	}
	for _, right := range rights.Of(rights.Needed(), rights.Targets) {
		if target[right.String()] == "" {
			t.Errorf("no target takes %s", right)
			continue
		}
		without(t, user, s.namespace, rights.TargetsRole, right, func() { refused(right, capturing(target[right.String()])) })
	}
	wantNothingLeft(t)
}

// TestPrintedClusterRole: with -A the user reaches pods of every namespace and
// nodes, and doctor is content but for what is not needed.
func TestPrintedClusterRole(t *testing.T) {
	s := openShop(t, "")
	const user = "e2e-bob"
	grantPrinted(t, user, "-A")
	allowed(t, user, "", rights.Right{Verb: "list", Resource: "nodes"}, true)
	allowed(t, user, collectorNamespace, rights.Right{Verb: "delete", Group: "batch", Resource: "jobs"}, true)
	as := []string{"--collector-namespace", collectorNamespace, "--as", user}
	run := func(args ...string) result { return retina(t, append(args, as...)...) }
	run("capture", "create", "node/n1", "pod/web-n2", "-n", s.namespace, "--duration", "1s", "--write", os.DevNull).wantCode(t, 0)
	run("metrics", "snapshot", "--namespace-selectors", "kubernetes.io/metadata.name="+s.namespace, "--duration", "1s").wantCode(t, 0)
	report := examination(t, 0, "-A", "--as", user, "--stream-time", "0")
	wantVerdict(t, report, "rights", "", "ok", "")
	wantVerdict(t, report, "rights/targets", "", "ok", "")
	wantVerdict(t, report, "rights/extras", "", "warn", "--print-rbac=all")

	// Without each right that only a ClusterRole gives; and in all namespaces without
	// one of those that a Role gives for one (TestPrintedRoles has each of these).
	take := map[string][]string{
		"list namespaces": {"--namespace-selectors", "kubernetes.io/metadata.name=" + s.namespace},
		"get nodes":       {"node/n1"},
		"list nodes":      {"--node-selectors", "kubernetes.io/os=linux"},
		"list pods":       {"-l", "app=web", "-A"},
	}
	everywhere := append(rights.Of(rights.Needed(), rights.Cluster), rights.Right{Verb: "list", Resource: "pods"})
	for _, right := range everywhere {
		if take[right.String()] == nil {
			t.Errorf("no target takes %s", right)
			continue
		}
		without(t, user, "", rights.TargetsRole, right, func() {
			wantRefused(t, right, slices.Concat([]string{"capture", "create", "--duration", "1s", "--write", os.DevNull}, take[right.String()], as)...)
		})
	}

	grantPrinted(t, user, "-A", "--print-rbac=all")
	allowed(t, user, "", rights.Right{Verb: "watch", Resource: "services"}, true)
	report = examination(t, 0, "-A", "--as", user, "--stream-time", "0", "n1")
	wantVerdict(t, report, "rights/extras", "", "ok", "")
	wantNothingLeft(t)
}
