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
	"k8s.io/client-go/kubernetes/scheme"
	clienttesting "k8s.io/client-go/testing"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
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
			Name: collectorContainer, State: corev1.ContainerState{Terminated: &state},
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

func TestHandshakeFails(t *testing.T) {
	for _, test := range []struct {
		name        string
		collector   func(*collectorEnd) error
		error, hint string
	}{
		{"other version", func(c *collectorEnd) error {
			err := c.out.WriteJSON(wire.KindHello, wire.Hello{Version: wire.Version + 1, Collector: "v9.9.9"})
			return errors.Join(err, c.ignore())
		}, fmt.Sprintf("collector v9.9.9 speaks version %d, this command version %d", wire.Version+1, wire.Version), "check --image"},
		{"failure", func(c *collectorEnd) error {
			return errors.Join(c.hello(), c.out.WriteJSON(wire.KindFailure, wire.Failure{Cause: "kernel 4.19\nhas no BTF", Hint: "use a newer one"}),
				c.out.WriteEnd(wire.End{Reason: wire.EndFailure}))
		}, "node n1: kernel 4.19 has no BTF", "use a newer one"},
		{"end", func(c *collectorEnd) error {
			return errors.Join(c.hello(), c.out.WriteEnd(wire.End{Reason: wire.EndSignal}))
		}, "collector ended before it was ready", ""},
		{"end after ready", func(c *collectorEnd) error {
			return errors.Join(c.hello(), c.ready(), c.out.WriteEnd(wire.End{Reason: wire.EndGone}))
		}, "collector ended as soon as it was ready", ""},
		{"cut after ready", func(c *collectorEnd) error {
			return errors.Join(c.hello(), c.ready(), exitError(1))
		}, "node n1: command terminated with exit code 1: stream was cut", ""},
		{"no hello", (*collectorEnd).ignore, "collector has not said hello after 15s", ""},
		{"no ready", func(c *collectorEnd) error {
			if err := c.hello(); err != nil {
				return err
			}
			for {
				kind, payload, err := c.frames.ReadFrame(nil)
				if err != nil {
					return err
				}
				if kind == wire.KindPing {
					err = c.out.WriteFrame(wire.KindPong, payload)
				}
				if err != nil {
					return err
				}
			}
		}, "collector is not ready after 2m0s", ""},
		{"not a collector", func(c *collectorEnd) error {
			_, err := fmt.Fprint(c.stderr, "retina-collector: bad\nargument \"run\"")
			return errors.Join(err, exitError(2))
		}, `command terminated with exit code 2: stream was cut; collector's standard error: retina-collector: bad argument "run"`, ""},
		{"nonsense", func(c *collectorEnd) error {
			return errors.Join(c.out.WriteFrame(wire.KindHello, []byte("{")), c.ignore())
		}, "frame of kind 1", ""},
		{"out of turn", func(c *collectorEnd) error { return errors.Join(c.ready(), c.ignore()) }, "frame of kind 2 instead of 1", ""},
		{"other targets", func(c *collectorEnd) error {
			return errors.Join(c.hello(), c.out.WriteJSON(wire.KindReady, wire.Ready{Interfaces: []wire.Interface{{Target: 1}}}), c.ignore())
		}, "which the spec does not ask for", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, "n1")
				c.collector = test.collector
				run := c.open(t.Context())
				_, err := run.Start(t.Context(), "n1", testSpec())
				wantError(t, err, test.error, test.hint)
				c.close(run)
			})
		})
	}
}

