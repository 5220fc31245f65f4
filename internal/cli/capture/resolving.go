package capture

import (
	"context"

	"github.com/kubectl-retina/kubectl-retina/internal/target"
	"github.com/kubectl-retina/kubectl-retina/internal/target/follow"
)

// resolve finds the targets. Where none runs yet it waits for the first, if the
// user wants that: a name that was typed wrong must not look like a pod that is
// late, so that is asked for, as it is with kubectl's --pod-running-timeout.
func (r *captureRun) resolve(ctx context.Context) (*target.Resolved, error) {
	client, selection := r.cluster.Client, r.config.selection
	resolved, err := selection.Resolve(ctx, client)
	if err == nil || r.patience == 0 {
		return resolved, err
	}
	none, failed := selection.ResolveAny(ctx, client)
	if failed != nil {
		return nil, failed
	}
	r.narrator.Info("waiting for a pod of " + selection.String())
	waiting, cancel := context.WithTimeout(ctx, r.patience)
	defer cancel()
	changes := follow.Watch(waiting, client, selection, none)
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
			r.warn(warning.Error())
		}
		if len(change.Added)+len(change.NodesAdded) > 0 {
			break
		}
	}
	return selection.Resolve(ctx, client)
}
