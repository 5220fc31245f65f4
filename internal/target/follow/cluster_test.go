package follow

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// A cluster is a fake one that selects as a server does: the fake of client-go
// watches everything whatever the selectors, and ignores those of fields.
type cluster struct {
	*fake.Clientset
	t *testing.T

	mu      sync.Mutex
	streams []*stream
}

func newCluster(t *testing.T, objects ...runtime.Object) *cluster {
	c := &cluster{Clientset: fake.NewSimpleClientset(objects...), t: t}
	c.PrependReactor("list", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
		list := action.(clienttesting.ListActionImpl)
		_, found, err := clienttesting.ObjectReaction(c.Tracker())(action)
		if err != nil {
			return true, nil, err
		}
		items, err := meta.ExtractList(found)
		if err != nil {
			return true, nil, err
		}
		keep := selects(list.ListRestrictions)
		return true, found, meta.SetList(found, slices.DeleteFunc(items, func(o runtime.Object) bool { return !keep(o) }))
	})
	c.PrependWatchReactor("*", func(action clienttesting.Action) (bool, watch.Interface, error) {
		a := action.(clienttesting.WatchActionImpl)
		in, err := c.Tracker().Watch(a.GetResource(), a.GetNamespace(), a.ListOptions)
		if err != nil {
			return true, nil, err
		}
		r := a.WatchRestrictions
		return true, c.stream(a.GetResource().Resource, in, selects(clienttesting.ListRestrictions{Labels: r.Labels, Fields: r.Fields})), nil
	})
	return c
}

func selects(r clienttesting.ListRestrictions) func(runtime.Object) bool {
	return func(object runtime.Object) bool {
		m, err := meta.Accessor(object)
		if err != nil {
			return false
		}
		return (r.Labels == nil || r.Labels.Matches(labels.Set(m.GetLabels()))) &&
			(r.Fields == nil || r.Fields.Matches(fields.Set{"metadata.name": m.GetName()}))
	}
}

// A stream is a watch that the test can break.
type stream struct {
	resource string
	out      chan watch.Event
	breaks   chan *watch.Event // nil: it just ends
	stopped  chan struct{}
	once     sync.Once
}

func (s *stream) Stop() { s.once.Do(func() { close(s.stopped) }) }

func (s *stream) ResultChan() <-chan watch.Event { return s.out }

func (c *cluster) stream(resource string, in watch.Interface, keep func(runtime.Object) bool) watch.Interface {
	s := &stream{resource: resource, out: make(chan watch.Event), breaks: make(chan *watch.Event, 1), stopped: make(chan struct{})}
	c.mu.Lock()
	c.streams = append(c.streams, s)
	c.mu.Unlock()
	go func() {
		defer close(s.out)
		defer in.Stop()
		for {
			var event watch.Event
			last := false
			select {
			case <-s.stopped:
				return
			case e := <-s.breaks:
				if e == nil {
					return
				}
				event, last = *e, true
			case event = <-in.ResultChan():
				if !keep(event.Object) {
					event.Type = watch.Deleted
				}
			}
			select {
			case <-s.stopped:
				return
			case s.out <- event:
			}
			if last {
				return
			}
		}
	}()
	return s
}

// break ends the open watches of a resource, with an event or without.
func (c *cluster) breakWatches(resource string, event *watch.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, s := range c.streams {
		select {
		case <-s.stopped:
		default:
			if s.resource == resource {
				s.breaks <- event
				n++
			}
		}
	}
	c.streams = slices.DeleteFunc(c.streams, func(s *stream) bool { return s.resource == resource })
	if n == 0 {
		c.t.Errorf("no watch of %s to break", resource)
	}
}

// watches counts the open watches, as in "pods 2, replicasets 1".
func (c *cluster) watches() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	counts := make(map[string]int)
	for _, s := range c.streams {
		select {
		case <-s.stopped:
		default:
			counts[s.resource]++
		}
	}
	var words []string
	for resource, n := range counts {
		words = append(words, fmt.Sprintf("%s %d", resource, n))
	}
	slices.Sort(words)
	return strings.Join(words, ", ")
}

func gone() *watch.Event {
	status := apierrors.NewResourceExpired("too old resource version").Status()
	return &watch.Event{Type: watch.Error, Object: &status}
}

// forbid refuses a verb on a resource, in a namespace or ("*") anywhere, until
// the function that it returns is called.
func (c *cluster) forbid(verb, resource, namespace string) (allow func()) {
	var mu sync.Mutex
	refusing := true
	refuse := func(a clienttesting.Action) error {
		mu.Lock()
		defer mu.Unlock()
		if !refusing || namespace != "*" && a.GetNamespace() != namespace {
			return nil
		}
		return apierrors.NewForbidden(a.GetResource().GroupResource(), "", fmt.Errorf("user jane cannot %s it", verb))
	}
	if verb == "watch" {
		c.PrependWatchReactor(resource, func(a clienttesting.Action) (bool, watch.Interface, error) {
			err := refuse(a)
			return err != nil, nil, err
		})
	} else {
		c.PrependReactor(verb, resource, func(a clienttesting.Action) (bool, runtime.Object, error) {
			err := refuse(a)
			return err != nil, nil, err
		})
	}
	return func() {
		mu.Lock()
		defer mu.Unlock()
		refusing = false
	}
}

// put creates or updates an object.
func (c *cluster) put(object runtime.Object) {
	c.t.Helper()
	gvr, m := c.resourceOf(object)
	_, err := c.Tracker().Get(gvr, m.GetNamespace(), m.GetName())
	if err == nil {
		err = c.Tracker().Update(gvr, object, m.GetNamespace())
	} else {
		err = c.Tracker().Create(gvr, object, m.GetNamespace())
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) remove(object runtime.Object) {
	c.t.Helper()
	gvr, m := c.resourceOf(object)
	if err := c.Tracker().Delete(gvr, m.GetNamespace(), m.GetName()); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) resourceOf(object runtime.Object) (schema.GroupVersionResource, metav1.Object) {
	c.t.Helper()
	m, err := meta.Accessor(object)
	if err != nil {
		c.t.Fatal(err)
	}
	scheme := runtime.NewScheme()
	if err := fake.AddToScheme(scheme); err != nil {
		c.t.Fatal(err)
	}
	kinds, _, err := scheme.ObjectKinds(object)
	if err != nil {
		c.t.Fatal(err)
	}
	gvr, _ := meta.UnsafeGuessKindToResource(kinds[0])
	return gvr, m
}
