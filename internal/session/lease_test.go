package session

import (
	"context"
	"encoding/json"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	clienttesting "k8s.io/client-go/testing"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// controllers do to Jobs and their pods what the controller manager does: a
// Job without completions finishes after late, and is deleted with its
// dependents when its time to live has passed. They return when the Job is gone.
func controllers(t *testing.T, client kubernetes.Interface, name string, late time.Duration) {
	ctx := context.Background()
	jobs := client.BatchV1().Jobs(testNamespace)
	began := time.Now()
	var finishedAt time.Time
	for {
		time.Sleep(time.Second)
		job, err := jobs.Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return
		}
		if err != nil {
			t.Error(err)
			return
		}
		now := time.Now()
		if finishedAt.IsZero() && now.Sub(began) >= late {
			finishedAt = now.Truncate(time.Second) // all that a condition's time can say
			job.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}}
			if _, err := jobs.UpdateStatus(ctx, job, metav1.UpdateOptions{}); err != nil {
				t.Error(err)
			}
		}
		ttl := time.Duration(*job.Spec.TTLSecondsAfterFinished) * time.Second
		if finishedAt.IsZero() || now.Before(finishedAt.Add(ttl)) {
			continue
		}
		if err := jobs.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
		pods, err := client.CoreV1().Pods(testNamespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			t.Error(err)
			return
		}
		for _, pod := range pods.Items {
			if pod.OwnerReferences[0].UID == job.UID {
				_ = client.CoreV1().Pods(testNamespace).Delete(ctx, pod.Name, metav1.DeleteOptions{})
			}
		}
		return
	}
}

func (c *cluster) onRenewal(answer func() error) {
	c.PrependReactor("patch", "jobs", func(clienttesting.Action) (bool, runtime.Object, error) {
		if err := answer(); err != nil {
			return true, nil, err
		}
		return false, nil, nil
	})
}

// A run that renews its lease keeps its collectors for as long as it lives,
// however late the control plane is and though renewals fail.
func TestLeaseKeeps(t *testing.T) {
	for _, test := range []struct {
		name  string
		late  time.Duration
		flaky bool
	}{
		{name: "at once"},
		{name: "controllers are late", late: 2 * time.Minute},
		{name: "renewals fail", flaky: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, "n1")
				failures := 0
				c.onRenewal(func() error {
					if failures++; test.flaky && failures%3 != 0 {
						return errors.New("connection reset by peer")
					}
					return nil
				})
				run := c.open(t.Context())
				session := c.start(run, "n1")
				gone := make(chan struct{})
				go func() {
					controllers(t, c.Clientset, leaseName(run.ID(), ""), test.late)
					close(gone)
				}()
				time.Sleep(5 * time.Minute)
				if left := c.left(); len(left) != 2 {
					t.Errorf("after five minutes there are %q, want a pod and its lease", left)
				}
				if err := session.Stop(t.Context()); err != nil {
					t.Error(err)
				}
				wantEnd(t, session)
				c.close(run)
				<-gone
			})
		})
	}
}

// Without renewals everything is gone within a minute, whenever they stop. The
// run is told, for it may have been cut off only for a while.
func TestLeaseExpires(t *testing.T) {
	for _, late := range []time.Duration{0, 45 * time.Second} {
		for _, lived := range []time.Duration{0, 13 * time.Second, 5*time.Minute + 11*time.Second} {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, "n1", "n2")
				var stopped atomic.Bool
				c.onRenewal(func() error {
					if stopped.Load() {
						return errors.New("no route to host")
					}
					return nil
				})
				run := c.open(t.Context())
				one, two := c.start(run, "n1"), c.start(run, "n2")
				expired := make(chan time.Time, 1)
				go func() {
					controllers(t, c.Clientset, leaseName(run.ID(), ""), late)
					expired <- time.Now()
				}()
				time.Sleep(lived)
				stopped.Store(true)
				died := time.Now()
				took := (<-expired).Sub(died)
				// A Job that finishes late, after the command died, ends that much later.
				if limit := leaseTTL + late + 2*time.Second; took > limit || took < leaseTTL-leaseRenewal-2*time.Second {
					t.Errorf("controllers %s late, killed after %s: gone after %s", late, lived, took)
				}
				c.wantNothingLeft()
				stopped.Store(false) // the network is back
				for _, session := range []*Session{one, two} {
					_, _, err := session.ReadFrame(nil)
					if !errors.Is(err, wire.ErrCut) {
						t.Errorf("session without a lease: %v", err)
					}
				}
				c.close(run)
			})
		}
	}
}

func TestLeaseGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "n1", "n2")
		run := c.open(t.Context())
		one, two := c.start(run, "n1"), c.start(run, "n2")
		if err := c.BatchV1().Jobs(testNamespace).Delete(t.Context(), leaseName(run.ID(), ""), metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		for _, session := range []*Session{one, two} {
			_, _, err := session.ReadFrame(nil)
			wantError(t, err, "node "+session.Node()+": lease job netops/retina-"+run.ID()+" is gone, and every collector of this run with it", "")
			if !errors.Is(err, wire.ErrCut) {
				t.Errorf("%v is not a cut stream", err)
			}
		}
		_, err := run.Start(t.Context(), "n1", testSpec())
		wantError(t, err, "is gone", "")
		c.close(run)
	})
}

func TestLeaseRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "n1")
		c.PrependReactor("create", "jobs", func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, forbidden("exceeded quota: few, requested: count/jobs.batch=1")
		})
		run := c.open(t.Context())
		_, err := run.Start(t.Context(), "n1", testSpec())
		wantError(t, err, "node n1: create lease job netops/retina-"+run.ID(), "")
		wantError(t, err, "exceeded quota: few", "")
		c.close(run)
	})
}

// The time to live counts from the Job's finish, which the run never sees:
// each renewal must cover the time since then and leaseTTL more.
func TestRenewals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "n1")
		run := c.open(t.Context())
		began := time.Now()
		var at []time.Duration
		c.onRenewal(func() error { at = append(at, time.Since(began)); return nil })
		c.start(run, "n1")
		c.finish(run)
		time.Sleep(time.Minute + time.Second)
		patches := c.asked("patch", "jobs")
		if len(patches) != 5 {
			t.Fatalf("%d renewals in a minute, want 5", len(patches))
		}
		for i, patch := range patches {
			var p struct {
				Spec struct{ TTLSecondsAfterFinished int32 }
			}
			if err := json.Unmarshal(patch.(clienttesting.PatchActionImpl).GetPatch(), &p); err != nil {
				t.Fatal(err)
			}
			want := time.Duration(i+1) * leaseRenewal
			if at[i] != want || time.Duration(p.Spec.TTLSecondsAfterFinished)*time.Second != want+leaseTTL {
				t.Errorf("renewal %d after %s to %d s", i, at[i], p.Spec.TTLSecondsAfterFinished)
			}
		}
		c.close(run)
	})
}

// finish marks the lease complete, as the Job controller does.
func (c *cluster) finish(run *Run) {
	c.t.Helper()
	jobs := c.BatchV1().Jobs(testNamespace)
	job, err := jobs.Get(c.t.Context(), leaseName(run.ID(), ""), metav1.GetOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	job.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}}
	if _, err := jobs.UpdateStatus(c.t.Context(), job, metav1.UpdateOptions{}); err != nil {
		c.t.Fatal(err)
	}
}
