package target

import (
	"context"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// findWorkload finds the pods of a controller: those that match its selector
// and that it owns. The selector alone would also find pods of others that
// carry the same labels.
func (o object) findWorkload(ctx context.Context, client kubernetes.Interface) (found, error) {
	uid, selector, err := o.workload(ctx, client)
	if err != nil {
		return found{}, o.getError(ctx, client, err)
	}
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return found{}, fmt.Errorf("selector of %s: %w", o, err)
	}
	pods, err := listPods(ctx, client, o.namespace, parsed)
	if err != nil {
		return found{}, err
	}
	owners := []types.UID{uid}
	if o.kind.name == "deployment" && len(pods) > 0 {
		if owners, err = o.replicaSets(ctx, client, uid, parsed); err != nil {
			return found{}, err
		}
	}
	return found{pods: ownedBy(pods, owners), why: "has no pods"}, nil
}

// workload returns the UID and the selector of a controller of pods.
func (o object) workload(ctx context.Context, client kubernetes.Interface) (types.UID, *metav1.LabelSelector, error) {
	apps, opts := client.AppsV1(), metav1.GetOptions{}
	switch o.kind.name {
	case "deployment":
		w, err := apps.Deployments(o.namespace).Get(ctx, o.name, opts)
		return w.UID, w.Spec.Selector, err
	case "statefulset":
		w, err := apps.StatefulSets(o.namespace).Get(ctx, o.name, opts)
		return w.UID, w.Spec.Selector, err
	case "daemonset":
		w, err := apps.DaemonSets(o.namespace).Get(ctx, o.name, opts)
		return w.UID, w.Spec.Selector, err
	case "replicaset":
		w, err := apps.ReplicaSets(o.namespace).Get(ctx, o.name, opts)
		return w.UID, w.Spec.Selector, err
	case "job":
		w, err := client.BatchV1().Jobs(o.namespace).Get(ctx, o.name, opts)
		return w.UID, w.Spec.Selector, err
	default: // a replicationcontroller
		w, err := client.CoreV1().ReplicationControllers(o.namespace).Get(ctx, o.name, opts)
		return w.UID, &metav1.LabelSelector{MatchLabels: w.Spec.Selector}, err
	}
}

// replicaSets returns the UIDs of the ReplicaSets of a Deployment. Their names
// could be guessed without a request, but only a UID says whose they are. They
// are listed after the pods: a ReplicaSet that owns a listed pod exists by now,
// even in the middle of a rollout.
func (o object) replicaSets(ctx context.Context, client kubernetes.Interface, deployment types.UID, selector labels.Selector) ([]types.UID, error) {
	uids, err := Collect(ctx, metav1.ListOptions{LabelSelector: selector.String()},
		client.AppsV1().ReplicaSets(o.namespace).List,
		func(page *appsv1.ReplicaSetList) []types.UID {
			var owned []types.UID
			for i := range page.Items {
				if controlledBy(&page.Items[i], deployment) {
					owned = append(owned, page.Items[i].UID)
				}
			}
			return owned
		})
	return uids, Asking(err, "list", "replicasets.apps", o.namespace)
}

func controlledBy(obj metav1.Object, uid types.UID) bool {
	ref := metav1.GetControllerOfNoCopy(obj)
	return ref != nil && ref.UID == uid
}

func ownedBy(pods []candidate, owners []types.UID) []candidate {
	return slices.DeleteFunc(pods, func(c candidate) bool {
		return c.controller == "" || !slices.Contains(owners, c.controller)
	})
}

// findCronJob finds the pods of the unfinished Jobs of a CronJob. Jobs carry no
// label that says whose they are, so all of the namespace are listed; finished
// ones have no pod that runs.
func (o object) findCronJob(ctx context.Context, client kubernetes.Interface) (found, error) {
	cronJob, err := client.BatchV1().CronJobs(o.namespace).Get(ctx, o.name, metav1.GetOptions{})
	if err != nil {
		return found{}, o.getError(ctx, client, err)
	}
	jobs, err := o.activeJobs(ctx, client, cronJob.UID)
	if err != nil {
		return found{}, err
	}
	f := found{
		why:    "has no active job",
		advice: fmt.Sprintf("start one with: kubectl create job --from=cronjob/%s NAME -n %s", o.name, o.namespace),
	}
	for _, j := range jobs {
		selector, err := metav1.LabelSelectorAsSelector(j.selector)
		if err != nil {
			return found{}, fmt.Errorf("selector of job %s/%s: %w", o.namespace, j.name, err)
		}
		pods, err := listPods(ctx, client, o.namespace, selector)
		if err != nil {
			return found{}, err
		}
		f.pods = append(f.pods, ownedBy(pods, []types.UID{j.uid})...)
		f.why, f.advice = "has no pods", ""
	}
	return f, nil
}

