package target

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
)

// notFound is the error for an object that does not exist. It looks whether its
// namespace does, and for what its name may have been meant to be.
func (o object) notFound(ctx context.Context, client kubernetes.Interface) error {
	where := ""
	if o.kind.namespaced() {
		if err := missingNamespace(ctx, client, o.namespace); err != nil {
			return err
		}
		where = fmt.Sprintf(" in namespace %q", o.namespace)
	}
	advice := didYouMean(near(o.name, namesOf(ctx, client, o.kind.resource, o.namespace)))
	if advice == "" && o.kind.namespaced() {
		advice = o.elsewhere(ctx, client)
	}
	if advice == "" {
		advice = "see: kubectl get " + o.kind.resource
		if o.kind.namespaced() {
			advice += " -n " + o.namespace
		}
	}
	return advise(fmt.Errorf("%s %q not found%s", o.kind.name, o.name, where), advice)
}

// elsewhere is a hint if other namespaces, as far as the user may look, have an
// object of the name.
func (o object) elsewhere(ctx context.Context, client kubernetes.Interface) string {
	list, err := listPage(ctx, client, o.kind.resource, metav1.NamespaceAll, fields.OneTermEqualSelector(metav1.ObjectNameField, o.name))
	if err != nil {
		return ""
	}
	var namespaces []string
	_ = meta.EachListItem(list, func(obj runtime.Object) error { // the function never fails
		if m, err := meta.Accessor(obj); err == nil && m.GetName() == o.name {
			namespaces = append(namespaces, m.GetNamespace())
		}
		return nil
	})
	if len(namespaces) == 0 {
		return ""
	}
	slices.Sort(namespaces)
	const most = 3
	return "there is one in namespace " + strings.Join(namespaces[:min(most, len(namespaces))], ", and in ")
}

// missingNamespace returns an error if a namespace is known not to exist. It is
// asked only when nothing was found there: not every user may look.
func missingNamespace(ctx context.Context, client kubernetes.Interface, name string) error {
	_, err := client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		return nil
	}
	return advise(fmt.Errorf("namespace %q not found", name),
		didYouMean(near(name, namesOf(ctx, client, "namespaces", ""))))
}

// namesOf returns the names of one page of objects, or nothing if they may not be
// listed: they serve a suggestion.
func namesOf(ctx context.Context, client kubernetes.Interface, resource, namespace string) []string {
	list, err := listPage(ctx, client, resource, namespace, fields.Everything())
	if err != nil {
		return nil
	}
	var names []string
	_ = meta.EachListItem(list, func(obj runtime.Object) error { // the function never fails
		if m, err := meta.Accessor(obj); err == nil {
			names = append(names, m.GetName())
		}
		return nil
	})
	return names
}

func listPage(ctx context.Context, client kubernetes.Interface, resource, namespace string, wanted fields.Selector) (runtime.Object, error) {
	opts := metav1.ListOptions{Limit: pageSize, FieldSelector: wanted.String()}
	switch resource {
	case "pods":
		return client.CoreV1().Pods(namespace).List(ctx, opts)
	case "deployments":
		return client.AppsV1().Deployments(namespace).List(ctx, opts)
	case "statefulsets":
		return client.AppsV1().StatefulSets(namespace).List(ctx, opts)
	case "daemonsets":
		return client.AppsV1().DaemonSets(namespace).List(ctx, opts)
	case "replicasets":
		return client.AppsV1().ReplicaSets(namespace).List(ctx, opts)
	case "replicationcontrollers":
		return client.CoreV1().ReplicationControllers(namespace).List(ctx, opts)
	case "jobs":
		return client.BatchV1().Jobs(namespace).List(ctx, opts)
	case "cronjobs":
		return client.BatchV1().CronJobs(namespace).List(ctx, opts)
	case "services":
		return client.CoreV1().Services(namespace).List(ctx, opts)
	case "nodes":
		return client.CoreV1().Nodes().List(ctx, opts)
	case "namespaces":
		return client.CoreV1().Namespaces().List(ctx, opts)
	}
	return nil, fmt.Errorf("%s are not listed here", resource)
}

// near returns the few of candidates that word may be a slip of, best first: it
// is one of them with some letters wrong, or the beginning of one.
func near(word string, candidates []string) []string {
	const most = 3
	type match struct {
		name     string
		distance int
	}
	limit := (len(word) + 2) / 3
	var matches []match
	for _, name := range candidates {
		d := slips(word, name)
		for given := range withoutSuffix(name) {
			d = min(d, slips(word, given))
		}
		if d > limit && strings.HasPrefix(name, word+"-") {
			d = limit
		}
		if d <= limit {
			matches = append(matches, match{name, d})
		}
	}
	slices.SortFunc(matches, func(a, b match) int {
		if a.distance != b.distance {
			return a.distance - b.distance
		}
		return strings.Compare(a.name, b.name)
	})
	var out []string
	for _, m := range matches[:min(most, len(matches))] {
		out = append(out, m.name)
	}
	return out
}

// slips is how many letters of b are wrong in a. Two that are swapped are one.
func slips(a, b string) int {
	d := levenshtein.ComputeDistance(a, b)
	if d == 2 && sameLetters(a, b) {
		return 1
	}
	return d
}

// Characters of the suffixes that Kubernetes generates, from its own
// k8s.io/apimachinery/pkg/util/rand, and how many of them a name's end has.
const (
	suffixLetters = "bcdfghjklmnpqrstvwxz2456789"
	suffixLength  = 5
	middleLength  = 10 // of the hash of a pod template, or of a CronJob's minute, at most
)

// withoutSuffix yields what the name of a pod may have been made of: it without
// an ordinal, without a generated suffix, and without what a Deployment or a
// CronJob puts before that.
func withoutSuffix(name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		base, end, found := cutLast(name)
		switch {
		case !found:
		case strings.Trim(end, "0123456789") == "":
			yield(base)
		case len(end) != suffixLength || strings.Trim(end, suffixLetters) != "":
		case yield(base):
			base, end, found = cutLast(base)
			if found && len(end) <= middleLength && (strings.Trim(end, suffixLetters) == "" || strings.Trim(end, "0123456789") == "") {
				yield(base)
			}
		}
	}
}

// cutLast cuts name at its last dash.
func cutLast(name string) (base, end string, found bool) {
	if i := strings.LastIndexByte(name, '-'); i > 0 && i < len(name)-1 {
		return name[:i], name[i+1:], true
	}
	return name, "", false
}

func sameLetters(a, b string) bool {
	x, y := []byte(a), []byte(b)
	slices.Sort(x)
	slices.Sort(y)
	return slices.Equal(x, y)
}

// didYouMean returns the hint that suggests names, or "".
func didYouMean(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return "did you mean " + strings.Join(names, " or ") + "?"
}
