package follow

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
	"github.com/kubectl-retina/kubectl-retina/internal/target"
)

// Options say what a Directory asks for.
type Options struct {
	// Namespaces are the only ones to ask for pods, services and policies; none
	// stands for the whole cluster, which is what addresses of peers need.
	Namespaces []string
	// Fallback are the namespaces to ask where the user may not ask the whole
	// cluster, most likely those of the targets. It is used if Namespaces is empty.
	Fallback []string
	// Warn, if set, is told what cannot be asked, once for each kind of object. It is
	// called from one goroutine at a time and should return soon.
	Warn func(error)
}

// A Directory knows whose an address is: a pod's, a service's or a node's. It
// keeps itself up to date for as long as its context lasts; after that it still
// answers, with what it knew at last. All methods may be called concurrently.
type Directory struct {
	client  kubernetes.Interface
	options Options
	running sync.WaitGroup // every goroutine

	warning sync.Mutex // held while Warn runs
	warned  map[string]bool

	synced chan struct{} // closed when each section was listed or refused once

	mu       sync.RWMutex // guards what follows
	book     *book
	waiting  int // sections that were neither listed nor refused yet
	sections []*section
}

var _ metrics.Directory = (*Directory)(nil)

// NewDirectory begins to ask the cluster. The Directory answers at once, as far
// as it knows; see WaitForSync.
func NewDirectory(ctx context.Context, client kubernetes.Interface, options Options) *Directory {
	return newDirectory(ctx, client, options, time.Now)
}

// WaitForSync waits until everything was listed once, or was refused. It returns
// the error of ctx if that ends first; the Directory can be used even then.
func (d *Directory) WaitForSync(ctx context.Context) error {
	select {
	case <-d.synced:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Wait returns when the Directory's context has ended and nothing of it is left
// running.
func (d *Directory) Wait() { d.running.Wait() }

// Party says who has addr. A pod's address keeps its name for half a minute after
// the pod has ended, unless somebody else gets it; that of a pod on its node's
// network is the node's. Where neither pod, service nor node has it, it is
// "external" if all pods and services of the cluster are known, and "unknown"
// otherwise or if it is in a node's range of pod addresses, as gateways are.
func (d *Directory) Party(addr netip.Addr) metrics.Party {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.book.party(addr.Unmap().WithZone(""))
}

// PodParty describes a target, with all of its addresses. What the Directory does
// not know of it is left out.
func (d *Directory) PodParty(pod target.Pod) metrics.Party {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.book.podParty(pod)
}

// NodeParty describes a node, with all of its addresses that are known.
func (d *Directory) NodeParty(name string) metrics.Party {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.book.nodeParty(name)
}
