package inventory

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"

	"github.com/kubectl-retina/kubectl-retina/internal/oneline"
)

// Resources of objects.
const (
	Pod    = "pod"
	Job    = "job"
	Secret = "secret"
)

// clockSlack is how far the clocks of this machine and of the control plane may
// be apart before something is taken to be over that is not.
const clockSlack = 2 * time.Minute

// An Object is something of ours in a cluster, of whichever version.
type Object struct {
	Resource  string // Pod, Job or Secret
	Namespace string
	Name      string
	UID       string
	Run       string // value of the label retina.sh/run; "" if it has none
	Capture   string // name of the capture; "" if it belongs to none
	// Needed says by what the object is needed: "collectors run on n1, n2"; "" if
	// nobody needs it.
	Needed string
}

// Objects returns what carries our labels in a namespace, "" for all: by
// namespace, run, resource and name. now is the time of this machine. Secrets that
// the user may not list are told as a warning.
func Objects(ctx context.Context, client kubernetes.Interface, namespace string, now time.Time) (objects []Object, warning string, err error) {
	ours := selectorOfOurs()
	var jobs []batchv1.Job
	var pods []corev1.Pod
	var secrets []metav1.ObjectMeta
	var jobsErr, podsErr, secretsErr error
	var all sync.WaitGroup
	all.Go(func() {
		// Pods first: a pod whose lease is younger than the list of leases would seem
		// to have none.
		if pods, podsErr = listPods(ctx, client, namespace, ours); podsErr == nil {
			jobs, jobsErr = listJobs(ctx, client, namespace, ours)
		}
	})
	all.Go(func() { secrets, secretsErr = listSecrets(ctx, client, namespace, ours) })
	all.Wait()
	if apierrors.IsForbidden(secretsErr) {
		warning, secretsErr = "secrets are not looked at: you may not list them", nil
	}
	if err := together(jobsErr, podsErr, secretsErr); err != nil {
		return nil, "", err
	}
	runs := make(map[string]*runObjects)
	of := func(o *metav1.ObjectMeta) *runObjects {
		key := o.Namespace + "/" + o.Labels[labelRun]
		if o.Labels[labelRun] == "" {
			key = o.Namespace + "/" + string(o.UID) // nothing says what it belongs to
		}
		if runs[key] == nil {
			runs[key] = &runObjects{}
		}
		return runs[key]
	}
	for i := range jobs {
		of(&jobs[i].ObjectMeta).addJob(&jobs[i])
	}
	for i := range pods {
		of(&pods[i].ObjectMeta).addPod(&pods[i])
	}
	for i := range secrets {
		of(&secrets[i]).add(Secret, &secrets[i])
	}
	for _, run := range runs {
		needed := run.needed(now)
		for _, o := range run.objects {
			o.Needed = needed
			objects = append(objects, o)
		}
	}
	slices.SortFunc(objects, func(a, b Object) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Run, b.Run), cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.Name, b.Name))
	})
	return objects, warning, nil
}

// selectorOfOurs selects what this program has made, of any version. Its name alone
// is not enough: whoever installs it may label their own objects so.
func selectorOfOurs() string {
	return labels.Set{labelName: programName, labelManagedBy: programName}.String() + "," + labelRun + "," + labelComponent
}

// listSecrets lists secrets without their values, which are nobody's business.
func listSecrets(ctx context.Context, client kubernetes.Interface, namespace, selector string) ([]metav1.ObjectMeta, error) {
	var all []metav1.ObjectMeta
	err := eachPage(ctx, selector, func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		return client.CoreV1().Secrets(namespace).List(ctx, o)
	}, func(o runtime.Object) { all = append(all, o.(*corev1.Secret).ObjectMeta) })
	if err != nil && !apierrors.IsForbidden(err) {
		return nil, explain(err, "secrets", namespace)
	}
	return all, err
}

// runObjects are the objects of one run.
type runObjects struct {
	objects []Object
	lease   leaseState
	mode    string
	active  []string // nodes of collectors that have not ended
	busy    string   // a Job of another kind that works
}

func (r *runObjects) add(resource string, o *metav1.ObjectMeta) {
	if o.DeletionTimestamp != nil {
		return // it goes already
	}
	r.objects = append(r.objects, Object{
		Resource: resource, Namespace: o.Namespace, Name: o.Name, UID: string(o.UID),
		Run: o.Labels[labelRun], Capture: oneline.Text(o.Labels[labelCapture]),
	})
}

func (r *runObjects) addJob(job *batchv1.Job) {
	r.add(Job, &job.ObjectMeta)
	switch {
	case job.Labels[labelComponent] == componentLease:
		r.lease, r.mode = leaseOf(job), job.Annotations[AnnotationMode]
	case job.Status.Active > 0 && job.DeletionTimestamp == nil:
		r.busy = "job " + job.Name + " runs"
	}
}

func (r *runObjects) addPod(pod *corev1.Pod) {
	r.add(Pod, &pod.ObjectMeta)
	ended := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	if !ended && pod.DeletionTimestamp == nil {
		r.active = append(r.active, nodeOf(pod).Name)
	}
}

// needed says who needs the run's objects, or "".
func (r *runObjects) needed(now time.Time) string {
	switch {
	case r.busy != "":
		return r.busy
	case !r.lease.exists || r.lease.ending:
		return "" // orphans: nothing prolongs their life
	case len(r.active) > 0:
		slices.Sort(r.active)
		return "collectors run on " + someOf(slices.Compact(r.active))
	case r.mode == ModeDetached:
		return ""
	case r.lease.expires.IsZero() && now.Before(r.lease.created.Add(clockSlack)),
		now.Before(r.lease.expires.Add(clockSlack)):
		return "its command runs, or has just ended"
	}
	return ""
}

// someOf names the first few.
func someOf(names []string) string {
	const most = 3
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more nodes", len(names)-most)
}
