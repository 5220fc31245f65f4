package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// joinTimeout bounds the time until a collector that runs has answered.
const joinTimeout = 20 * time.Second

// Join returns a run of the collectors that another invocation has started. It
// owns nothing: closing it ends the streams and deletes nothing.
func Join(ctx context.Context, client kubernetes.Interface, executor Executor, namespace, runID string) *Run {
	r := &Run{
		cfg: Config{Client: client, Executor: executor, Namespace: namespace, Events: func(Event) {}},
		id:  runID, released: true, created: map[string]types.UID{},
	}
	r.ctx, r.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	r.pods = newPodWatch(client.CoreV1().Pods(namespace), runSelector(runID))
	r.tasks.Go(func() { r.pods.run(r.ctx) })
	return r
}

// Attach connects to the storing collector in the named pod on node, and returns
// when it has said hello. Its frames begin with a status. ctx has no effect on
// the session once it has been returned.
func (r *Run) Attach(ctx context.Context, node, pod string) (*Session, error) {
	if err := r.begin(); err != nil {
		return nil, err
	}
	defer r.tasks.Done()
	ctx, stop := context.WithTimeoutCause(ctx, joinTimeout, errors.New("collector does not answer"))
	defer stop()
	first, err := firstFrame(nil)
	if err != nil {
		return nil, err
	}
	s := &start{run: r, node: node, pod: types.NamespacedName{Namespace: r.cfg.Namespace, Name: pod}, began: time.Now()}
	session := r.newSession(node, s.pod, "attach", first)
	if err := session.connect(ctx, s, nil); err != nil {
		return nil, fmt.Errorf("node %s: %w", node, err)
	}
	return session, nil
}
