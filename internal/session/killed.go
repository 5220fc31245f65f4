package session

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

// sweepTimeout bounds the sweeping of a node: starting a container there, and
// looking at every network namespace.
const sweepTimeout = 10 * time.Second

// sweepKilled removes what collectors of this run have left on their nodes that
// were killed with their whole container, for lack of memory for example: then
// no process of theirs is left to do it, and what older kernels attach outlives
// the process. A pod on the node does it, which is one of the run's pods.
func (r *Run) sweepKilled(ctx context.Context) error {
	nodes := make(map[string]bool)
	for name := range r.created {
		if pod := r.pods.known()[name]; pod != nil && wasKilled(pod) {
			nodes[pod.Spec.NodeName] = true
		}
	}
	if len(nodes) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, sweepTimeout, fmt.Errorf("not done after %s", sweepTimeout))
	pods := newPodWatch(r.cfg.Client.CoreV1().Pods(r.cfg.Namespace), runSelector(r.id))
	var watch sync.WaitGroup
	watch.Go(func() { pods.run(ctx) })
	defer watch.Wait()
	defer cancel()
	var all sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	for node := range nodes {
		all.Go(func() {
			if err := r.sweepNode(ctx, pods, node); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, fmt.Errorf("node %s: sweep after the killed collector: %w", node, err))
			}
		})
	}
	all.Wait()
	return hint.Wrap(and(errs...), "the next capture on that node sweeps too; kernels from 6.6 have nothing to sweep")
}

// wasKilled reports whether the pod's collector had no chance to sweep.
func wasKilled(pod *corev1.Pod) bool {
	status := containerStatus(pod)
	return status != nil && status.State.Terminated != nil && status.State.Terminated.ExitCode == exitKilled
}

// sweepNode runs a pod on the node that sweeps, and waits for its end.
func (r *Run) sweepNode(ctx context.Context, pods *podWatch, node string) error {
	name := r.nextPod()
	options := r.cfg.podOptions(r.id, name, &r.owner)
	options.Storage = nil
	pod := collectorPod(node, options)
	pod.Spec.Containers[0].Command = []string{collectorProgram, "sweep"}
	created, err := r.cfg.Client.CoreV1().Pods(r.cfg.Namespace).Create(ctx, pod, metav1.CreateOptions{FieldManager: programName})
	if err != nil {
		return ended(ctx, refusal(r.cfg.Namespace, err))
	}
	r.notePod(name, created.UID)
	pods.add(created)
	for {
		state, changed := pods.state(name)
		if state.Pod.Status.Phase == corev1.PodSucceeded {
			return nil
		}
		if _, err := judge(state); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
