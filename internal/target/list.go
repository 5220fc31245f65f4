package target

import (
	"context"
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

// pageSize is kubectl's own: large enough that round trips do not matter, small
// enough that one page of pods is a few megabytes.
const pageSize = 500

// inFlight bounds the requests that one step makes at the same time.
const inFlight = 8

// Collect lists page by page and returns what convert makes of each page; the
// pages themselves are dropped. When the list expires on the way (410 Gone: the
// server compacted it away), it begins again, once. client-go's pager would ask
// for everything in one response instead, which is what pages are to avoid.
//
// No resource version is asked for: with "0" older servers ignore the limit.
func Collect[L metav1.ListInterface, T any](
	ctx context.Context, opts metav1.ListOptions,
	list func(context.Context, metav1.ListOptions) (L, error), convert func(L) []T,
) ([]T, error) {
	var all []T
	restarted := false
	opts.Limit = pageSize
	for {
		page, err := list(ctx, opts)
		if err != nil && opts.Continue != "" && !restarted && apierrors.IsResourceExpired(err) {
			restarted, opts.Continue, all = true, "", nil
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, convert(page)...)
		if opts.Continue = page.GetContinue(); opts.Continue == "" {
			return all, nil
		}
	}
}

// parallel calls do with 0..n-1, some at the same time, waits for all of them
// and returns the errors, by argument: nil where there is none.
func parallel(n int, do func(int) error) []error {
	errs := make([]error, n)
	slots := make(chan struct{}, inFlight)
	var wg sync.WaitGroup
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			errs[i] = do(i)
			<-slots
		})
	}
	wg.Wait()
	return errs
}

// first returns the first error of errs that is one.
func first(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// Asking wraps err, if any, with what was asked of the API server. What the
// user may not do gets a hint that names the right. The resource is as RBAC
// writes it, "replicasets.apps"; no namespace stands for all of them.
func Asking(err error, verb, resource, namespace string) error {
	if err == nil {
		return nil
	}
	where, flag := "", ""
	if namespace != "" {
		where, flag = " in namespace "+namespace, " -n "+namespace
	}
	wrapped := fmt.Errorf("%s %s%s: %w", verb, resource, where, err)
	if !apierrors.IsForbidden(err) {
		return wrapped
	}
	if namespace == "" && resource != "nodes" && resource != "namespaces" {
		where, flag = " in all namespaces", " -A"
	}
	return hint.Wrap(wrapped, fmt.Sprintf("ask for the right to %s %s%s; to check it: kubectl auth can-i %s %s%s",
		verb, resource, where, verb, resource, flag))
}

// advise is hint.Wrap, except that no text adds no hint.
func advise(err error, text string) error {
	if text == "" {
		return err
	}
	return hint.Wrap(err, text)
}
