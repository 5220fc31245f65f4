package inventory

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

// Delete deletes o, if it is still the same object. One that is gone is no error.
func (o Object) Delete(ctx context.Context, client kubernetes.Interface) error {
	policy := metav1.DeletePropagationBackground
	options := metav1.DeleteOptions{PropagationPolicy: &policy}
	if o.UID != "" {
		options.Preconditions = metav1.NewUIDPreconditions(o.UID)
	}
	var err error
	switch o.Resource {
	case Pod:
		err = client.CoreV1().Pods(o.Namespace).Delete(ctx, o.Name, options)
	case Job:
		err = client.BatchV1().Jobs(o.Namespace).Delete(ctx, o.Name, options)
	case Secret:
		err = client.CoreV1().Secrets(o.Namespace).Delete(ctx, o.Name, options)
	default:
		return fmt.Errorf("delete %s/%s: resource is not known", o.Resource, o.Name)
	}
	switch {
	case err == nil, apierrors.IsNotFound(err), apierrors.IsConflict(err):
		return nil
	case apierrors.IsForbidden(err):
		return hint.Wrap(fmt.Errorf("you may not delete %s %s/%s", o.Resource, o.Namespace, o.Name), "ask for the right to delete pods and jobs there")
	}
	return fmt.Errorf("delete %s %s/%s: %w", o.Resource, o.Namespace, o.Name, err)
}

// Objects returns the lease and the collector pods of the capture, the lease
// first: deleted in this order, nothing starts again.
func (c *Capture) Objects() []Object {
	var all []Object
	if c.lease.exists {
		all = append(all, c.object(Job, c.lease.name, c.lease.uid))
	}
	for i := range c.Nodes {
		all = append(all, c.object(Pod, c.Nodes[i].Pod, c.Nodes[i].UID))
	}
	return all
}

func (c *Capture) object(resource, name, uid string) Object {
	return Object{Resource: resource, Namespace: c.Namespace, Name: name, UID: uid, Run: c.Run, Capture: c.Name}
}
