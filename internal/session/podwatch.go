package session

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
)

// Waits between attempts to watch again, doubling from the first to the last.
const (
	watchRetryMin = 250 * time.Millisecond
	watchRetryMax = 5 * time.Second
)

// A podState is what was last known of a pod.
type podState struct {
	Pod  *corev1.Pod // never changed in place
	Gone bool        // deleted; Pod is its last state
}

type podRecord struct {
	podState
	changed chan struct{} // closed and replaced on each change
}

// A podWatch follows the pods of one run with one watch.
type podWatch struct {
	pods     coreclient.PodInterface
	selector string

	mu      sync.Mutex
	records map[string]*podRecord
}

func newPodWatch(pods coreclient.PodInterface, selector string) *podWatch {
	return &podWatch{pods: pods, selector: selector, records: make(map[string]*podRecord)}
}

// add begins to follow a pod: created is the API server's answer to its
// creation.
func (w *podWatch) add(created *corev1.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if r := w.record(created.Name); r.Pod == nil {
		r.Pod = created
	}
}

// state returns what is known of the named pod, and a channel that is closed
// when that changes.
func (w *podWatch) state(name string) (podState, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.record(name)
	return r.podState, r.changed
}

func (w *podWatch) record(name string) *podRecord {
	r, ok := w.records[name]
	if !ok {
		r = &podRecord{changed: make(chan struct{})}
		w.records[name] = r
	}
	return r
}

func (w *podWatch) set(pod *corev1.Pod, gone bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.record(pod.Name)
	r.podState = podState{Pod: pod, Gone: gone}
	close(r.changed)
	r.changed = make(chan struct{})
}

// known returns the pods that exist as far as w knows.
func (w *podWatch) known() map[string]*corev1.Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	known := make(map[string]*corev1.Pod)
	for name, r := range w.records {
		if r.Pod != nil && !r.Gone {
			known[name] = r.Pod
		}
	}
	return known
}

// run lists and watches until ctx ends. Errors are not reported: a watch that
// cannot be had shows as a Start that runs into its timeout, and the rights to
// it were checked before.
func (w *podWatch) run(ctx context.Context) {
	wait := watchRetryMin
	for ctx.Err() == nil {
		if w.follow(ctx) {
			wait = watchRetryMin
		} else {
			wait = min(2*wait, watchRetryMax)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// follow lists once and watches from there until the watch ends, which servers
// do every few minutes. It reports whether there was a watch.
func (w *podWatch) follow(ctx context.Context) bool {
	// Only a pod that was known before the list was asked for can be missing
	// from it: any other may have been created since.
	before := w.known()
	list, err := w.pods.List(ctx, metav1.ListOptions{LabelSelector: w.selector})
	if err != nil {
		return false
	}
	for i := range list.Items {
		delete(before, list.Items[i].Name)
		w.set(&list.Items[i], false)
	}
	for _, pod := range before {
		w.set(pod, true)
	}
	watcher, err := w.pods.Watch(ctx, metav1.ListOptions{LabelSelector: w.selector, ResourceVersion: list.ResourceVersion})
	if err != nil {
		return false
	}
	defer watcher.Stop()
	for {
		select {
		case <-ctx.Done():
			return true
		case event, ok := <-watcher.ResultChan():
			if !ok {
				return true
			}
			// Anything but a pod is an error, such as a version too old to go on
			// from: the next list starts afresh.
			pod, ok := event.Object.(*corev1.Pod)
			if !ok {
				return false
			}
			w.set(pod, event.Type == watch.Deleted)
		}
	}
}
