package inventory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/pager"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/oneline"
	"github.com/kubectl-retina/kubectl-retina/internal/session"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

const (
	// pageSize is how many objects are asked for at once.
	pageSize = 500
	// parallel is how many collectors are asked at once.
	parallel = 32
	// Patience is how long a collector may take to say what it does.
	Patience = 5 * time.Second
)

// A Prober asks a collector that runs what it does.
type Prober interface {
	Status(ctx context.Context, namespace, run, node, pod string) (wire.Status, error)
}

// Options say which captures, and how much is asked about them.
type Options struct {
	Namespace string   // "": all
	Names     []string // none: all captures
	// Prober asks collectors that store; nil: what the API server knows is enough. Of
	// one that does not answer within Patience, the API server's word is taken.
	Prober Prober
}

// List returns the captures. It asks for pages, so that a cluster of any size
// answers.
func List(ctx context.Context, client kubernetes.Interface, o Options) (*CaptureList, error) {
	var jobs []batchv1.Job
	var pods []corev1.Pod
	var jobsErr, podsErr error
	var both sync.WaitGroup
	both.Go(func() { jobs, jobsErr = listJobs(ctx, client, o.Namespace, selector(componentLease, o.Names)) })
	both.Go(func() { pods, podsErr = listPods(ctx, client, o.Namespace, selector(componentCollector, o.Names)) })
	both.Wait()
	if err := together(jobsErr, podsErr); err != nil {
		return nil, err
	}
	list := &CaptureList{APIVersion: APIVersion, Kind: ListKind, Items: group(jobs, pods)}
	if o.Prober != nil {
		list.probe(ctx, client, o.Prober)
	}
	for i := range list.Items {
		list.Items[i].sum()
	}
	return list, nil
}

func listJobs(ctx context.Context, client kubernetes.Interface, namespace, selector string) ([]batchv1.Job, error) {
	var all []batchv1.Job
	err := eachPage(ctx, selector, func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		return client.BatchV1().Jobs(namespace).List(ctx, o)
	}, func(o runtime.Object) { all = append(all, *o.(*batchv1.Job)) })
	return all, explain(err, "jobs", namespace)
}

func listPods(ctx context.Context, client kubernetes.Interface, namespace, selector string) ([]corev1.Pod, error) {
	var all []corev1.Pod
	err := eachPage(ctx, selector, func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		return client.CoreV1().Pods(namespace).List(ctx, o)
	}, func(o runtime.Object) { all = append(all, *o.(*corev1.Pod)) })
	return all, explain(err, "pods", namespace)
}

func eachPage(ctx context.Context, selector string, page pager.ListPageFunc, take func(runtime.Object)) error {
	p := pager.New(page)
	p.PageSize = pageSize
	return p.EachListItem(ctx, metav1.ListOptions{LabelSelector: selector}, func(o runtime.Object) error {
		take(o)
		return nil
	})
}

func explain(err error, resource, namespace string) error {
	if err == nil {
		return nil
	}
	where := "in all namespaces"
	if namespace != "" {
		where = "in namespace " + namespace
	}
	if apierrors.IsForbidden(err) {
		advice := "ask for the right to list pods and jobs there"
		if namespace == "" {
			advice = "name one namespace with -n"
		}
		return hint.Wrap(fmt.Errorf("you may not list %s %s", resource, where), advice)
	}
	return fmt.Errorf("list %s %s: %w", resource, where, err)
}

// together joins the errors of requests that were made at once. That the server was not
// reached is said once: it is the same for each.
func together(errs ...error) error {
	reached := true
	return errors.Join(slices.DeleteFunc(errs, func(err error) bool {
		var unreached *url.Error
		if !errors.As(err, &unreached) {
			return false
		}
		before := reached
		reached = false
		return !before
	})...)
}

// group makes captures of leases and pods.
func group(jobs []batchv1.Job, pods []corev1.Pod) []Capture {
	captures := make(map[string]*Capture)
	of := func(o *metav1.ObjectMeta) *Capture {
		key := o.Namespace + "/" + o.Labels[labelRun]
		if captures[key] == nil {
			captures[key] = &Capture{
				APIVersion: APIVersion, Kind: Kind, Name: oneline.Text(o.Labels[labelCapture]), Namespace: o.Namespace,
				Run: o.Labels[labelRun], Destinations: []string{}, Nodes: []Node{}, CreatedAt: o.CreationTimestamp.Time,
			}
		}
		return captures[key]
	}
	for i := range jobs {
		of(&jobs[i].ObjectMeta).setLease(&jobs[i])
	}
	for i := range pods {
		c := of(&pods[i].ObjectMeta)
		c.Nodes = append(c.Nodes, nodeOf(&pods[i]))
		if created := pods[i].CreationTimestamp.Time; created.Before(c.CreatedAt) {
			c.CreatedAt = created
		}
	}
	all := make([]Capture, 0, len(captures))
	for _, c := range captures {
		slices.SortFunc(c.Nodes, func(a, b Node) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Pod, b.Pod)) })
		if c.Mode == "" {
			c.Mode = c.guessMode()
		}
		c.settleStreaming()
		all = append(all, *c)
	}
	slices.SortFunc(all, func(a, b Capture) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.Run, b.Run))
	})
	return all
}

