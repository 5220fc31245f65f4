package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
)

func (c *cluster) ends(change func(*corev1.PodStatus)) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		c.update(pod.Name, func(s *corev1.PodStatus) {
			s.Phase = corev1.PodFailed
			change(s)
		})
	}
}

func terminatedWith(state corev1.ContainerStateTerminated) func(*corev1.PodStatus) {
	return func(s *corev1.PodStatus) {
		s.ContainerStatuses = []corev1.ContainerStatus{{
			Name: CollectorContainer, State: corev1.ContainerState{Terminated: &state},
		}}
	}
}

// says is the kubelet that sends an event and leaves the status as it is.
func (c *cluster) says(reasons ...string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		synctest.Wait() // until the events are watched
		for i, reason := range reasons {
			event := &corev1.Event{
				ObjectMeta:     metav1.ObjectMeta{Name: fmt.Sprintf("%s.%d", pod.Name, i), Namespace: testNamespace},
				InvolvedObject: corev1.ObjectReference{Kind: "Pod", Name: pod.Name},
				Reason:         reason,
				Message:        "rpc error: no\nsuch runtime",
				Type:           corev1.EventTypeWarning,
			}
			if err := c.Tracker().Add(event); err != nil {
				c.t.Error(err)
			}
		}
	}
}

func status(reason, message string) func(*corev1.PodStatus) {
	return func(s *corev1.PodStatus) { s.Reason, s.Message = reason, message }
}

// Whatever keeps a collector from starting is reported within five seconds,
// and leaves no pod.
func TestStuck(t *testing.T) {
	const image = "collector image registry.example/retina-collector:v1 cannot be pulled"
	type kubelet = func(*corev1.Pod)
	for _, test := range []struct {
		name        string
		kubelet     func(*cluster) kubelet
		error, hint string
	}{
		{"pull", func(c *cluster) kubelet { return c.waits("ErrImagePull", "manifest unknown:\n\tv1") },
			image + " (ErrImagePull): manifest unknown: v1", hintImage},
		{"pull again", func(c *cluster) kubelet { return c.waits("ImagePullBackOff", "Back-off pulling image") },
			image + " (ImagePullBackOff): Back-off", hintImage},
		{"image name", func(c *cluster) kubelet { return c.waits("InvalidImageName", "couldn't parse") }, image, hintImage},
		{"never pull", func(c *cluster) kubelet { return c.waits("ErrImageNeverPull", "") }, image, hintImage},
		{"registry", func(c *cluster) kubelet { return c.waits("RegistryUnavailable", "503") }, image, hintImage},
		{"inspect", func(c *cluster) kubelet { return c.waits("ImageInspectError", "") }, image, hintImage},
		{"create", func(c *cluster) kubelet { return c.waits("CreateContainerError", "no space left on device") },
			"collector container cannot start (CreateContainerError): no space left on device", ""},
		{"configuration", func(c *cluster) kubelet { return c.waits("CreateContainerConfigError", "x") }, "cannot start", ""},
		{"run", func(c *cluster) kubelet { return c.waits("RunContainerError", "x") }, "cannot start", ""},
		{"other image", func(c *cluster) kubelet {
			return c.ends(terminatedWith(corev1.ContainerStateTerminated{Reason: "StartError", ExitCode: 128, Message: `exec: "/retina-collector": no such file`}))
		}, `cannot start (StartError): exec: "/retina-collector": no such file`, hintImageKind},
		{"exit", func(c *cluster) kubelet {
			return c.ends(terminatedWith(corev1.ContainerStateTerminated{Reason: "Error", ExitCode: 3}))
		}, "collector container ended with exit code 3 (Error)", ""},
		{"cpu", func(c *cluster) kubelet { return c.ends(status("OutOfcpu", "Node didn't have enough resource: cpu")) },
			"ended (OutOfcpu): Node didn't have enough resource: cpu", ""},
		{"pods", func(c *cluster) kubelet { return c.ends(status("OutOfpods", "")) }, "ended (OutOfpods)", ""},
		{"affinity", func(c *cluster) kubelet { return c.ends(status("NodeAffinity", "Predicate NodeAffinity failed")) }, "(NodeAffinity)", ""},
		{"evicted", func(c *cluster) kubelet { return c.ends(status("Evicted", "The node was low on resource: memory")) }, "low on resource", ""},
		{"deadline", func(c *cluster) kubelet { return c.ends(status("DeadlineExceeded", "")) }, "(DeadlineExceeded)", ""},
		{"sandbox", func(c *cluster) kubelet { return c.says("FailedCreatePodSandBox") },
			"collector pod does not start (FailedCreatePodSandBox): rpc error: no such runtime", ""},
		{"pull secret", func(c *cluster) kubelet {
			return func(pod *corev1.Pod) {
				c.says("FailedToRetrieveImagePullSecret")(pod)
				synctest.Wait()
				c.waits("ErrImagePull", "401")(pod)
			}
		}, "(ErrImagePull): 401 (FailedToRetrieveImagePullSecret)", hintImage},
		{"deleted", func(c *cluster) kubelet {
			return func(pod *corev1.Pod) { c.delete(pod.Name) }
		}, "collector pod netops/retina-", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, "n1", "n2")
				c.kubelet = func(pod *corev1.Pod) {
					if pod.Spec.NodeName == "n1" {
						test.kubelet(c)(pod)
					} else {
						c.runs(pod)
					}
				}
				run := c.open(t.Context())
				began := time.Now()
				_, err := run.Start(t.Context(), "n1", testSpec())
				wantError(t, err, test.error, test.hint)
				if !strings.HasPrefix(err.Error(), "node n1: ") {
					t.Errorf("error %q does not begin with the node", err)
				}
				if took := time.Since(began); took >= 5*time.Second {
					t.Errorf("reported after %s", took)
				}
				if left := c.left(); len(left) != 1 {
					t.Errorf("after the failure there are %q, want the lease", left)
				}
				c.start(run, "n2")
				c.close(run)
			})
		})
	}
}