type job struct {
	name     string
	uid      types.UID
	selector *metav1.LabelSelector
}

// activeJobs returns the unfinished Jobs of a CronJob.
func (o object) activeJobs(ctx context.Context, client kubernetes.Interface, cronJob types.UID) ([]job, error) {
	jobs, err := Collect(ctx, metav1.ListOptions{}, client.BatchV1().Jobs(o.namespace).List,
		func(page *batchv1.JobList) []job {
			var active []job
			for i := range page.Items {
				if j := &page.Items[i]; controlledBy(j, cronJob) && !Finished(j) {
					active = append(active, job{j.Name, j.UID, j.Spec.Selector})
				}
			}
			return active
		})
	return jobs, Asking(err, "list", "jobs.batch", o.namespace)
}

// Finished tells whether a Job is complete or has failed.
func Finished(j *batchv1.Job) bool {
	return slices.ContainsFunc(j.Status.Conditions, func(c batchv1.JobCondition) bool {
		return (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue
	})
}

// findService finds the pods behind a Service: those that its selector selects
// or, if it has none, those that its EndpointSlices refer to.
func (o object) findService(ctx context.Context, client kubernetes.Interface) (found, error) {
	service, err := client.CoreV1().Services(o.namespace).Get(ctx, o.name, metav1.GetOptions{})
	if err != nil {
		return found{}, o.getError(ctx, client, err)
	}
	external := service.Spec.Type == corev1.ServiceTypeExternalName
	if len(service.Spec.Selector) > 0 && !external {
		pods, err := listPods(ctx, client, o.namespace, labels.SelectorFromSet(service.Spec.Selector))
		return found{pods: pods, why: "selects no pods"}, err
	}
	f := found{why: "has no selector and no endpoint that is a pod", advice: "name the pods that talk to it instead"}
	if external {
		f.why = "stands for " + service.Spec.ExternalName + " outside the cluster"
	}
	names, err := o.endpoints(ctx, client)
	if err != nil {
		return found{}, err
	}
	f.pods, err = getPods(ctx, client, o.namespace, names)
	return f, err
}

// endpoints returns the names of the pods that a Service's EndpointSlices refer
// to, each once.
func (o object) endpoints(ctx context.Context, client kubernetes.Interface) ([]string, error) {
	opts := metav1.ListOptions{LabelSelector: labels.Set{discoveryv1.LabelServiceName: o.name}.String()}
	names, err := Collect(ctx, opts, client.DiscoveryV1().EndpointSlices(o.namespace).List,
		func(page *discoveryv1.EndpointSliceList) []string {
			var names []string
			for i := range page.Items {
				names = append(names, EndpointPods(&page.Items[i])...)
			}
			return names
		})
	slices.Sort(names)
	return slices.Compact(names), Asking(err, "list", "endpointslices.discovery.k8s.io", o.namespace)
}

// EndpointPods returns the names of the pods that an EndpointSlice refers to, in
// its order. They are in its namespace.
func EndpointPods(slice *discoveryv1.EndpointSlice) []string {
	var names []string
	for i := range slice.Endpoints {
		if ref := slice.Endpoints[i].TargetRef; ref != nil && ref.Kind == "Pod" && ref.Name != "" {
			names = append(names, ref.Name)
		}
	}
	return names
}

// getPods returns the named pods, without those that are gone.
func getPods(ctx context.Context, client kubernetes.Interface, namespace string, names []string) ([]candidate, error) {
	pods := make([]candidate, len(names))
	err := first(parallel(len(names), func(i int) (err error) {
		pods[i], err = getPod(ctx, client, namespace, names[i])
		if apierrors.IsNotFound(err) {
			return nil
		}
		return Asking(err, "get", "pods", namespace)
	}))
	return slices.DeleteFunc(pods, func(c candidate) bool { return c.pod.Name == "" }), err
}
