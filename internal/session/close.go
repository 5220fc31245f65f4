package session

import (
	"context"
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

// Close ends every session that is still open and deletes everything that the
// run has created, unless the run was released. It works after ctx has ended
// too, for cleanupTimeout. The error names what could not be deleted. Calls after
// the first do nothing.
func (r *Run) Close(ctx context.Context) error {
	r.mu.Lock()
	closed := r.closed
	r.closed = true
	r.mu.Unlock()
	if closed {
		return nil
	}
	r.cancel(errClosed)
	r.tasks.Wait()
	if r.released {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	var mu sync.Mutex
	var errs []error
	var deletions sync.WaitGroup
	try := func(deletion func(context.Context) error) {
		deletions.Go(func() {
			if err := deletion(ctx); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
		})
	}
	for name := range r.created { // nobody else is left to use it
		try(func(ctx context.Context) error { return r.removePod(ctx, name, r.created[name]) })
	}
	if !r.lease.base.IsZero() {
		try(r.deleteLease)
	}
	deletions.Wait()
	if len(errs) == 0 {
		return nil
	}
	return hint.Wrap(and(errs...), fmt.Sprintf("what is left ends by itself within a minute; to make sure: kubectl delete pod,job -n %s -l %s=%s",
		r.cfg.Namespace, LabelRun, r.id))
}

// deletePod deletes one of the run's pods and forgets it.
func (r *Run) deletePod(ctx context.Context, name string) error {
	r.mu.Lock()
	uid := r.created[name]
	r.mu.Unlock()
	if err := r.removePod(ctx, name, uid); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.created, name)
	return nil
}

func (r *Run) removePod(ctx context.Context, name string, uid types.UID) error {
	if err := deletePod(ctx, r.cfg.Client, r.cfg.Namespace, name, uid); err != nil {
		return fmt.Errorf("delete pod %s/%s: %w", r.cfg.Namespace, name, err)
	}
	return nil
}

// deleteLease deletes the lease at once. It also covers a creation whose
// answer never came.
func (r *Run) deleteLease(ctx context.Context) error {
	policy := metav1.DeletePropagationBackground
	name := r.lease.job.Name
	err := r.cfg.Client.BatchV1().Jobs(r.cfg.Namespace).Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: &policy})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete job %s/%s: %w", r.cfg.Namespace, name, err)
	}
	return nil
}

// deletePod deletes the named pod, if it is the one with this UID; without a
// UID, whichever it is. No pod is no error. The pod's own grace period applies.
func deletePod(ctx context.Context, client kubernetes.Interface, namespace, name string, uid types.UID) error {
	options := metav1.DeleteOptions{}
	if uid != "" {
		options.Preconditions = metav1.NewUIDPreconditions(string(uid))
	}
	err := client.CoreV1().Pods(namespace).Delete(ctx, name, options)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}
