package session

import (
	"context"
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/kubectl-retina/kubectl-retina/internal/rights"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// A Preview is what a run would create, and whether it may. Nothing of it exists.
type Preview struct {
	Lease *batchv1.Job
	// Rights are all that a run needs in its namespace.
	Rights []Right
	// Refused is why a run cannot create its objects now; nil: it can.
	Refused error

	cfg Config
	id  string
}

// A Right is one thing that a run does, as RBAC has it: "create pods/exec".
type Right struct {
	Text    string
	Missing bool // the user has it not
}

// NewPreview is [Open] that only looks: it needs no Executor, and creates and
// deletes nothing. The error is one of cfg; what the cluster has against the run
// is in Refused.
func NewPreview(ctx context.Context, cfg Config) (*Preview, error) {
	cfg.Executor = noExecutor{}
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	id, err := newID(cfg.Rand)
	if err != nil {
		return nil, fmt.Errorf("run ID: %w", err)
	}
	p := &Preview{Lease: leaseJob(id, cfg), cfg: cfg, id: id}
	var missing []rights.Right
	missing, p.Refused = examine(ctx, cfg, id)
	for _, r := range runRights() {
		p.Rights = append(p.Rights, Right{Text: r.String(), Missing: slices.ContainsFunc(missing, func(m rights.Right) bool { return m.String() == r.String() })})
	}
	return p, nil
}

// Pod is the pod of a collector on node, the number-th of the run. The reference
// to the lease, which has no UID yet, is left out.
func (p *Preview) Pod(number int, node string, spec wire.Spec) *corev1.Pod {
	options := p.cfg.podOptions(p.id, podName(p.id, number), nil)
	options.Targets = podTargets(spec)
	return collectorPod(node, options)
}

// noExecutor stands for an Executor where nothing is executed.
type noExecutor struct{ Executor }
