package target

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

// An object is a query for one thing by its type and name.
type object struct {
	kind      kind
	namespace string // "" for a node
	name      string
}

// String returns "deployment shop/web" or "node n1".
func (o object) String() string {
	if o.namespace == "" {
		return o.kind.name + " " + o.name
	}
	return o.kind.name + " " + o.namespace + "/" + o.name
}

func (o object) find(ctx context.Context, client kubernetes.Interface) (found, error) {
	switch o.kind.name {
	case "pod":
		pod, err := getPod(ctx, client, o.namespace, o.name)
		if err != nil {
			return found{}, o.getError(ctx, client, err)
		}
		return found{pods: []candidate{pod.byName()}}, nil
	case "node":
		node, err := client.CoreV1().Nodes().Get(ctx, o.name, metav1.GetOptions{})
		if err != nil {
			return found{}, o.getError(ctx, client, err)
		}
		if !runsLinux(node) {
			return found{}, hint.Wrap(fmt.Errorf("%s runs %s", o, operatingSystem(node)), "name Linux nodes only")
		}
		return found{nodes: []*corev1.Node{trimmed(node)}}, nil
	case "service":
		return o.findService(ctx, client)
	case "cronjob":
		return o.findCronJob(ctx, client)
	default:
		return o.findWorkload(ctx, client)
	}
}

// getError returns the error for a Get of o that failed with err.
func (o object) getError(ctx context.Context, client kubernetes.Interface, err error) error {
	if apierrors.IsNotFound(err) {
		return o.notFound(ctx, client)
	}
	return Asking(err, "get", o.kind.qualified(), o.namespace)
}

func (o object) nothing(f found) error {
	switch {
	case o.kind.name == "pod":
		return advise(fmt.Errorf("%s is %s", o, f.pods[0].reason), describe(f))
	case len(f.pods) == 0:
		return advise(fmt.Errorf("%s %s", o, f.why), f.advice)
	case len(f.pods) == 1:
		return advise(fmt.Errorf("%s has 1 pod, %s", o, none(f)), describe(f))
	}
	return advise(fmt.Errorf("%s has %d pods, %s", o, len(f.pods), none(f)), describe(f))
}
