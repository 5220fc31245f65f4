// Package session starts collectors on nodes and holds the command's end of
// the streams that connect to them.
//
// A [Run] is everything that one invocation of the command has in a cluster:
// a lease, and one collector pod for each node. A [Session] is the handle on
// one collector. Whatever a run creates carries its ID as a label and ends
// with the lease, so that nothing stays when the command is killed.
package session

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

const (
	defaultStartTimeout = 2 * time.Minute
	// cleanupTimeout bounds the deletions, which happen after the caller's
	// context has ended.
	cleanupTimeout = 10 * time.Second
)

// Config says where and how a run's collectors start.
type Config struct {
	Client   kubernetes.Interface
	Executor Executor
	// Namespace is where the collector pods and the lease are created.
	Namespace string
	// Image is the collector's image reference.
	Image string
	// PullSecrets are names of secrets in Namespace for pulling Image.
	PullSecrets []string
	// Capture is the capture's name, unique in Namespace: Open and Start fail when
	// another has it. Empty: the run has none.
	Capture string
	// Annotations are for the lease, to be found by whoever lists captures.
	Annotations map[string]string
	// Storage makes the collectors store their packets instead of streaming them.
	// Nil: they stream.
	Storage *Storage
	// MaxRun bounds the life of each collector from its first moment, for the
	// collector itself and for its pod; > 0.
	MaxRun time.Duration
	// StartTimeout bounds one Start or StartShell. 0: two minutes.
	StartTimeout time.Duration
	// Rand is where the run's ID comes from. Nil: crypto/rand.
	Rand io.Reader
	// Events is told about the progress of each Start, one call at a time. It
	// must not block. Nil: nobody is.
	Events func(Event)
}

// Storage is what the pods of storing collectors have mounted.
type Storage struct {
	// StagingBytes limits the volume for packets that are not stored yet; 0: no limit.
	StagingBytes int64
	// PVC is the name of a claim in the collector namespace, HostDir a directory of
	// the nodes, made if it is not there. Empty: none.
	PVC, HostDir string
	// Existing says that HostDir must be there already.
	Existing bool
}

func (c Config) complete() (Config, error) {
	if c.Client == nil || c.Executor == nil {
		return c, errors.New("session without a client or an executor")
	}
	if c.Namespace == "" || c.Image == "" {
		return c, errors.New("session without a namespace or an image")
	}
	if c.MaxRun <= 0 {
		return c, fmt.Errorf("maximum run time %s is not positive", c.MaxRun)
	}
	if c.StartTimeout <= 0 {
		c.StartTimeout = defaultStartTimeout
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.Events == nil {
		c.Events = func(Event) {}
	}
	return c, nil
}

// A Run is the collectors of one invocation. Its methods may be called
// concurrently. Close it.
type Run struct {
	cfg Config
	id  string

	ctx    context.Context // ends with the run; its cause says why
	cancel context.CancelCauseFunc
	tasks  sync.WaitGroup // goroutines and Starts that use ctx
	pods   *podWatch

	leaseOnce sync.Once
	lease     *lease
	leased    chan struct{} // closed when owner or leaseErr is set
	letGo     chan struct{} // closed when the lease is not to be renewed any more
	kept      chan struct{} // closed when it is not renewed any more
	owner     metav1.OwnerReference
	leaseErr  error

	eventMu sync.Mutex // serialises calls of Events

	mu       sync.Mutex
	closed   bool
	released bool                 // nothing is to be deleted at the end
	started  int                  // pods named so far
	created  map[string]types.UID // pods that may exist; the UID may be unknown
}

// Open checks that collectors can run in the namespace and returns a run
// without any. It creates nothing in the cluster, so it may go on while the
// caller still looks for nodes.
func Open(ctx context.Context, cfg Config) (*Run, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	id, err := newID(cfg.Rand)
	if err != nil {
		return nil, fmt.Errorf("run ID: %w", err)
	}
	r := &Run{cfg: cfg, id: id, leased: make(chan struct{}), letGo: make(chan struct{}), kept: make(chan struct{}), created: make(map[string]types.UID)}
	r.ctx, r.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	r.pods = newPodWatch(cfg.Client.CoreV1().Pods(cfg.Namespace), runSelector(id))
	r.lease = newLease(cfg.Client.BatchV1().Jobs(cfg.Namespace), leaseJob(id, cfg))
	r.tasks.Go(func() { r.pods.run(r.ctx) })
	// Leftovers of others are no reason to keep this run waiting, or to fail it.
	r.tasks.Go(func() { _ = sweep(r.ctx, cfg.Client, cfg.Namespace) })
	if err := preflight(ctx, r.cfg, id); err != nil {
		return nil, and(err, r.Close(ctx))
	}
	return r, nil
}

// ID returns the run's ID: the value of the label retina.sh/run on everything
// that the run creates.
func (r *Run) ID() string { return r.id }

// leaseOwner returns the reference that makes a pod end with the lease. The
// first call creates the lease and begins to renew it.
func (r *Run) leaseOwner(ctx context.Context) (metav1.OwnerReference, error) {
	r.leaseOnce.Do(func() {
		r.tasks.Go(func() {
			r.owner, r.leaseErr = r.lease.create(r.ctx)
			close(r.leased)
			if r.leaseErr != nil {
				close(r.kept)
				return
			}
			if err := r.lease.keep(r.ctx, r.letGo); err != nil {
				r.cancel(err)
			}
			close(r.kept)
		})
	})
	select {
	case <-r.leased:
		return r.owner, r.leaseErr
	case <-ctx.Done():
		return metav1.OwnerReference{}, context.Cause(ctx)
	}
}

// Release lets the run's pods live on for ttl without this process. Call it once,
// after a Start; then the run is only to be closed. After an error Close deletes
// everything, as ever.
func (r *Run) Release(ctx context.Context, ttl time.Duration) error {
	close(r.letGo)
	<-r.kept // a renewal that is under way would make the lease short again
	if err := r.lease.release(ctx, ttl); err != nil {
		return fmt.Errorf("prolong lease job %s/%s: %w", r.cfg.Namespace, r.lease.job.Name, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.released = true
	return nil
}

// begin enters a Start, so that Close waits for it. The caller calls
// tasks.Done when begin returned no error.
func (r *Run) begin() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return errClosed
	}
	r.tasks.Add(1)
	return nil
}

// nextPod names a new pod and notes that it may exist from now on.
func (r *Run) nextPod() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	name := podName(r.id, r.started)
	r.started++
	r.created[name] = ""
	return name
}

func (r *Run) notePod(name string, uid types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.created[name] = uid
}

func (r *Run) emit(e Event) {
	r.eventMu.Lock()
	defer r.eventMu.Unlock()
	r.cfg.Events(e)
}
