// Package rights is what this program asks of the API server, as one table. The
// check before a run, what doctor tells and the roles that it prints come from it.
package rights

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// A Scope says in which namespace a right is needed.
type Scope int

// The scopes.
const (
	// Collectors is the namespace where collectors run.
	Collectors Scope = iota
	// Targets is the namespace of the targets, or all of them.
	Targets
	// APIService is the namespace of the Service "kubernetes": "default".
	APIService
	// Cluster is no namespace: of objects that have none, and of reading all
	// namespaces for the names of addresses.
	Cluster
)

// A Right is one verb on one resource.
type Right struct {
	Verb, Group, Resource, Subresource string
	Scope                              Scope
	// Needed says that what uses the right fails without it. Otherwise it only
	// does or tells less.
	Needed bool
	// Use is what the right is for, as in "start collectors". Rights of one rule
	// have the same.
	Use string
	// Kinds are the targets that need it, as in "deployment"; of those that are
	// named alone "pod/NAME" and "node/NAME". None: every run does.
	Kinds []string
}

// String is the right as kubectl's auth can-i writes it: "get deployments.apps",
// "create pods/exec".
func (r Right) String() string { return r.Verb + " " + r.Object() }

// Object is the resource as roles are written on a command line.
func (r Right) Object() string {
	text := r.Resource
	if r.Group != "" {
		text += "." + r.Group
	}
	if r.Subresource != "" {
		text += "/" + r.Subresource
	}
	return text
}

// rule is what is used as one: verbs on one resource.
func rule(scope Scope, needed bool, use string, kinds []string, resource string, verbs ...string) []Right {
	resource, subresource, _ := strings.Cut(resource, "/")
	resource, group, _ := strings.Cut(resource, ".")
	all := make([]Right, len(verbs))
	for i, verb := range verbs {
		all[i] = Right{
			Verb: verb, Group: group, Resource: resource, Subresource: subresource,
			Scope: scope, Needed: needed, Use: use, Kinds: kinds,
		}
	}
	return all
}

// Needed are the rights without which a run fails: those of every run, and those
// of its kinds of targets.
func Needed() []Right {
	return slices.DeleteFunc(All(), func(r Right) bool { return !r.Needed })
}

// All are all rights that something is done with.
func All() []Right { return slices.Concat(collecting(), reading(), naming()) }

// Of are the rights in all that are of this scope.
func Of(all []Right, scope Scope) []Right {
	return slices.DeleteFunc(slices.Clone(all), func(r Right) bool { return r.Scope != scope })
}

// collecting are the rights in the collectors' namespace.
func collecting() []Right {
	return slices.Concat(
		rule(Collectors, true, "start collectors, see them start, and delete them", nil, "pods", "create", "list", "watch", "delete"),
		// Getting it is enough for a WebSocket before Kubernetes 1.35, creating it
		// is right for every server.
		rule(Collectors, true, "talk to collectors", nil, "pods/exec", "create"),
		rule(Collectors, true, "the lease that everything of a run ends with", nil, "jobs.batch", "create", "patch", "delete"),

		rule(Collectors, false, "streams by WebSocket instead of SPDY, before Kubernetes 1.35", nil, "pods/exec", "get"),
		rule(Collectors, false, "list, stop, download and delete captures that go on by themselves, and clean up", nil, "jobs.batch", "get", "list"),
		rule(Collectors, false, "the last word of a collector that has ended", nil, "pods", "get"),
		rule(Collectors, false, "what collectors log: capture logs", nil, "pods/log", "get"),
		rule(Collectors, false, "say sooner that a collector runs, or why not", nil, "events", "list", "watch"),
	)
}

// What following is for.
const (
	follow      = "capture and measure pods that come later, and follow what filters name"
	followNodes = "follow nodes and namespaces that come later"
)

