package follow

import (
	"context"
	"net/netip"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
)

// A NamedAddress is an address that a pod has got.
type NamedAddress struct {
	Addr           netip.Addr
	Namespace, Pod string
}

// WatchPodNames tells which addresses pods of the namespaces have and get, until ctx
// ends and nothing is left running. An address that another pod gets is told again:
// the last one has it. Pods on their node's network, and those that are being deleted,
// are left out.
//
// Naming is a courtesy: what may not be asked is not told. told is called by several
// goroutines, one at a time.
func WatchPodNames(ctx context.Context, client kubernetes.Interface, namespaces []string, told func([]NamedAddress)) error {
	var one sync.Mutex
	var feeds []*feed
	for _, namespace := range namespaces {
		names := &podNames{have: map[string]podNameItem{}, told: func(names []NamedAddress) {
			one.Lock()
			defer one.Unlock()
			told(names)
		}}
		f, err := newFeed(client, reading{resource: "pods", namespace: namespace}, names, func(error) {})
		if err != nil {
			return err
		}
		feeds = append(feeds, f)
	}
	var running sync.WaitGroup
	for _, f := range feeds {
		running.Go(func() { f.run(ctx) })
	}
	running.Wait()
	return nil
}

// podNames are the addresses that pods of a namespace have. Two pods can have the same
// one for a while: who got it last counts, and news of the other do not take it back.
type podNames struct {
	have map[string]podNameItem
	told func([]NamedAddress)
}

type podNameItem struct {
	uid             string
	namespace, name string
	addrs           []netip.Addr
}

func (i podNameItem) key() string { return i.namespace + "/" + i.name }

// convert keeps the pods that have addresses of their own, and will have them for a
// while.
func (*podNames) convert(object runtime.Object) item {
	pod, ok := object.(*corev1.Pod)
	if !ok || pod.DeletionTimestamp != nil || pod.Spec.HostNetwork || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return nil
	}
	it := podNameItem{uid: string(pod.UID), namespace: pod.Namespace, name: pod.Name}
	for _, ip := range pod.Status.PodIPs {
		it.addrs = appendAddr(it.addrs, ip.IP)
	}
	if len(it.addrs) == 0 {
		it.addrs = appendAddr(nil, pod.Status.PodIP)
	}
	if len(it.addrs) == 0 {
		return nil
	}
	return it
}

// news are the addresses that a pod did not have before.
func (p *podNames) news(it podNameItem) (names []NamedAddress) {
	before := p.have[it.key()]
	for _, addr := range it.addrs {
		if before.uid != it.uid || !slices.Contains(before.addrs, addr) {
			names = append(names, NamedAddress{Addr: addr.Unmap(), Namespace: it.namespace, Pod: it.name})
		}
	}
	p.have[it.key()] = it
	return names
}

func (p *podNames) tell(names []NamedAddress) {
	if len(names) > 0 {
		p.told(names)
	}
}

// replace implements sink.
func (p *podNames) replace(items []item) {
	var names []NamedAddress
	present := make(map[string]bool, len(items))
	for _, it := range items {
		present[it.key()] = true
		names = append(names, p.news(it.(podNameItem))...)
	}
	for key := range p.have {
		if !present[key] {
			delete(p.have, key)
		}
	}
	p.tell(names)
}

// set implements sink.
func (p *podNames) set(it item) { p.tell(p.news(it.(podNameItem))) }

// remove implements sink.
func (p *podNames) remove(key string) { delete(p.have, key) }

// refused implements sink.
func (*podNames) refused() {}
