package session

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// A start is one call of Start.
type start struct {
	run   *Run
	node  string
	pod   types.NamespacedName // named, whether it exists or not
	began time.Time
}

func (s *start) emit(p Phase) {
	s.run.emit(Event{Node: s.node, Phase: p, Elapsed: time.Since(s.began)})
}

// Start starts a collector on node and returns when its programs are attached,
// or when it is clear that they will not be. It may be called for many nodes
// at once; one node's failure is none of the others'. The run fills in the
// Version, RunID and MaxSeconds of spec.
//
// The error names the node and says what Kubernetes says. A Start that fails,
// or whose ctx ends, leaves no pod. Once Start has returned a session, ctx has
// no effect on it.
func (r *Run) Start(ctx context.Context, node string, spec wire.Spec) (*Session, error) {
	if err := r.begin(); err != nil {
		return nil, err
	}
	defer r.tasks.Done()
	spec.Version, spec.RunID, spec.MaxSeconds = wire.Version, r.id, int64((r.cfg.MaxRun+time.Second-1)/time.Second)
	if err := spec.Validate(); err != nil {
		return nil, fmt.Errorf("node %s: %w", node, err)
	}
	ctx, cancel := r.startContext(ctx, "collector")
	defer cancel()
	s := &start{run: r, node: node, began: time.Now()}
	session, err := s.start(ctx, spec)
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", node, and(err, s.undo(ctx)))
	}
	s.emit(PhaseReady)
	return session, nil
}

// startContext returns a context for starting what, that also ends with the run,
// and after StartTimeout.
func (r *Run) startContext(ctx context.Context, what string) (context.Context, func()) {
	ctx, stop := context.WithTimeoutCause(ctx, r.cfg.StartTimeout, fmt.Errorf("%s is not ready after %s", what, r.cfg.StartTimeout))
	ctx, cancel := context.WithCancelCause(ctx)
	unlink := context.AfterFunc(r.ctx, func() { cancel(context.Cause(r.ctx)) })
	return ctx, func() {
		unlink()
		cancel(nil)
		stop()
	}
}

func (s *start) start(ctx context.Context, spec wire.Spec) (*Session, error) {
	view, err := s.run.lookAt(ctx, s.node)
	if err = and(err, view.Fault); err != nil {
		return nil, ended(ctx, err)
	}
	owner, err := s.run.leaseOwner(ctx)
	if err != nil {
		return nil, ended(ctx, err)
	}
	first, err := firstFrame(&spec)
	if err != nil {
		return nil, err
	}
	argument := "run"
	if s.run.cfg.Storage != nil {
		argument = "attach"
	}
	s.emit(PhaseCreating)
	if err := s.createPod(ctx, owner, podTargets(spec)); err != nil {
		return nil, ended(ctx, err)
	}
	p := &progress{start: s, view: view}
	for {
		announced, err := p.waitRunning(ctx)
		if err != nil {
			return nil, err
		}
		s.emit(PhaseConnecting)
		session := s.run.newSession(s.node, s.pod, argument, first)
		err = session.connect(ctx, s, &spec)
		if err == nil {
			return session, nil
		}
		if !announced || session.hello.Version != 0 || ctx.Err() != nil {
			return nil, err
		}
		// An event is a hint that anybody can write. The status is to be relied on.
		p.doubted = true
	}
}

// ended prefers the reason why ctx ended to the error of whoever noticed it.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// podTargets counts the pods among the targets of spec.
func podTargets(spec wire.Spec) int {
	n := 0
	for _, t := range specTargets(spec) {
		if !t.Node {
			n++
		}
	}
	return n
}

func (s *start) createPod(ctx context.Context, owner metav1.OwnerReference, targets int) error {
	return s.create(ctx, owner, func(o podOptions) *corev1.Pod {
		o.Targets = targets
		return collectorPod(s.node, o)
	})
}

// undo deletes the pod of a Start that failed, so that it does not go on
// trying while other nodes' collectors work.
func (s *start) undo(ctx context.Context) error {
	if s.pod.Name == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	return s.run.deletePod(ctx, s.pod.Name)
}