// reading are the rights to find targets.
func reading() []Right {
	byPods := []string{"pod", "namespace", "deployment", "statefulset", "daemonset", "replicaset", "replicationcontroller", "job", "cronjob", "service"}
	all := slices.Concat(
		rule(Targets, true, "pods by name", []string{"pod/NAME"}, "pods", "get"),
		rule(Targets, true, "targets deploy/NAME", []string{"deployment"}, "deployments.apps", "get"),
		rule(Targets, true, "targets sts/NAME", []string{"statefulset"}, "statefulsets.apps", "get"),
		rule(Targets, true, "targets ds/NAME", []string{"daemonset"}, "daemonsets.apps", "get"),
		rule(Targets, true, "targets rs/NAME", []string{"replicaset"}, "replicasets.apps", "get"),
		rule(Targets, true, "targets rc/NAME", []string{"replicationcontroller"}, "replicationcontrollers", "get"),
		rule(Targets, true, "targets job/NAME", []string{"job"}, "jobs.batch", "get"),
		rule(Targets, true, "targets cronjob/NAME", []string{"cronjob"}, "cronjobs.batch", "get"),
		rule(Targets, true, "targets svc/NAME", []string{"service"}, "services", "get"),
		rule(Cluster, true, "namespaces by label", []string{"namespace"}, "namespaces", "list"),
		rule(Targets, true, "pods by label, and those of workloads and services", byPods, "pods", "list"),
		rule(Targets, true, "the pods of a deployment", []string{"deployment"}, "replicasets.apps", "list"),
		rule(Targets, true, "the pods of a cronjob", []string{"cronjob"}, "jobs.batch", "list"),
		rule(Targets, true, "the pods of a service without a selector", []string{"service without a selector"}, "endpointslices.discovery.k8s.io", "list"),

		rule(Cluster, true, "targets node/NAME, and shells on nodes", []string{"node/NAME"}, "nodes", "get"),
		rule(Cluster, true, "nodes by label, and doctor on all nodes", []string{"node"}, "nodes", "list"),
	)
	all = append(all, rule(Targets, false, follow, nil, "pods", "watch")...)
	for _, resource := range []string{"deployments.apps", "statefulsets.apps", "daemonsets.apps", "cronjobs.batch", "services", "replicationcontrollers"} {
		all = append(all, rule(Targets, false, follow, nil, resource, "list", "watch")...)
	}
	for _, resource := range []string{"replicasets.apps", "jobs.batch", "endpointslices.discovery.k8s.io"} {
		all = append(all, rule(Targets, false, follow, nil, resource, "watch")...)
	}
	return all
}

// naming are the rights to say more of what was seen.
func naming() []Right {
	return slices.Concat(
		rule(Targets, false, "the policies that pods are under, and their state in archives", nil, "networkpolicies.networking.k8s.io", "list", "watch"),
		rule(Targets, false, "the cluster's state in archives", nil, "events", "list"),
		rule(APIService, false, "measure the API server", nil, "services", "get"),
		rule(APIService, false, "measure the API server", nil, "endpointslices.discovery.k8s.io", "list"),
		rule(Cluster, false, followNodes, nil, "nodes", "watch"),
		rule(Cluster, false, followNodes, nil, "namespaces", "get", "watch"),
		rule(Cluster, false, "names of addresses of other namespaces", nil, "pods", "list", "watch"),
		rule(Cluster, false, "names of addresses of other namespaces", nil, "services", "list", "watch"),
	)
}

// ForTarget are the rights that finding a target of this kind takes, as in
// "deployment"; named: a pod or a node by its name.
func ForTarget(kind string, named bool) []Right {
	if named && (kind == "pod" || kind == "node") {
		kind += "/NAME"
	}
	return slices.DeleteFunc(reading(), func(r Right) bool { return !slices.Contains(r.Kinds, kind) })
}

// An Answer is what the API server says of rights.
type Answer struct {
	// Missing are those that the user has not, Unknown those of which it does not
	// say whether the user has them, in the order of the question.
	Missing, Unknown []Right
	// Err is why it does not say it of the first of Unknown; nil if there are none.
	Err error
}

// Add adds what another question was answered with.
func (a *Answer) Add(b Answer) {
	a.Missing, a.Unknown = append(a.Missing, b.Missing...), append(a.Unknown, b.Unknown...)
	if a.Err == nil {
		a.Err = b.Err
	}
}

// Missing returns those of rights that the user has not, see [Ask]. A right of
// which nothing is known is taken to be there: doing without it says the rest.
func Missing(ctx context.Context, client kubernetes.Interface, namespace string, rights []Right) []Right {
	return Ask(ctx, client, namespace, rights).Missing
}

// Ask asks for all of rights at once, those of all scopes in one namespace, ""
// for all.
func Ask(ctx context.Context, client kubernetes.Interface, namespace string, rights []Right) Answer {
	refused, errs := make([]bool, len(rights)), make([]error, len(rights))
	var asked sync.WaitGroup
	for i, r := range rights {
		asked.Go(func() {
			review, err := client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
				Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
					Namespace: namespace, Verb: r.Verb, Group: r.Group, Resource: r.Resource, Subresource: r.Subresource,
				}},
			}, metav1.CreateOptions{})
			switch {
			case err != nil:
				errs[i] = err
			case review.Status.Allowed:
			case review.Status.EvaluationError != "":
				errs[i] = errors.New(review.Status.EvaluationError)
			default:
				refused[i] = true
			}
		})
	}
	asked.Wait()
	var answer Answer
	for i, r := range rights {
		switch {
		case refused[i]:
			answer.Missing = append(answer.Missing, r)
		case errs[i] != nil:
			answer.Add(Answer{Unknown: []Right{r}, Err: errs[i]})
		}
	}
	return answer
}

// Names are the rights in words, as in "create pods, list pods".
func Names(rights []Right) string {
	words := make([]string, len(rights))
	for i, r := range rights {
		words[i] = r.String()
	}
	return strings.Join(words, ", ")
}
