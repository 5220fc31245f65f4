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
func leaseJob(runID, namespace, image string) *batchv1.Job {
	labels := objectLabels(runID, componentLease)
	return &batchv1.Job{
		TypeMeta:   metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"},
		ObjectMeta: metav1.ObjectMeta{Name: leaseName(runID), Namespace: namespace, Labels: labels},
		Spec: batchv1.JobSpec{
			Completions:             new(int32(0)),
			Parallelism:             new(int32(0)),
			BackoffLimit:            new(int32(0)),
			TTLSecondsAfterFinished: new(ttlSeconds(0)),
			// A template is required, and never used.
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					RestartPolicy:                corev1.RestartPolicyNever,
					AutomountServiceAccountToken: new(false),
					Containers: []corev1.Container{{
						Name:    componentLease,
						Image:   image,
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

// ttlSeconds is the time to live that ends leaseTTL after elapsed has passed
// since the Job finished.
func ttlSeconds(elapsed time.Duration) int32 {
	return int32(min(math.Ceil((elapsed + leaseTTL).Seconds()), math.MaxInt32))
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
	job, err := l.jobs.Create(ctx, l.job, metav1.CreateOptions{FieldManager: programName})
	if err != nil {
		return metav1.OwnerReference{}, fmt.Errorf("create lease job %s/%s: %w", l.job.Namespace, l.job.Name, err)
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

// keep renews the lease until ctx ends, which is no error, or until the lease
// is gone, which is.
func (l *lease) keep(ctx context.Context) error {
	timer := time.NewTimer(leaseRenewal)
	defer timer.Stop()
	var failure error // of the last renewal
	for {
		select {
		case <-ctx.Done():
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

func (l *lease) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, leaseRequest)
	defer cancel()
	sent := time.Now()
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"ttlSecondsAfterFinished": ttlSeconds(sent.Sub(l.base))}})
	if err != nil {
		return err
	}
	job, err := l.jobs.Patch(ctx, l.job.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: programName})
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