func (c *Capture) setLease(job *batchv1.Job) {
	text := func(key string) string { return oneline.Text(job.Annotations[key]) }
	c.lease = leaseOf(job)
	c.CreatedAt = job.CreationTimestamp.Time
	c.Mode, c.Targets, c.Duration = text(AnnotationMode), text(AnnotationTargets), text(AnnotationDuration)
	if where := text(AnnotationDestinations); where != "" {
		c.Destinations = strings.Split(where, ", ")
	}
	if c.Mode == ModeDetached && !c.lease.expires.IsZero() {
		c.ExpiresAt = new(c.lease.expires)
	}
}

// guessMode is the mode of a capture whose lease does not say it.
func (c *Capture) guessMode() string {
	for i := range c.Nodes {
		if c.Nodes[i].Storage != nil {
			return ModeStore
		}
	}
	return ModeStream
}

// settleStreaming says of collectors that stream what they do: they have nobody
// who could be asked.
func (c *Capture) settleStreaming() {
	for i := range c.Nodes {
		if n := &c.Nodes[i]; n.Storage == nil && n.Status == Running {
			n.Status = Capturing
		}
	}
}

// nodeOf is what a pod tells.
func nodeOf(pod *corev1.Pod) Node {
	n := Node{Name: pod.Annotations[annotationNode], Pod: pod.Name, UID: string(pod.UID)}
	if pod.Spec.NodeName != "" {
		n.Name = pod.Spec.NodeName
	}
	n.Name = oneline.Text(n.Name)
	if pods, err := strconv.ParseUint(pod.Annotations[annotationPods], 10, 16); err == nil {
		n.Pods = int(pods)
	}
	for i := range pod.Spec.Containers {
		if container := &pod.Spec.Containers[i]; container.Name == collectorContainer {
			n.Image = container.Image
			if slices.Contains(container.Command, keepCommand) {
				n.Storage = storageOf(&pod.Spec)
			}
		}
	}
	n.judge(pod)
	n.Attachable = n.Status == Running && n.Storage != nil
	return n
}

func storageOf(spec *corev1.PodSpec) *session.Storage {
	s := &session.Storage{}
	for i := range spec.Volumes {
		switch v := &spec.Volumes[i]; {
		case v.Name == pvcVolume && v.PersistentVolumeClaim != nil:
			s.PVC = v.PersistentVolumeClaim.ClaimName
		case v.Name == hostVolume && v.HostPath != nil:
			s.HostDir = v.HostPath.Path
		}
	}
	return s
}

// probe asks all collectors that can be asked.
func (l *CaptureList) probe(ctx context.Context, client kubernetes.Interface, prober Prober) {
	slots := make(chan struct{}, parallel)
	var all sync.WaitGroup
	for i := range l.Items {
		c := &l.Items[i]
		for k := range c.Nodes {
			if n := &c.Nodes[k]; n.Attachable {
				all.Go(func() {
					slots <- struct{}{}
					defer func() { <-slots }()
					if err := n.probe(ctx, c, prober); err != nil {
						n.reconsider(ctx, client, c.Namespace, err)
					}
				})
			}
		}
	}
	all.Wait()
}

func (n *Node) probe(ctx context.Context, c *Capture, prober Prober) error {
	ctx, cancel := context.WithTimeoutCause(ctx, Patience, fmt.Errorf("no answer within %s", Patience))
	defer cancel()
	status, err := prober.Status(ctx, c.Namespace, c.Run, n.Name, n.Pod)
	if err == nil {
		n.Live = true
		n.take(status)
	}
	return err
}

// reconsider looks at the pod again of a collector that cannot be asked: it may
// have ended since.
func (n *Node) reconsider(ctx context.Context, client kubernetes.Interface, namespace string, cause error) {
	again, err := client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + n.Pod})
	for i := 0; err == nil && i < len(again.Items); i++ {
		if fresh := nodeOf(&again.Items[i]); fresh.UID == n.UID && fresh.Status != Running {
			*n = fresh
			return
		}
	}
	n.Reason, n.Hint = oneline.Text("collector cannot be asked: "+cause.Error()), oneline.Text(hint.Of(cause))
}
