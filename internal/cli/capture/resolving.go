package capture

import (
	"context"

	"github.com/kubectl-retina/kubectl-retina/internal/target"
	"github.com/kubectl-retina/kubectl-retina/internal/target/follow"
)

// resolve finds the targets, and waits for the first as --pod-running-timeout says.
func (r *captureRun) resolve(ctx context.Context) (*target.Resolved, error) {
	return follow.Await(ctx, r.cluster.Client, r.config.selection, follow.Waiting{
		Patience: r.patience,
		Began:    func() { r.narrator.Info("waiting for a pod of " + r.config.selection.String()) },
		Warn:     func(err error) { r.warn(err.Error()) },
	})
}