func (c *cluster) delete(pod string) {
	if err := c.CoreV1().Pods(testNamespace).Delete(context.Background(), pod, metav1.DeleteOptions{}); err != nil {
		c.t.Errorf("delete pod: %v", err)
	}
}

func TestRefusedOnCreate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "n1")
		c.onCreatePod(false, forbidden("exceeded quota: few, requested: pods=1, used: pods=1, limited: pods=1"))
		run := c.open(t.Context())
		_, err := run.Start(t.Context(), "n1", testSpec())
		wantError(t, err, "node n1: namespace netops does not take a collector pod", "--collector-namespace")
		wantError(t, err, "exceeded quota: few", "--collector-namespace")
		c.close(run)
	})
}

// announces is the kubelet that says that the container has started before the
// pod's status does.
func (c *cluster) announces(late time.Duration) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		synctest.Wait() // until the events are watched
		for i, field := range []string{"spec.containers{injected}", containerField} {
			event := &corev1.Event{
				ObjectMeta:     metav1.ObjectMeta{Name: fmt.Sprintf("%s.started%d", pod.Name, i), Namespace: testNamespace},
				InvolvedObject: corev1.ObjectReference{Kind: "Pod", Name: pod.Name, FieldPath: field},
				Reason:         "Started",
				Type:           corev1.EventTypeNormal,
			}
			if err := c.Tracker().Add(event); err != nil {
				c.t.Error(err)
			}
		}
		time.Sleep(late)
		c.runs(pod)
	}
}

// The kubelet's event saves waiting for the status.
func TestStartedEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "n1")
		c.kubelet = c.announces(time.Second)
		run := c.open(t.Context())
		if took := c.start(run, "n1").ReadyAfter(); took != 0 {
			t.Errorf("ready after %s", took)
		}
		time.Sleep(2 * time.Second)
		c.close(run)
	})
}

