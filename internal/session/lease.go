package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	batchclient "k8s.io/client-go/kubernetes/typed/batch/v1"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

// Times of a lease. Three renewals may fail before one succeeds too late, and
// a run whose command is gone is gone within a minute.
const (
	leaseTTL     = 40 * time.Second
	leaseRenewal = 12 * time.Second
	leaseRetry   = 2 * time.Second
	leaseRequest = 5 * time.Second // patience with one renewal
)

// leaseJob returns a Job that runs nothing. It has no completions to wait for,
// so the Job controller marks it complete at once, and the TTL controller
// deletes it leaseTTL later unless somebody prolongs that. What it owns goes
// with it, which needs no process of ours to be alive.
func leaseJob(runID string, cfg Config) *batchv1.Job {
	labels := objectLabels(runID, cfg.Capture, ComponentLease)
	return &batchv1.Job{
		TypeMeta: metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"},
		ObjectMeta: metav1.ObjectMeta{
			Name: leaseName(runID, cfg.Capture), Namespace: cfg.Namespace, Labels: labels, Annotations: cfg.Annotations,
		},
		Spec: batchv1.JobSpec{
			Completions:             new(int32(0)),
			Parallelism:             new(int32(0)),
			BackoffLimit:            new(int32(0)),
			TTLSecondsAfterFinished: new(ttlSeconds(leaseTTL)),
			// A template is required, and never used.
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					RestartPolicy:                corev1.RestartPolicyNever,
					AutomountServiceAccountToken: new(false),
					Containers: []corev1.Container{{
						Name:    ComponentLease,
						Image:   cfg.Image,
						Command: []string{collectorProgram, "version"},
						SecurityContext: &corev1.SecurityContext{
							AllowPrivilegeEscalation: new(false),
							ReadOnlyRootFilesystem:   new(true),
							RunAsNonRoot:             new(true),
							Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
							SeccompProfile:           &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
						},
					}},
				},
			},
		},
	}
}

// ttlSeconds is a time to live, which counts from when the Job finished.
func ttlSeconds(ttl time.Duration) int32 {
	return int32(min(math.Ceil(ttl.Seconds()), math.MaxInt32))
}

// A lease keeps what it owns alive for as long as it is renewed.
type lease struct {
	jobs batchclient.JobInterface
	job  *batchv1.Job
	// base is a moment, by the command's clock alone, at which the Job had
	// certainly not finished yet: counting the time to live from it is never
	// too short, whatever the clocks of the control plane say.
	base time.Time
}

func newLease(jobs batchclient.JobInterface, job *batchv1.Job) *lease {
	return &lease{jobs: jobs, job: job}
}

// create makes the Job and returns what its dependents refer to it by.
func (l *lease) create(ctx context.Context) (metav1.OwnerReference, error) {
	l.base = time.Now()
	job, err := l.jobs.Create(ctx, l.job, metav1.CreateOptions{FieldManager: ProgramName})
	if err != nil {
		return metav1.OwnerReference{}, l.taken(fmt.Errorf("create lease job %s/%s: %w", l.job.Namespace, l.job.Name, err))
	}
	return metav1.OwnerReference{
		APIVersion: "batch/v1",
		Kind:       "Job",
		Name:       job.Name,
		UID:        job.UID,
		// Neither: the Job controller must not take the pods for its own, and
		// blocking needs a right on the Job's finalizers.
		Controller:         new(false),
		BlockOwnerDeletion: new(false),
	}, nil
}

// taken explains the error of a lease whose name another capture has.
func (l *lease) taken(err error) error {
	name := l.job.Labels[LabelCapture]
	if name == "" || !apierrors.IsAlreadyExists(err) {
		return err
	}
	l.base = time.Time{} // it is not ours to delete
	return errTaken(l.job.Namespace, name)
}

func errTaken(namespace, capture string) error {
	return hint.Wrap(fmt.Errorf("there is a capture %s in namespace %s already", capture, namespace),
		fmt.Sprintf("choose another --name, or see: kubectl retina capture list -n %s", namespace))
}

// release lets the lease live for ttl from now on without being renewed. It
// tries again until ctx ends.
func (l *lease) release(ctx context.Context, ttl time.Duration) error {
	for {
		err := l.prolong(ctx, ttl)
		if err == nil || apierrors.IsNotFound(err) || errors.Is(err, errLeaseEnding) || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(leaseRetry):
		}
	}
}

// keep renews the lease until ctx ends or enough is closed, which is no error, or
// until the lease is gone, which is.
func (l *lease) keep(ctx context.Context, enough <-chan struct{}) error {
	timer := time.NewTimer(leaseRenewal)
	defer timer.Stop()
	var failure error // of the last renewal
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-enough:
			return nil
		case <-timer.C:
		}
		err := l.renew(ctx)
		switch {
		case apierrors.IsNotFound(err) || errors.Is(err, errLeaseEnding):
			return l.lost(failure)
		case err != nil:
			failure = err
			timer.Reset(leaseRetry)
		default:
			failure = nil
			timer.Reset(leaseRenewal)
		}
	}
}

var errLeaseEnding = errors.New("lease is being deleted")

func (l *lease) renew(ctx context.Context) error { return l.prolong(ctx, leaseTTL) }

// prolong lets the lease live for ttl from now on.
func (l *lease) prolong(ctx context.Context, ttl time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, leaseRequest)
	defer cancel()
	sent := time.Now()
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"ttlSecondsAfterFinished": ttlSeconds(sent.Sub(l.base) + ttl)}})
	if err != nil {
		return err
	}
	job, err := l.jobs.Patch(ctx, l.job.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: ProgramName})
	if err != nil {
		return err
	}
	if job.DeletionTimestamp != nil {
		return errLeaseEnding
	}
	if !finished(job) {
		l.base = sent
	}
	return nil
}

func (l *lease) lost(failure error) error {
	err := fmt.Errorf("lease job %s/%s is gone, and every collector of this run with it", l.job.Namespace, l.job.Name)
	if failure != nil {
		return fmt.Errorf("%w; it could not be renewed: %w", err, failure)
	}
	return err
}

func finished(job *batchv1.Job) bool {
	for _, c := range job.Status.Conditions {
		if (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue {
			return true
		}
	}
	return false
}
