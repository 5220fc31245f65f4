package follow

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"

	"github.com/kubectl-retina/kubectl-retina/internal/target"
)

// An Object is one whose addresses are followed.
type Object struct {
	Kind      string // pod, namespace, service or node
	Namespace string // of a pod or service
	Name      string
}

// Addresses are the current addresses of objects, by bits: bit N stands for the
// Nth object. All methods may be called concurrently.
//
// A pod has its own addresses until it ends; a namespace those of its pods,
// except of pods on their node's network; a service its cluster, external and
// load balancer addresses and those of its endpoints; a node its internal and
// external ones.
type Addresses struct {
	running sync.WaitGroup

	mu      sync.Mutex
	parts   []*addressPart
	waiting int           // parts that were neither listed nor refused yet
	synced  chan struct{} // closed when none waits
	changed chan struct{} // closed at the next change
	refusal error         // the first
	warned  map[string]bool
}

// WatchAddresses finds the addresses of at most 32 objects and keeps them up to
// date until ctx ends. It fails if an object does not exist, can have none or must not
// be read. warn is told later what goes wrong while watching, once each, perhaps by
// several goroutines.
func WatchAddresses(ctx context.Context, client kubernetes.Interface, objects []Object, warn func(error)) (*Addresses, error) {
	for _, o := range objects {
		if err := target.HasAddresses(ctx, client, o.Kind, o.Namespace, o.Name); err != nil {
			return nil, err
		}
	}
	a := &Addresses{synced: make(chan struct{}), changed: make(chan struct{}), warned: map[string]bool{}}
	for bit, o := range objects {
		for _, r := range o.readings() {
			a.parts = append(a.parts, &addressPart{owner: a, reading: r, bit: 1 << bit, found: map[string]addressItem{}})
		}
	}
	a.waiting = len(a.parts)
	for _, part := range a.parts {
		feed, err := newFeed(client, part.reading, part, func(err error) { part.trouble(err, warn) })
		if err != nil {
			return nil, err
		}
		a.running.Go(func() { feed.run(ctx) })
	}
	select {
	case <-a.synced:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a, a.refusal
}

// readings say what an object's addresses are in.
func (o Object) readings() []reading {
	switch o.Kind {
	case "pod":
		return []reading{{resource: "pods", namespace: o.Namespace, name: o.Name}}
	case "namespace":
		return []reading{{resource: "pods", namespace: o.Name}}
	case "service":
		return []reading{
			{resource: "services", namespace: o.Namespace, name: o.Name},
			{resource: "endpointslices.discovery.k8s.io", namespace: o.Namespace, labels: labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: o.Name})},
		}
	}
	return []reading{{resource: "nodes", name: o.Name}}
}

// Wait returns when the context has ended and nothing is left running.
func (a *Addresses) Wait() { a.running.Wait() }

// Current returns whose each address is, and a channel that is closed when that
// has changed.
func (a *Addresses) Current() (map[netip.Addr]uint32, <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := make(map[netip.Addr]uint32)
	for _, part := range a.parts {
		for _, it := range part.found {
			for _, addr := range it.addrs {
				all[addr.Unmap()] |= part.bit
			}
		}
	}
	return all, a.changed
}

// HostNetwork returns the bits of pods that are on their node's network: their
// addresses are the node's.
func (a *Addresses) HostNetwork() uint32 {
	a.mu.Lock()
	defer a.mu.Unlock()
	var bits uint32
	for _, part := range a.parts {
		for _, it := range part.found {
			if it.host {
				bits |= part.bit
			}
		}
	}
	return bits
}

// An addressPart is what one feed has found.
type addressPart struct {
	owner *Addresses
	reading
	bit    uint32
	listed bool
	early  error // the last before it was listed
	found  map[string]addressItem
}

type addressItem struct {
	name  string // key
	addrs []netip.Addr
	host  bool // of a pod on its node's network
}

func (i addressItem) key() string { return i.name }

// convert keeps what has addresses.
func (p *addressPart) convert(object runtime.Object) item {
	var it addressItem
	switch o := object.(type) {
	case *corev1.Pod:
		if o.Status.Phase == corev1.PodSucceeded || o.Status.Phase == corev1.PodFailed || p.name == "" && o.Spec.HostNetwork {
			return nil
		}
		it.name, it.host = keyOf(o), o.Spec.HostNetwork
		for _, ip := range o.Status.PodIPs {
			it.addrs = appendAddr(it.addrs, ip.IP)
		}
		if len(it.addrs) == 0 {
			it.addrs = appendAddr(nil, o.Status.PodIP)
		}
	case *corev1.Service:
		record := newServiceRecord(o)
		it = addressItem{name: keyOf(o), addrs: append(record.clusterIPs, record.outerIPs...)}
	case *discoveryv1.EndpointSlice:
		it.name = keyOf(o)
		for i := range o.Endpoints {
			for _, text := range o.Endpoints[i].Addresses {
				it.addrs = appendAddr(it.addrs, text)
			}
		}
	case *corev1.Node:
		it = addressItem{name: keyOf(o), addrs: newNodeRecord(o).addrs}
	}
	if len(it.addrs) == 0 {
		return nil
	}
	return it
}

func (p *addressPart) replace(items []item) {
	found := make(map[string]addressItem, len(items))
	for _, it := range items {
		found[it.key()] = it.(addressItem)
	}
	p.update(func() { p.found = found })
}

func (p *addressPart) set(it item) {
	p.update(func() { p.found[it.key()] = it.(addressItem) })
}

func (p *addressPart) remove(key string) { p.update(func() { delete(p.found, key) }) }

// trouble takes note of an error before the first list, which may be why there is
// none, and tells the others: what was listed stays known without a watch.
func (p *addressPart) trouble(err error, warn func(error)) {
	p.owner.mu.Lock()
	early := !p.listed
	if early {
		p.early = err
	}
	// Each attempt fails alike: who may not watch lists every few seconds.
	tell := !p.owner.warned[err.Error()] && (!early || !apierrors.IsForbidden(err) && !apierrors.IsUnauthorized(err))
	if tell {
		p.owner.warned[err.Error()] = true
	}
	p.owner.mu.Unlock()
	if tell {
		warn(err)
	}
}

// refused lets who waits go on. The feed has said before what is refused: without a
// first list nothing is known of the object.
func (p *addressPart) refused() {
	p.update(func() {
		if a := p.owner; !p.listed && a.refusal == nil {
			a.refusal = p.early
		}
	})
}

func (p *addressPart) update(do func()) {
	a := p.owner
	a.mu.Lock()
	defer a.mu.Unlock()
	before := maps.Clone(p.found)
	do()
	if !p.listed {
		p.listed = true
		if a.waiting--; a.waiting == 0 {
			close(a.synced)
		}
	}
	if !maps.EqualFunc(before, p.found, func(x, y addressItem) bool { return fmt.Sprint(x.addrs) == fmt.Sprint(y.addrs) }) {
		close(a.changed)
		a.changed = make(chan struct{})
	}
}
