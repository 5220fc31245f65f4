package session

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	clienttesting "k8s.io/client-go/testing"
)

// terminated ends the collector container of a pod.
func (c *cluster) terminated(name string, phase corev1.PodPhase, end corev1.ContainerStateTerminated) {
	c.update(name, func(s *corev1.PodStatus) {
		s.Phase = phase
		s.ContainerStatuses = []corev1.ContainerStatus{{Name: collectorContainer, State: corev1.ContainerState{Terminated: &end}}}
	})
}

func isSweeper(pod *corev1.Pod) bool {
	return slices.Equal(pod.Spec.Containers[0].Command, []string{collectorProgram, "sweep"})
}

// changes are the creations and deletions so far, in order.
func (c *cluster) changes() []string {
	var all []string
	for _, action := range c.Actions() {
		switch a := action.(type) {
		case clienttesting.CreateActionImpl:
			if pod, ok := a.GetObject().(*corev1.Pod); ok && len(a.CreateOptions.DryRun) == 0 {
				what := "create pod on " + pod.Spec.NodeName
				if isSweeper(pod) {
					what = "sweep " + pod.Spec.NodeName
				}
				all = append(all, what)
			}
		case clienttesting.DeleteActionImpl:
			all = append(all, "delete "+a.GetResource().Resource)
		}
	}
	return all
}

// A collector that was killed with its container leaves its node to be swept,
// before the lease, which owns the pod that sweeps, is deleted.
func TestCloseSweepsAfterAKilledCollector(t *testing.T) {
	for name, test := range map[string]struct {
		end    corev1.ContainerStateTerminated
		sweeps bool
	}{
		"out of memory": {corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"}, true},
		"killed":        {corev1.ContainerStateTerminated{ExitCode: 137, Reason: "Error"}, true},
		"ended":         {corev1.ContainerStateTerminated{Reason: "Completed"}, false},
		"failed":        {corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, "n1", "n2")
				c.kubelet = func(pod *corev1.Pod) {
					if isSweeper(pod) {
						time.Sleep(2 * time.Second)
					}
					c.runs(pod)
				}
				run := c.open(t.Context())
				c.start(run, "n1")
				c.start(run, "n2")
				c.terminated("retina-"+run.ID()+"-1", corev1.PodFailed, test.end)
				synctest.Wait()
				c.close(run)
				want := []string{"create pod on n1", "create pod on n2", "delete pods", "delete pods", "delete jobs"}
				if test.sweeps {
					want = slices.Insert(want, 2, "sweep n2", "delete pods")
				}
				if got := c.changes(); !equalExceptOrderAfter(got, want, slices.Index(want, "delete pods")) {
					t.Errorf("changes %q, want %q", got, want)
				}
			})
		})
	}
}

// equalExceptOrderAfter compares the first n in order, and the rest in any.
func equalExceptOrderAfter(a, b []string, n int) bool {
	return len(a) == len(b) && slices.Equal(a[:n], b[:n]) && slices.Equal(slices.Sorted(slices.Values(a[n:])), slices.Sorted(slices.Values(b[n:])))
}

func TestCloseSaysWhatIsNotSwept(t *testing.T) {
	for name, test := range map[string]struct {
		kubelet func(*cluster, *corev1.Pod)
		cause   string
	}{
		"the sweeper fails": {func(c *cluster, pod *corev1.Pod) {
			c.terminated(pod.Name, corev1.PodFailed, corev1.ContainerStateTerminated{ExitCode: 1, Message: "list qdiscs: permission denied"})
		}, "exit code 1: list qdiscs: permission denied"},
		"the kubelet is silent": {func(*cluster, *corev1.Pod) {}, "not done after 10s"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, "n1")
				c.kubelet = func(pod *corev1.Pod) {
					if isSweeper(pod) {
						test.kubelet(c, pod)
					} else {
						c.runs(pod)
					}
				}
				run := c.open(t.Context())
				c.start(run, "n1")
				c.terminated("retina-"+run.ID()+"-0", corev1.PodFailed, corev1.ContainerStateTerminated{ExitCode: exitKilled})
				synctest.Wait()
				err := run.Close(context.Background())
				wantError(t, err, "node n1: sweep after the killed collector: ", "the next capture on that node sweeps")
				wantError(t, err, test.cause, "the next capture on that node sweeps")
				c.wantNothingLeft()
			})
		})
	}
}
