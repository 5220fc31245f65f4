// Package clusterinfo reads what Kubernetes says of the surroundings of a
// capture: pods, services and their endpoints, network policies, events and
// nodes, as YAML that kubectl could print.
//
// Values of environment variables, and of the headers of probes, are removed:
// they hold passwords too often. Nothing is read that is not named here, no
// Secret and no ConfigMap.
package clusterinfo

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

// DefaultMaxBytes is the default of Options.MaxBytes.
const DefaultMaxBytes = 4 << 20

// pageSize is kubectl's own.
const pageSize = 500

// eventAge is how old the events are that may explain a capture.
const eventAge = time.Hour

// Scope says of which objects.
type Scope struct {
	// Namespaces are those whose pods, services, endpoint slices, network policies
	// and events are read.
	Namespaces []string
	// Nodes are the names of the nodes that are read.
	Nodes []string
}

// Options say how.
type Options struct {
	// HeadersOnly also removes commands, arguments and what programs have said:
	// termination messages and the output of probes in events.
	HeadersOnly bool
	// MaxBytes limits one document; 0: DefaultMaxBytes.
	MaxBytes int
	// Now is when the hour of events ends; zero: now.
	Now time.Time
}

// A Document is the objects of one resource.
type Document struct {
	// Name is a file name: "pods.yaml".
	Name string
	// YAML is a List (v1), a little over Options.MaxBytes at most. Where objects
	// are missing because of that limit, its last line is a comment that says so.
	YAML []byte
}

// Collect reads all resources at the same time. A resource that cannot be read,
// often because the user may not, costs itself only: the errors say which. The
// documents are in a fixed order; one without any object is there too, unless it
// could not be read.
func Collect(ctx context.Context, client kubernetes.Interface, scope Scope, o Options) ([]Document, []error) {
	if o.MaxBytes <= 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	all := resources(client)
	writers := make([]*writer, len(all))
	var group sync.WaitGroup
	for i, r := range all {
		writers[i] = &writer{resource: r, options: o}
		group.Go(func() { writers[i].collect(ctx, scope) })
	}
	group.Wait()
	var documents []Document
	var errs []error
	for _, w := range writers {
		errs = append(errs, w.errs...)
		if w.read {
			documents = append(documents, Document{Name: w.resource.name + ".yaml", YAML: w.document()})
		}
	}
	return documents, errs
}

// writer makes the document of one resource.
type writer struct {
	resource resource
	options  Options
	items    bytes.Buffer
	count    int
	full     bool
	read     bool // something could be
	errs     []error
}

func (w *writer) collect(ctx context.Context, scope Scope) {
	if w.resource.get != nil {
		for _, name := range scope.Nodes {
			object, err := w.resource.get(ctx, name)
			if err == nil {
				err = w.add(object)
			}
			w.done(err, "get", "/"+name, "")
		}
		return
	}
	for _, namespace := range scope.Namespaces {
		w.done(w.list(ctx, namespace), "list", "", namespace)
	}
}

// done notes how reading some objects ended.
func (w *writer) done(err error, verb, name, namespace string) {
	if err == nil {
		w.read = true
		return
	}
	what, flag := w.resource.name+name, ""
	if namespace != "" {
		what, flag = what+" in namespace "+namespace, " -n "+namespace
	}
	wrapped := fmt.Errorf("%s %s: %w", verb, what, err)
	if apierrors.IsForbidden(err) {
		wrapped = hint.Wrap(wrapped, fmt.Sprintf("ask for the right to %s %s; to check it: kubectl auth can-i %s %s%s", verb, what, verb, w.resource.name, flag))
	}
	w.errs = append(w.errs, wrapped)
}

// list reads a namespace page by page. When the list expires on the way, it
// begins again, once.
func (w *writer) list(ctx context.Context, namespace string) error {
	length, count, restarted := w.items.Len(), w.count, false
	options := metav1.ListOptions{Limit: pageSize}
	for !w.full {
		page, err := w.resource.list(ctx, namespace, options)
		if err != nil && options.Continue != "" && !restarted && apierrors.IsResourceExpired(err) {
			restarted, options.Continue, w.count = true, "", count
			w.items.Truncate(length)
			continue
		}
		if err != nil {
			return err
		}
		if err := meta.EachListItem(page, w.add); err != nil {
			return err
		}
		list, err := meta.ListAccessor(page)
		if err != nil {
			return err
		}
		if options.Continue = list.GetContinue(); options.Continue == "" {
			return nil
		}
	}
	return nil
}

// add writes an object, if there is room.
func (w *writer) add(object runtime.Object) error {
	if w.full || !w.resource.wanted(object, w.options) {
		return nil
	}
	object.GetObjectKind().SetGroupVersionKind(w.resource.kind)
	if err := clean(object, w.options); err != nil {
		return err
	}
	text, err := yaml.Marshal(object)
	if err != nil {
		return fmt.Errorf("write as YAML: %w", err)
	}
	if w.items.Len()+len(text)+len(text)/16 > w.options.MaxBytes {
		w.full = true
		return nil
	}
	// An element of a list: everything but the dash moves by two.
	mark := "- "
	for line := range bytes.Lines(text) {
		if len(line) > 1 { // empty lines stay empty
			w.items.WriteString(mark)
			mark = "  "
		}
		w.items.Write(line)
	}
	w.count++
	return nil
}

func (w *writer) document() []byte {
	const head = "apiVersion: v1\nkind: List\nmetadata: {}\n"
	text := []byte(head + "items: []\n")
	if w.count > 0 {
		text = append([]byte(head+"items:\n"), w.items.Bytes()...)
	}
	if w.full {
		text = fmt.Appendf(text, "# cut here, after %d of the objects: the limit of %s is reached\n", w.count, humanize.IBytes(uint64(w.options.MaxBytes)))
	}
	return text
}
