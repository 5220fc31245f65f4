package session

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	clienttesting "k8s.io/client-go/testing"
)

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
		if pod.Labels[LabelRun] != run.ID() || job.Labels[LabelRun] != run.ID() {
			t.Errorf("labels %v and %v", pod.Labels, job.Labels)
		}
		gvks, _, err := scheme.Scheme.ObjectKinds(job)
		if err != nil || gvks[0].GroupVersion().String() != pod.OwnerReferences[0].APIVersion || gvks[0].Kind != pod.OwnerReferences[0].Kind {
			t.Errorf("owner reference %+v does not name a job: %v", pod.OwnerReferences[0], err)
		}
		c.close(run)
	})
}
