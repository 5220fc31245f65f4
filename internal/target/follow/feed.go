package follow

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/kubectl-retina/kubectl-retina/internal/target"
)

// Waits between two attempts.
const (
	retryMin = 250 * time.Millisecond // doubles up to
	retryMax = 5 * time.Second
	// relistEvery is how often a list stands in for a watch that is not allowed.
	relistEvery = 5 * time.Second
	// refusedEvery is how often a list that is not allowed is tried again.
	refusedEvery = 30 * time.Second
	// patience is how many attempts in a row fail before it is worth a word.
	patience = 3
)

// An item is what is kept of an object.
type item interface {
	key() string // namespace and name
}

// A sink takes what a feed reads, from one goroutine at a time.
type sink interface {
	// convert returns what to keep of an object, which it may change, or nil.
	convert(runtime.Object) item
	// replace tells all items that there are, set one that is new or has changed, and
	// remove one that is gone.
	replace([]item)
	set(item)
	remove(key string)
	// refused is told each time the list is not allowed.
	refused()
}

// A feed keeps a sink up to date. The watching is the reflector's of client-go,
// which resumes a watch where it broke off and lists again when that is too long
// ago. Lists are read here: the reflector would keep whole objects until it has
// all of them, which of a large cluster's pods are a gigabyte.
type feed struct {
	reading
	access
	sink
	warn func(error)

	listing sync.Mutex // held while a list is read
	listed  []item     // by the last list, until replace

	failures int    // attempts that failed in a row
	denied   string // the verb that was not allowed last, if that was the last failure
}

func newFeed(client kubernetes.Interface, r reading, s sink, warn func(error)) (*feed, error) {
	a, err := r.access(client)
	return &feed{reading: r, access: a, sink: s, warn: warn}, err
}

// unstreamed makes the reflector use lists. Otherwise it would ask for a stream
// of the objects that there are and keep all of it.
type unstreamed struct{ *cache.ListWatch }

// IsWatchListSemanticsUnSupported is what the reflector asks.
func (unstreamed) IsWatchListSemanticsUnSupported() bool { return true }

// run reads until ctx ends.
func (f *feed) run(ctx context.Context) {
	source := unstreamed{&cache.ListWatch{ListWithContextFunc: f.listAll, WatchFuncWithContext: f.watchOn}}
	reflector := cache.NewReflectorWithOptions(source, nil, store{f}, cache.ReflectorOptions{
		Name:            f.resource,
		TypeDescription: f.resource,
		Backoff:         &wait.Backoff{Duration: retryMin, Cap: retryMax, Steps: 6, Factor: 2, Jitter: 0.5},
	})
	defer f.finish()
	delay := retryMin
	for ctx.Err() == nil {
		err := reflector.ListAndWatchWithContext(ctx)
		if ctx.Err() != nil {
			return // a list may still be using f
		}
		pause := delay
		switch {
		case err == nil: // there was a watch
			delay = retryMin
		case f.denied == "list":
			pause = refusedEvery
		case f.denied == "watch":
			pause = relistEvery
		default:
			delay = min(2*delay, retryMax)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// finish waits for a list that the reflector has left behind.
func (f *feed) finish() {
	f.listing.Lock()
	defer f.listing.Unlock()
	f.listed = nil
}

// listAll reads all objects, page by page, and keeps what the sink wants of
// them. The reflector gets an empty list: all it needs is the version to watch
// from. What it asks for is not used: a list of version "0" may be older than
// what the user has seen already, and older servers do not cut it into pages.
func (f *feed) listAll(ctx context.Context, _ metav1.ListOptions) (runtime.Object, error) {
	f.listing.Lock()
	defer f.listing.Unlock()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	var version string
	items, err := target.Collect(ctx, f.options(metav1.ListOptions{}), f.list, func(page objectList) []item {
		version = page.GetResourceVersion()
		var items []item
		_ = meta.EachListItem(page, func(obj runtime.Object) error { // the function never fails
			if it := f.convert(obj); it != nil {
				items = append(items, it)
			}
			return nil
		})
		return items
	})
	f.judge(ctx, "list", err)
	if err != nil {
		return nil, err
	}
	f.listed = items
	return &metav1.List{ListMeta: metav1.ListMeta{ResourceVersion: version}}, nil
}

// watchOn watches from the version that the reflector wants.
func (f *feed) watchOn(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	w, err := f.watch(ctx, f.options(o))
	f.judge(ctx, "watch", err)
	return w, err
}

// judge takes note of how an attempt went, and warns of what the user may not
// do, or of a server that has not answered for some time.
func (f *feed) judge(ctx context.Context, verb string, err error) {
	f.denied = ""
	switch {
	case ctx.Err() != nil:
	case err == nil && verb == "watch":
		f.failures = 0
	case apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err):
		f.denied = verb
		refusal := target.Asking(err, verb, f.resource, f.namespace)
		if verb == "watch" {
			refusal = fmt.Errorf("%w; what changes there is noticed up to %s late", refusal, relistEvery)
		}
		f.warn(refusal)
		if verb == "list" {
			f.refused()
		}
	case err != nil && !apierrors.IsResourceExpired(err):
		if f.failures++; f.failures == patience {
			f.warn(unanswered(err))
		}
	}
}

// unanswered words an error that is about the server more than about one
// request, so that all feeds say the same.
func unanswered(err error) error {
	if failed, ok := errors.AsType[*url.Error](err); ok {
		err = failed.Err
	}
	return fmt.Errorf("the API server does not answer as it should, changes may come late: %w", err)
}

// A store passes on what the reflector says, which calls it from one goroutine.
type store struct{ feed *feed }

var _ cache.ReflectorStore = store{}

// Replace follows a list.
func (s store) Replace([]any, string) error {
	s.feed.listing.Lock()
	items := s.feed.listed
	s.feed.listed = nil
	s.feed.listing.Unlock()
	s.feed.replace(items)
	return nil
}

// Add is an object that is new, or now matches.
func (s store) Add(obj any) error { return s.Update(obj) }

// Update is an object that has changed.
func (s store) Update(obj any) error {
	object, ok := obj.(runtime.Object)
	if !ok {
		return fmt.Errorf("%T is not an object", obj)
	}
	if it := s.feed.convert(object); it != nil {
		s.feed.set(it)
		return nil
	}
	return s.Delete(obj)
}

// Delete is an object that is gone, or does not match any more.
func (s store) Delete(obj any) error {
	object, err := meta.Accessor(obj)
	if err != nil {
		return err
	}
	s.feed.remove(keyOf(object))
	return nil
}

// Resync is not used.
func (store) Resync() error { return nil }

func keyOf(object metav1.Object) string { return object.GetNamespace() + "/" + object.GetName() }
