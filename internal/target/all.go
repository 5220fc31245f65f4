package target

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

// allPods is a query for every pod of a namespace, or of all.
type allPods struct {
	namespace string // "" is all of them
}

func (q allPods) String() string {
	if q.namespace == "" {
		return "pods in all namespaces"
	}
	return "pods in namespace " + q.namespace
}

func (q allPods) find(ctx context.Context, client kubernetes.Interface) (found, error) {
	return podsMatching{"", labels.Everything(), q.namespace}.find(ctx, client)
}

func (q allPods) nothing(f found) error {
	switch {
	case len(f.pods) == 1:
		return advise(fmt.Errorf("1 pod among the %s, %s", q, none(f)), describe(f))
	case len(f.pods) > 1:
		return advise(fmt.Errorf("%d %s, %s", len(f.pods), q, none(f)), describe(f))
	case q.namespace == "":
		return hint.Wrap(fmt.Errorf("no %s", q), "start some, or look at the nodes themselves")
	}
	return hint.Wrap(fmt.Errorf("no %s", q), "pass -n NAMESPACE, or -A for all namespaces")
}

// allNodes is a query for every Linux node.
type allNodes struct{}

func (allNodes) String() string { return "all Linux nodes" }

func (allNodes) find(ctx context.Context, client kubernetes.Interface) (found, error) {
	return listNodes(ctx, client, labels.Everything())
}

func (allNodes) nothing(f found) error {
	if len(f.skipped) > 0 {
		return hint.Wrap(fmt.Errorf("no Linux node: %s %s", f.skipped[0].Target, f.skipped[0].Reason),
			"see what there is with: kubectl get nodes -L "+corev1.LabelOSStable)
	}
	return hint.Wrap(fmt.Errorf("the cluster has no node"), "see what there is with: kubectl get nodes")
}

// Join selects what any of the selections does.
func Join(selections ...Selection) Selection {
	var joined Selection
	for _, s := range selections {
		joined.queries = append(joined.queries, s.queries...)
	}
	return joined
}