// A Start that is cancelled, wherever it is, says so at once and leaves nothing.
func TestCancel(t *testing.T) {
	for _, test := range []struct {
		name string
		// prepare makes the start get stuck, or cancels by itself.
		prepare func(c *cluster, cancel context.CancelFunc)
	}{
		{"node", func(c *cluster, cancel context.CancelFunc) { c.on("get", "nodes", cancel) }},
		{"lease", func(c *cluster, cancel context.CancelFunc) { c.on("create", "jobs", cancel) }},
		{"create", func(c *cluster, cancel context.CancelFunc) { c.on("create", "pods", cancel) }},
		{"pending", func(c *cluster, _ context.CancelFunc) { c.kubelet = func(*corev1.Pod) {} }},
		{"pulling", func(c *cluster, _ context.CancelFunc) { c.kubelet = c.says("Pulling") }},
		{"hello", func(c *cluster, _ context.CancelFunc) {
			c.collector = (*collectorEnd).ignore
		}},
		{"connecting", func(c *cluster, _ context.CancelFunc) {
			c.collector = func(c *collectorEnd) error { <-c.gone; return nil }
		}},
		{"ready", func(c *cluster, _ context.CancelFunc) {
			c.collector = func(c *collectorEnd) error { return errors.Join(c.hello(), c.ignore()) }
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, "n1")
				run := c.open(t.Context())
				ctx, cancel := context.WithCancel(t.Context())
				test.prepare(c, cancel)
				began := time.Now()
				time.AfterFunc(time.Second, cancel)
				_, err := run.Start(ctx, "n1", testSpec())
				if !errors.Is(err, context.Canceled) {
					t.Errorf("cancelled Start: %v", err)
				}
				if took := time.Since(began); took > time.Second {
					t.Errorf("returned %s after the cancellation", took-time.Second)
				}
				c.close(run)
			})
		})
	}
}

// on calls f when the API server is asked for this, before it answers.
func (c *cluster) on(verb, resource string, f func()) {
	c.PrependReactor(verb, resource, func(clienttesting.Action) (bool, runtime.Object, error) {
		f()
		return false, nil, nil
	})
}

func TestCloseWhileStarting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "n1")
		c.kubelet = func(*corev1.Pod) {}
		run := c.open(t.Context())
		failed := make(chan error)
		go func() {
			_, err := run.Start(t.Context(), "n1", testSpec())
			failed <- err
		}()
		synctest.Wait()
		go c.close(run)
		if err := <-failed; !errors.Is(err, errClosed) {
			t.Errorf("Start of a closed run: %v", err)
		}
		synctest.Wait()
		if _, err := run.Start(t.Context(), "n1", testSpec()); !errors.Is(err, errClosed) {
			t.Errorf("Start after Close: %v", err)
		}
	})
}

func TestCloseSaysWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "n1")
		run := c.open(t.Context())
		c.start(run, "n1")
		c.PrependReactor("delete", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, apierrors.NewInternalError(errors.New("etcd is down"))
		})
		err := run.Close(context.Background())
		left := "kubectl delete pod,job -n netops -l retina.sh/run=" + run.ID()
		wantError(t, err, "delete pod netops/retina-"+run.ID()+"-0: ", left)
		wantError(t, err, "delete job netops/retina-"+run.ID()+": ", left)
		if err := run.Close(context.Background()); err != nil {
			t.Errorf("second Close: %v", err)
		}
	})
}

// Deletion is of the pod that this run created, and of no other.
func TestDeletesByUID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "n1")
		run := c.open(t.Context())
		c.start(run, "n1")
		c.close(run)
		deletions := c.asked("delete", "pods")
		if len(deletions) != 1 {
			t.Fatalf("%d deletions of pods", len(deletions))
		}
		options := deletions[0].(clienttesting.DeleteActionImpl).DeleteOptions
		if options.Preconditions == nil || *options.Preconditions.UID == "" {
			t.Errorf("deleted without a precondition: %+v", options)
		}
	})
}

// Every label, name and reference that cleaning up needs is on what is created.
func TestCreatedObjects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "n1")
		run := c.open(t.Context())
		c.start(run, "n1")
		job, err := c.BatchV1().Jobs(testNamespace).Get(t.Context(), "retina-"+run.ID(), metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		pod, err := c.CoreV1().Pods(testNamespace).Get(t.Context(), "retina-"+run.ID()+"-0", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(pod.OwnerReferences) != 1 || pod.OwnerReferences[0].UID != job.UID {
			t.Errorf("pod's owners %+v, want the lease %s", pod.OwnerReferences, job.UID)
		}
		if pod.Labels[labelRun] != run.ID() || job.Labels[labelRun] != run.ID() {
			t.Errorf("labels %v and %v", pod.Labels, job.Labels)
		}
		gvks, _, err := scheme.Scheme.ObjectKinds(job)
		if err != nil || gvks[0].GroupVersion().String() != pod.OwnerReferences[0].APIVersion || gvks[0].Kind != pod.OwnerReferences[0].Kind {
			t.Errorf("owner reference %+v does not name a job: %v", pod.OwnerReferences[0], err)
		}
		c.close(run)
	})
}