// An event that is wrong costs time and no more.
func TestStartedEventTooEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const late = 10 * time.Second
		c := newCluster(t, "n1")
		c.kubelet = c.announces(late)
		began := time.Now()
		c.collector = func(c *collectorEnd) error {
			if time.Since(began) < late {
				return errors.New(`container not found ("collector")`)
			}
			return obey(c)
		}
		run := c.open(t.Context())
		if took := c.start(run, "n1").ReadyAfter(); took != late {
			t.Errorf("ready after %s", took)
		}
		if len(c.execs) != 2 {
			t.Errorf("tried %d times to connect", len(c.execs))
		}
		c.close(run)
	})
}

// A node that cannot run a collector is reported without creating anything.
func TestNodeRefused(t *testing.T) {
	windows := testNode("n1", corev1.ConditionTrue, "")
	windows.Status.NodeInfo.OperatingSystem = "windows"
	for _, test := range []struct {
		name, error string
		node        *corev1.Node
	}{
		{"down", "node n1: node is not ready: Kubelet stopped posting node status.",
			testNode("n1", corev1.ConditionUnknown, "Kubelet stopped posting node status.")},
		{"windows", "node n1: node runs windows, collectors need Linux", windows},
		{"unknown", "node n1: there is no node of this name", testNode("n2", corev1.ConditionTrue, "")},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t)
				if err := c.Tracker().Add(test.node); err != nil {
					t.Fatal(err)
				}
				run := c.open(t.Context())
				_, err := run.Start(t.Context(), "n1", testSpec())
				wantError(t, err, test.error, "")
				c.wantNothingLeft()
				c.close(run)
			})
		})
	}
}

func TestNodeGoesDownWhilePending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "n1")
		c.kubelet = func(*corev1.Pod) {
			time.Sleep(30 * time.Second)
			c.setNode(testNode("n1", corev1.ConditionUnknown, "Kubelet stopped posting node status."))
		}
		run := c.open(t.Context())
		began := time.Now()
		_, err := run.Start(t.Context(), "n1", testSpec())
		wantError(t, err, "node n1: node is not ready: Kubelet stopped posting node status.", "")
		if took := time.Since(began); took > 35*time.Second {
			t.Errorf("noticed after %s, want within 5s of 30s", took)
		}
		c.close(run)
	})
}

// A node whose network plugin is broken is not ready, and starts a pod on its
// own network all the same.
func TestNodeNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		if err := c.Tracker().Add(testNode("n1", corev1.ConditionFalse, "cni plugin not initialized")); err != nil {
			t.Fatal(err)
		}
		run := c.open(t.Context())
		c.start(run, "n1")
		c.kubelet = c.waits("CreateContainerError", "context deadline exceeded")
		_, err := run.Start(t.Context(), "n1", testSpec())
		wantError(t, err, "context deadline exceeded; node is not ready: cni plugin not initialized", "")
		c.close(run)
	})
}

// Users without rights outside the namespace can capture.
func TestNodesAndEventsForbidden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "n1")
		c.PrependReactor("get", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, apierrors.NewForbidden(corev1.Resource("nodes"), "n1", errors.New("no"))
		})
		c.PrependWatchReactor("events", func(clienttesting.Action) (bool, watchInterface, error) {
			return true, nil, apierrors.NewForbidden(corev1.Resource("events"), "", errors.New("no"))
		})
		c.kubelet = func(pod *corev1.Pod) {
			time.Sleep(10 * time.Second)
			c.runs(pod)
		}
		run := c.open(t.Context())
		c.start(run, "n1")
		if gets := c.asked("get", "nodes"); len(gets) != 1 {
			t.Errorf("asked %d times for a node that may not be seen", len(gets))
		}
		c.close(run)
	})
}

func TestStartTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "n1")
		c.kubelet = c.says("Pulling")
		run := c.open(t.Context())
		began := time.Now()
		_, err := run.Start(t.Context(), "n1", testSpec())
		wantError(t, err, "node n1: collector is not ready after 2m0s, still pulling", "")
		if took := time.Since(began); took != defaultStartTimeout {
			t.Errorf("gave up after %s", took)
		}
		if got, want := c.phases("n1"), []Phase{PhaseCreating, PhasePulling}; !slices.Equal(got, want) {
			t.Errorf("phases %v, want %v", got, want)
		}
		c.close(run)
	})
}
