package follow

import (
	"context"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
)

// A chapter is one kind of object in a Directory.
type chapter struct {
	resource string
	convert  func(runtime.Object) item // nil if there is nothing to keep
	set      func(*book, item)
	remove   func(b *book, key string)
	keys     func(*book) []string
}

func chapters() []chapter {
	return []chapter{podChapter(), serviceChapter(), nodeChapter(), policyChapter()}
}

func podChapter() chapter {
	return chapter{
		resource: "pods",
		convert: func(object runtime.Object) item {
			if pod, ok := object.(*corev1.Pod); ok {
				if record := newPodRecord(pod); record != nil {
					return record
				}
			}
			return nil
		},
		set: func(b *book, it item) {
			if pod, ok := it.(*podRecord); ok {
				b.setPod(pod)
			}
		},
		remove: (*book).removePod,
		keys:   func(b *book) []string { return keysOf(b.pods) },
	}
}

func serviceChapter() chapter {
	return chapter{
		resource: "services",
		convert: func(object runtime.Object) item {
			if service, ok := object.(*corev1.Service); ok {
				return newServiceRecord(service)
			}
			return nil
		},
		set: func(b *book, it item) {
			if service, ok := it.(*serviceRecord); ok {
				b.setService(service)
			}
		},
		remove: (*book).removeService,
		keys: func(b *book) (keys []string) {
			for _, ns := range b.namespaces {
				keys = append(keys, keysOf(ns.services)...)
			}
			return keys
		},
	}
}

func nodeChapter() chapter {
	return chapter{
		resource: "nodes",
		convert: func(object runtime.Object) item {
			if node, ok := object.(*corev1.Node); ok {
				return newNodeRecord(node)
			}
			return nil
		},
		set: func(b *book, it item) {
			if node, ok := it.(*nodeRecord); ok {
				b.setNode(node)
			}
		},
		remove: func(b *book, key string) { b.removeNode(strings.TrimPrefix(key, "/")) },
		keys: func(b *book) (keys []string) {
			for _, node := range b.nodes {
				keys = append(keys, node.key())
			}
			return keys
		},
	}
}

func policyChapter() chapter {
	return chapter{
		resource: "networkpolicies.networking.k8s.io",
		convert: func(object runtime.Object) item {
			if policy, ok := object.(*networkingv1.NetworkPolicy); ok {
				if record := newPolicyRecord(policy); record != nil {
					return record
				}
			}
			return nil
		},
		set: func(b *book, it item) {
			if policy, ok := it.(*policyRecord); ok {
				b.setPolicy(policy)
			}
		},
		remove: (*book).removePolicy,
		keys: func(b *book) (keys []string) {
			for _, ns := range b.namespaces {
				keys = append(keys, keysOf(ns.policies)...)
			}
			return keys
		},
	}
}

func keysOf[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	return keys
}

// A section is the sink of one feed of a Directory: a chapter in one namespace,
// or in all.
type section struct {
	chapter
	directory *Directory
	namespace string // "" is all of them
	ctx       context.Context
	stop      context.CancelFunc // of the feed
	state     sourceState
}

func newDirectory(ctx context.Context, client kubernetes.Interface, options Options, now func() time.Time) *Directory {
	d := &Directory{
		client:  client,
		options: options,
		warned:  make(map[string]bool),
		synced:  make(chan struct{}),
		book:    newBook(now),
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range chapters() {
		namespaces := options.Namespaces
		if len(namespaces) == 0 || c.resource == "nodes" {
			namespaces = []string{""}
		}
		d.open(ctx, c, namespaces)
	}
	return d
}

// open begins to read a chapter in some namespaces. The lock is held.
func (d *Directory) open(ctx context.Context, c chapter, namespaces []string) {
	for _, namespace := range namespaces {
		s := &section{chapter: c, directory: d, namespace: namespace, ctx: ctx}
		feedCtx, stop := context.WithCancel(ctx)
		s.stop = stop
		feed, err := newFeed(d.client, reading{resource: c.resource, namespace: namespace}, s, d.warner(c.resource))
		if err != nil { // not with the resources of chapters
			panic(err)
		}
		d.sections = append(d.sections, s)
		d.waiting++
		d.running.Go(func() { feed.run(feedCtx) })
	}
}

// warner returns what tells the warnings about a resource: of what is not
// allowed the first, of anything else each once.
func (d *Directory) warner(resource string) func(error) {
	return func(err error) {
		d.warning.Lock()
		defer d.warning.Unlock()
		about := err.Error()
		if apierrors.IsForbidden(err) {
			about = resource
		}
		if d.options.Warn != nil && !d.warned[about] {
			d.warned[about] = true
			d.options.Warn(err)
		}
	}
}

func (s *section) convert(object runtime.Object) item { return s.chapter.convert(object) }

func (s *section) replace(items []item) {
	s.update(func(b *book) {
		there := make(map[string]bool, len(items))
		for _, it := range items {
			there[it.key()] = true
			s.chapter.set(b, it)
		}
		for _, key := range s.keys(b) {
			if namespace, _ := split(key); !there[key] && (s.namespace == "" || s.namespace == namespace) {
				s.chapter.remove(b, key)
			}
		}
		s.settle(stateSynced)
	})
}

func (s *section) set(it item) { s.update(func(b *book) { s.chapter.set(b, it) }) }

func (s *section) remove(key string) { s.update(func(b *book) { s.chapter.remove(b, key) }) }

// refused turns to the namespaces where the user may be allowed more.
func (s *section) refused() {
	s.update(func(*book) {
		if s.state != stateNew {
			return
		}
		if d := s.directory; s.namespace == "" && s.resource != "nodes" && len(d.options.Fallback) > 0 {
			d.open(s.ctx, s.chapter, d.options.Fallback)
			s.stop()
			s.settle(stateStopped)
			return
		}
		s.settle(stateRefused)
	})
}

func (s *section) update(do func(*book)) {
	s.directory.mu.Lock()
	defer s.directory.mu.Unlock()
	if s.state != stateStopped {
		do(s.directory.book)
	}
}

// settle takes note of how far s has come. The lock is held.
func (s *section) settle(state sourceState) {
	d := s.directory
	if s.state == stateNew {
		if d.waiting--; d.waiting == 0 {
			close(d.synced)
		}
	}
	s.state = state
	whole := 0
	for _, other := range d.sections {
		if other.namespace == "" && other.state == stateSynced && (other.resource == "pods" || other.resource == "services") {
			whole++
		}
	}
	d.book.whole = whole == 2
}
