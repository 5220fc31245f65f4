package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

const (
	// containerField is the field path of the kubelet's events about the container.
	containerField = "spec.containers{" + CollectorContainer + "}"
	// nodePoll is how often the node of a pod that does not start is looked at.
	nodePoll = 2 * time.Second
	// eventPatience is how long the kubelet may go on trying after an event that
	// tells of a failure which the pod's status does not show.
	eventPatience = 3 * time.Second
)

// A progress is what is known of a pod that does not run yet.
type progress struct {
	start   *start
	view    nodeView
	phase   Phase            // last one emitted here
	warning *corev1.Event    // last one
	doubted bool             // the event that the container has started is not believed
	enough  <-chan time.Time // fires eventPatience after the first failure
}

// waitRunning waits until the collector's container runs, or until the
// kubelet, the node or the clock says that it will not. announced means that
// it runs by the kubelet's event. That comes up to a second before the pod's
// status, which the kubelet updates when it next looks at all containers.
func (p *progress) waitRunning(ctx context.Context) (announced bool, err error) {
	s := p.start
	watching, stop := context.WithCancel(ctx)
	defer stop()
	events := watchEvents(watching, s.run.cfg.Client.CoreV1().Events(s.pod.Namespace), s.pod.Name)
	poll := time.NewTicker(nodePoll)
	defer poll.Stop()
	for {
		state, changed := s.run.pods.state(s.pod.Name)
		running, err := judge(state)
		if err != nil {
			return false, p.explain(err)
		}
		if running {
			return false, nil
		}
		p.status(state.Pod)
		select {
		case <-changed:
		case event := <-events:
			if p.event(event) {
				return true, nil
			}
		case <-p.enough:
			return false, p.explain(fmt.Errorf("%s pod does not start", holder(state.Pod)))
		case <-poll.C:
			if err := p.pollNode(ctx); err != nil {
				return false, err
			}
		case <-ctx.Done():
			return false, p.gaveUp(context.Cause(ctx))
		}
	}
}

func (p *progress) advance(phase Phase) {
	if p.phase != phase {
		p.phase = phase
		p.start.emit(phase)
	}
}

// status sees that the kubelet has begun with the pod.
func (p *progress) status(pod *corev1.Pod) {
	if pod.Status.StartTime != nil && p.phase == "" {
		p.advance(PhaseStarting)
	}
}

// event learns from what the kubelet says, and reports whether that is that
// the container has started.
func (p *progress) event(e *corev1.Event) (started bool) {
	switch {
	case e.Reason == "Started" && e.InvolvedObject.FieldPath == containerField && !p.doubted:
		return true
	case e.Reason == "Pulling":
		p.advance(PhasePulling)
	case e.Reason == "Pulled":
		p.advance(PhaseStarting)
	case tellsMore(e.Reason) && p.enough == nil:
		// May pass, for instance right after a node's start. If it does not, the
		// kubelet tries and fails every few seconds.
		p.enough = time.After(eventPatience)
	}
	if e.Type == corev1.EventTypeWarning {
		p.warning = e
	}
	return false
}

// tellsMore reports an event of the kubelet's about a failure that keeps a
// pod from starting and does not show in its status.
func tellsMore(reason string) bool {
	switch reason {
	case "FailedCreatePodSandBox", "FailedCreatePodContainer", "FailedMount":
		return true
	}
	return false
}

// pollNode fails when the node is gone or its kubelet has stopped answering.
func (p *progress) pollNode(ctx context.Context) error {
	if p.view.Node == nil {
		return nil
	}
	view, err := p.start.run.lookAt(ctx, p.start.node)
	if err != nil {
		return nil // says nothing of the node
	}
	p.view = view
	return view.Fault
}

// gaveUp is the error for a context that ended with this cause.
func (p *progress) gaveUp(cause error) error {
	if errors.Is(cause, context.Canceled) {
		return cause // the user's wish needs no explanation
	}
	if p.phase != "" {
		cause = fmt.Errorf("%w, still %s", cause, p.phase)
	}
	return p.explain(cause)
}

// explain adds to err what else is known, and keeps its hint.
func (p *progress) explain(err error) error {
	hinted := hint.Of(err)
	if w := p.warning; w != nil && (tellsMore(w.Reason) || w.Reason == "FailedToRetrieveImagePullSecret") {
		err = fmt.Errorf("%w%s", err, because(w.Reason, w.Message))
	}
	if complaint := p.view.complaint(); complaint != nil {
		err = fmt.Errorf("%w; %w", err, complaint)
	}
	if hinted != "" {
		return hint.Wrap(err, hinted)
	}
	return err
}

// watchEvents returns the events about the named pod until ctx ends. Nothing
// comes when the user may not watch events: they only tell more, and sooner.
func watchEvents(ctx context.Context, client coreclient.EventInterface, pod string) <-chan *corev1.Event {
	events := make(chan *corev1.Event)
	go func() {
		// Without a version to start from, the watch begins with what is there.
		watcher, err := client.Watch(ctx, metav1.ListOptions{
			FieldSelector: fields.Set{"involvedObject.kind": "Pod", "involvedObject.name": pod}.String(),
		})
		if err != nil {
			return
		}
		defer watcher.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case e, ok := <-watcher.ResultChan():
				event, isEvent := e.Object.(*corev1.Event)
				if !ok || !isEvent {
					return
				}
				if event.InvolvedObject.Name != pod {
					continue
				}
				select {
				case events <- event:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	return events
}
