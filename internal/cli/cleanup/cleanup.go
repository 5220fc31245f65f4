// Package cleanup is the `cleanup` command.
package cleanup

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/kube"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/inventory"
)

const long = `Delete what this program, of whatever version, has left in the cluster and
nobody needs: collectors without a lease, leases that have expired, captures that
have ended.

That is rarely more than nothing, because everything of ours ends by itself. What
is still in use is named, and stays: collectors that run, among them those that
keep a capture to be downloaded.`

const example = `  # what would be deleted in all namespaces
  kubectl retina cleanup -A --dry-run

  # everything, whoever uses it
  kubectl retina cleanup -n default --force`

// parallel is how many objects are deleted at once.
const parallel = 16

type options struct {
	kube    *kube.Flags
	streams genericiooptions.IOStreams
	now     func() time.Time

	allNamespaces bool
	dryRun        bool
	force         bool
}

// New returns the command.
func New(flags *kube.Flags, streams genericiooptions.IOStreams) *cobra.Command {
	o := &options{kube: flags, streams: streams, now: time.Now}
	cmd := &cobra.Command{
		Use:     "cleanup",
		Short:   "Delete what was left in the cluster and nobody needs",
		Long:    long,
		Example: example,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return hint.Wrap(exit.Usagef("unexpected %q", args[0]), "one capture is deleted by: kubectl retina capture delete NAME")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			cluster, err := o.kube.Cluster()
			if err != nil {
				return err
			}
			namespace := cluster.Namespace
			if o.allNamespaces {
				namespace = ""
			}
			return o.run(cmd.Context(), cluster.Client, namespace)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVarP(&o.allNamespaces, "all-namespaces", "A", false, "in all namespaces")
	f.BoolVar(&o.dryRun, "dry-run", false, "print what would be deleted, and delete nothing")
	f.BoolVar(&o.force, "force", false, "delete what is in use too: captures end, and what they have not stored is lost")
	return cmd
}

func (o *options) run(ctx context.Context, client kubernetes.Interface, namespace string) error {
	objects, warning, err := inventory.Objects(ctx, client, namespace, o.now())
	if err != nil {
		return kube.Explain(err)
	}
	if warning != "" {
		fmt.Fprintln(o.streams.ErrOut, "warning:", warning)
	}
	var doomed []inventory.Object
	var used []string
	for _, object := range objects {
		if object.Needed == "" || o.force {
			doomed = append(doomed, object)
		} else if line := o.inUse(object); len(used) == 0 || used[len(used)-1] != line {
			used = append(used, line)
		}
	}
	for _, line := range used {
		fmt.Fprintln(o.streams.ErrOut, line)
	}
	if len(doomed) == 0 && len(used) == 0 {
		fmt.Fprintf(o.streams.ErrOut, "Nothing to clean up %s.\n", where(namespace))
	} else if len(used) > 0 {
		fmt.Fprintln(o.streams.ErrOut, "hint: --force deletes what is in use too")
	}
	return o.delete(ctx, client, doomed)
}

func where(namespace string) string {
	if namespace == "" {
		return "in any namespace"
	}
	return "in namespace " + namespace
}

// inUse names what an object belongs to, once for all objects of a run.
func (o *options) inUse(object inventory.Object) string {
	name := "run/" + object.Run
	switch {
	case object.Capture != "":
		name = "capture/" + object.Capture
	case object.Run == "":
		name = object.Resource + "/" + object.Name
	}
	return fmt.Sprintf("%s is in use%s: %s", name, o.in(object), object.Needed)
}

// in names the namespace where that is not clear.
func (o *options) in(object inventory.Object) string {
	if !o.allNamespaces {
		return ""
	}
	return " in namespace " + object.Namespace
}

// delete deletes what nobody needs, and prints it in order.
func (o *options) delete(ctx context.Context, client kubernetes.Interface, objects []inventory.Object) error {
	errs := make([]error, len(objects))
	if !o.dryRun {
		slots := make(chan struct{}, parallel)
		var all sync.WaitGroup
		for i, object := range objects {
			all.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				errs[i] = object.Delete(ctx, client)
			})
		}
		all.Wait()
	}
	done := 0
	for i, object := range objects {
		if errs[i] != nil {
			continue
		}
		done++
		line := fmt.Sprintf("%s/%s deleted%s", object.Resource, object.Name, strings.Replace(o.in(object), " in ", " from ", 1))
		if o.dryRun {
			line += " (dry run)"
		}
		if _, err := fmt.Fprintln(o.streams.Out, line); err != nil {
			return err
		}
	}
	err := errors.Join(errs...)
	if err != nil && done > 0 {
		err = exit.With(exit.Partial, err)
	}
	return err
}
