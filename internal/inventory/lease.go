package inventory

import (
	"time"

	batchv1 "k8s.io/api/batch/v1"
)

// A leaseState is what matters of a lease.
type leaseState struct {
	exists  bool
	name    string
	uid     string
	ending  bool
	created time.Time
	// expires is when the lease is deleted, and what it owns with it, unless a
	// command prolongs it. Zero: not known, because no controller has seen it yet.
	expires time.Time
}

func leaseOf(job *batchv1.Job) leaseState {
	l := leaseState{exists: true, name: job.Name, uid: string(job.UID), ending: job.DeletionTimestamp != nil, created: job.CreationTimestamp.Time}
	if done := job.Status.CompletionTime; done != nil && job.Spec.TTLSecondsAfterFinished != nil {
		l.expires = done.Add(time.Duration(*job.Spec.TTLSecondsAfterFinished) * time.Second)
	}
	return l
}
