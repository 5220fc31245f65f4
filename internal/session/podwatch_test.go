package session

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	clienttesting "k8s.io/client-go/testing"
)

// watched returns a cluster whose pod watches the test sends to and ends.
func watched(t *testing.T) (*cluster, <-chan *watch.FakeWatcher) {
	c := newCluster(t, "n1")
	watches := make(chan *watch.FakeWatcher, 16)
	c.PrependWatchReactor("pods", func(clienttesting.Action) (bool, watchInterface, error) {
		w := watch.NewFake()
		watches <- w
		return true, w, nil
	})
	return c, watches
}

// A watch that ends is followed by another; what happened in between is seen.
func TestWatchResumes(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(*watch.FakeWatcher)
	}{
		{"closed", func(w *watch.FakeWatcher) { w.Stop() }},
		{"expired", func(w *watch.FakeWatcher) {
			status := apierrors.NewResourceExpired("too old resource version").Status()
			w.Error(&status)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, watches := watched(t)
				c.kubelet = func(pod *corev1.Pod) {
					test.end(<-watches)
					c.runs(pod)
				}
				run := c.open(t.Context())
				session := c.start(run, "n1")

				test.end(<-watches)
				c.delete(session.pod)
				time.Sleep(watchRetryMax)
				if state, _ := run.pods.state(session.pod); !state.Gone {
					t.Error("a pod deleted between two watches is not noticed")
				}
				c.close(run)
			})
		})
	}
}

func TestWatchRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "n1")
		var failing atomic.Bool
		failing.Store(true)
		c.PrependReactor("list", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
			if failing.Load() {
				return true, nil, errors.New("connection refused")
			}
			return false, nil, nil
		})
		w := newPodWatch(c.CoreV1().Pods(testNamespace), runSelector(testRunID))
		pod := collectorPod("n1", podOptions{RunID: testRunID, Name: "p", Namespace: testNamespace})
		if err := c.Tracker().Add(pod); err != nil {
			t.Fatal(err)
		}
		go w.run(t.Context())
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := len(c.asked("list", "pods")); n < 10 || n > 20 {
			t.Errorf("%d lists in a minute of failures, want one each %s at last", n, watchRetryMax)
		}
		failing.Store(false)
		time.Sleep(watchRetryMax)
		synctest.Wait()
		if state, _ := w.state("p"); state.Pod == nil {
			t.Error("the pod is not known")
		}
	})
}

// The answer to a creation must not undo what the watch has told already.
func TestWatchIsNewerThanAnswer(t *testing.T) {
	w := newPodWatch(nil, "")
	running := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Status: corev1.PodStatus{Phase: corev1.PodRunning}}
	w.set(running, false)
	w.add(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}})
	if state, _ := w.state("p"); state.Pod != running {
		t.Errorf("state %+v", state)
	}
}
