package follow

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
	"unique"

	"k8s.io/apimachinery/pkg/labels"
)

// cacheSize bounds what a namespaceBook remembers of its own answers.
const cacheSize = 10_000

// serviceRecord is what is kept of a service.
type serviceRecord struct {
	name       string                // "NAMESPACE/NAME"
	selector   unique.Handle[string] // "" selects nothing
	clusterIPs []netip.Addr
	outerIPs   []netip.Addr
}

func (s *serviceRecord) key() string { return s.name }

// policyRecord is what is kept of a NetworkPolicy.
type policyRecord struct {
	name     string // "NAMESPACE/NAME"
	selector labels.Selector
}

func (p *policyRecord) key() string { return p.name }

// A namespaceBook knows what selects the pods of a namespace. Services are told
// from their selectors and not from EndpointSlices: those are written each time a
// pod becomes ready or is not, which makes them the busiest objects of many
// clusters, while selectors are few, hardly change, and come with the services
// that are read for their addresses anyway. So a service without a selector has
// no pods here.
type namespaceBook struct {
	services map[string]*serviceRecord // by "NAMESPACE/NAME"
	policies map[string]*policyRecord

	mu    sync.Mutex // guards cache, which is filled while others read the book
	cache map[unique.Handle[string]]selecting
}

// selecting is what selects a pod.
type selecting struct {
	service  string   // the first by name
	policies []string // sorted
}

func newNamespaceBook() *namespaceBook {
	return &namespaceBook{
		services: make(map[string]*serviceRecord),
		policies: make(map[string]*policyRecord),
		cache:    make(map[unique.Handle[string]]selecting),
	}
}

// changed forgets answers that may be wrong now.
func (n *namespaceBook) changed() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.cache)
}

// selecting says what selects the pods with these labels.
func (n *namespaceBook) selecting(podLabels unique.Handle[string]) selecting {
	n.mu.Lock()
	defer n.mu.Unlock()
	if found, ok := n.cache[podLabels]; ok {
		return found
	}
	if len(n.cache) >= cacheSize {
		clear(n.cache)
	}
	found := n.look(parseLabels(podLabels.Value()))
	n.cache[podLabels] = found
	return found
}

func (n *namespaceBook) look(pod labels.Set) selecting {
	var found selecting
	for _, service := range n.services {
		selector := service.selector.Value()
		if selector == "" || !labels.SelectorFromSet(parseLabels(selector)).Matches(pod) {
			continue
		}
		if _, name := split(service.name); found.service == "" || name < found.service {
			found.service = name
		}
	}
	for _, policy := range n.policies {
		if policy.selector.Matches(pod) {
			_, name := split(policy.name)
			found.policies = append(found.policies, name)
		}
	}
	slices.Sort(found.policies)
	return found
}

// parseLabels reverses labels.Set.String: neither keys nor values have '=' or ','
// in them.
func parseLabels(text string) labels.Set {
	set := make(labels.Set)
	if text == "" {
		return set
	}
	for pair := range strings.SplitSeq(text, ",") {
		key, value, _ := strings.Cut(pair, "=")
		set[key] = value
	}
	return set
}

// split cuts "NAMESPACE/NAME".
func split(key string) (namespace, name string) {
	namespace, name, _ = strings.Cut(key, "/")
	return namespace, name
}

func (b *book) namespace(name string) *namespaceBook {
	if b.namespaces[name] == nil {
		b.namespaces[name] = newNamespaceBook()
	}
	return b.namespaces[name]
}

func (b *book) setService(service *serviceRecord) {
	b.removeService(service.name)
	namespace, _ := split(service.name)
	ns := b.namespace(namespace)
	ns.services[service.name] = service
	ns.changed()
	for _, addr := range service.clusterIPs {
		b.clusterIPs[addr] = service.name
	}
	for _, addr := range service.outerIPs {
		// Several services can share one, on different ports.
		if has, ok := b.outerIPs[addr]; !ok || service.name < has {
			b.outerIPs[addr] = service.name
		}
	}
}

func (b *book) removeService(key string) {
	namespace, _ := split(key)
	ns := b.namespace(namespace)
	service := ns.services[key]
	if service == nil {
		return
	}
	delete(ns.services, key)
	ns.changed()
	for _, addr := range service.clusterIPs {
		if b.clusterIPs[addr] == key {
			delete(b.clusterIPs, addr)
		}
	}
	for _, addr := range service.outerIPs {
		if b.outerIPs[addr] == key {
			delete(b.outerIPs, addr)
			b.inherit(addr)
		}
	}
}

// inherit gives an outer address to the first of the other services that have it.
func (b *book) inherit(addr netip.Addr) {
	for _, ns := range b.namespaces {
		for _, service := range ns.services {
			if has, ok := b.outerIPs[addr]; slices.Contains(service.outerIPs, addr) && (!ok || service.name < has) {
				b.outerIPs[addr] = service.name
			}
		}
	}
}

func (b *book) setPolicy(policy *policyRecord) {
	namespace, _ := split(policy.name)
	ns := b.namespace(namespace)
	ns.policies[policy.name] = policy
	ns.changed()
}

func (b *book) removePolicy(key string) {
	namespace, _ := split(key)
	ns := b.namespace(namespace)
	delete(ns.policies, key)
	ns.changed()
}
