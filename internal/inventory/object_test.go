package inventory

import (
	"slices"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clienttesting "k8s.io/client-go/testing"
)

func jobList(jobs ...*batchv1.Job) *batchv1.JobList {
	l := &batchv1.JobList{}
	for _, job := range jobs {
		l.Items = append(l.Items, *job)
	}
	return l
}

func TestWhoNeedsARun(t *testing.T) {
	young := lease("r1", "", "", time.Minute)
	young.Status.CompletionTime = nil
	going := lease("r1", "web", ModeDetached, time.Hour)
	going.DeletionTimestamp = new(metav1.Now())
	worker := &batchv1.Job{ObjectMeta: meta("old-upload", "r1", "", "upload")}
	worker.Status.Active = 1
	idle := worker.DeepCopy()
	idle.Status.Active = 0
	deleted := collector("r1", "web", "n1", runs())
	deleted.DeletionTimestamp = new(metav1.Now())
	const commandRuns = "its command runs, or has just ended"
	tests := []struct {
		name    string
		objects []runtime.Object
		after   time.Duration // since everything was created
		want    string
	}{
		{"a collector runs", []runtime.Object{lease("r1", "web", ModeDetached, time.Hour), collector("r1", "web", "n1", runs())}, time.Minute, "collectors run on n1"},
		{"one of two has ended", []runtime.Object{
			lease("r1", "web", ModeDetached, time.Hour), collector("r1", "web", "n1", ended(0, "", "")), collector("r1", "web", "n2", waits("")),
		}, time.Minute, "collectors run on n2"},
		{"a collector runs although the lease has expired", []runtime.Object{lease("r1", "", ModeStream, time.Minute), collector("r1", "", "n1", runs())}, time.Hour, "collectors run on n1"},
		{"a detached capture has ended", []runtime.Object{lease("r1", "web", ModeDetached, time.Hour), collector("r1", "web", "n1", ended(0, "", ""))}, time.Minute, ""},
		{"a lease is renewed", []runtime.Object{lease("r1", "", ModeStream, time.Minute)}, 2 * time.Minute, commandRuns},
		{"a lease has expired", []runtime.Object{lease("r1", "", ModeStream, time.Minute)}, time.Hour, ""},
		{"a lease that no controller has seen", []runtime.Object{young}, time.Minute, commandRuns},
		{"and never will", []runtime.Object{young}, time.Hour, ""},
		{"a collector without a lease", []runtime.Object{collector("r1", "", "n1", runs())}, time.Minute, ""},
		{"the lease is being deleted", []runtime.Object{going, collector("r1", "web", "n1", runs())}, time.Minute, ""},
		{"a job of another version works", []runtime.Object{worker}, time.Hour, "job old-upload runs"},
		{"a job of another version is idle", []runtime.Object{idle}, time.Hour, ""},
		{"a secret of a run that works", []runtime.Object{lease("r1", "", ModeStream, time.Hour), &corev1.Secret{ObjectMeta: meta("s", "r1", "", "")}}, time.Minute, commandRuns},
		{"a secret alone", []runtime.Object{&corev1.Secret{ObjectMeta: meta("s", "r1", "", "")}}, time.Minute, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			objects, warning, err := Objects(t.Context(), world(test.objects...), "netops", began().Add(test.after))
			if err != nil || warning != "" || len(objects) == 0 {
				t.Fatalf("%v, %q, %v", objects, warning, err)
			}
			for _, o := range objects {
				if o.Needed != test.want {
					t.Errorf("%s/%s is needed by %q, want %q", o.Resource, o.Name, o.Needed, test.want)
				}
			}
		})
	}
	objects, _, err := Objects(t.Context(), world(deleted), "netops", began())
	if err != nil || len(objects) != 0 {
		t.Errorf("what is being deleted already: %v, %v", objects, err)
	}
}

func TestOtherPeoplesObjectsAreNotOurs(t *testing.T) {
	foreign := collector("r1", "web", "n1", ended(0, "", ""))
	foreign.Labels[labelName] = "kubectl-retina-fork"
	objects, _, err := Objects(t.Context(), world(foreign, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "netops", Name: "x"}}), "netops", began())
	if err != nil || len(objects) != 0 {
		t.Errorf("%v, %v", objects, err)
	}
}

func TestForbiddenSecretsAreAWarning(t *testing.T) {
	client := world(collector("r1", "", "n1", ended(0, "", "")))
	client.PrependReactor("list", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "", nil)
	})
	objects, warning, err := Objects(t.Context(), client, "netops", began())
	if err != nil || len(objects) != 1 || warning == "" {
		t.Errorf("%v, %q, %v", objects, warning, err)
	}
}

func TestDeletingACapture(t *testing.T) {
	client := world(lease("r1", "web", ModeDetached, time.Hour), collector("r1", "web", "n1", runs()), collector("r2", "api", "n1", runs()))
	c := list(t, client, Options{}).Find("netops", "web")
	var deleted []string
	client.PrependReactor("delete", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
		o := action.(clienttesting.DeleteActionImpl)
		if o.DeleteOptions.Preconditions == nil || string(*o.DeleteOptions.Preconditions.UID) != "uid-"+o.Name {
			t.Errorf("%s is deleted whichever it is", o.Name)
		}
		deleted = append(deleted, o.Resource.Resource+"/"+o.Name)
		return false, nil, nil
	})
	for _, o := range c.Objects() {
		if err := o.Delete(t.Context(), client); err != nil {
			t.Error(err)
		}
		if err := o.Delete(t.Context(), client); err != nil {
			t.Errorf("deleted again: %v", err)
		}
	}
	if want := []string{"jobs/retina-capture-web", "pods/retina-r1-n1"}; !slices.Equal(slices.Compact(deleted), want) {
		t.Errorf("deleted %q, want %q", deleted, want)
	}
}
