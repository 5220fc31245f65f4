package follow

import (
	"context"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/kubectl-retina/kubectl-retina/internal/target"
)

// Waiting says how [Await] waits.
type Waiting struct {
	// Patience is how long it waits for the first pod; 0 is not at all.
	Patience time.Duration
	// Began is called when there is something to wait for, Warn with what cannot be
	// followed meanwhile. Neither may be nil.
	Began func()
	Warn  func(error)
}

// Await finds the targets of a selection as its Resolve does. Where none runs yet it
// waits for the first, if the user wants that: a name that was typed wrong must not
// look like a pod that is late. When none has come in time, or ctx ends, the error is
// that of the beginning.
func Await(ctx context.Context, client kubernetes.Interface, selection target.Selection, w Waiting) (*target.Resolved, error) {
	resolved, err := selection.Resolve(ctx, client)
	if err == nil || w.Patience == 0 {
		return resolved, err
	}
	none, failed := selection.ResolveAny(ctx, client)
	if failed != nil {
		return nil, failed
	}
	w.Began()
	waiting, cancel := context.WithTimeout(ctx, w.Patience)
	defer cancel()
	changes := Watch(waiting, client, selection, none)
	defer func() {
		cancel()
		for range changes {
			// Until what watches has ended.
		}
	}()
	for len(none.Nodes) == 0 {
		change, ok := <-changes
		if !ok {
			return nil, err
		}
		for _, warning := range change.Warnings {
			w.Warn(warning)
		}
		if len(change.Added)+len(change.NodesAdded) > 0 {
			break
		}
	}
	return selection.Resolve(ctx, client)
}
