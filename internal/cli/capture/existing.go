package capture

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/kube"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/inventory"
	"github.com/kubectl-retina/kubectl-retina/internal/session"
)

// existing is what the commands about captures that exist have in common.
type existing struct {
	kube    *kube.Flags
	streams genericiooptions.IOStreams
	now     func() time.Time

	cluster  *kube.Cluster
	executor session.Executor
}

func newExisting(flags *kube.Flags, streams genericiooptions.IOStreams) existing {
	return existing{kube: flags, streams: streams, now: time.Now}
}

// connect makes the clients.
func (e *existing) connect() (err error) {
	if e.cluster, err = e.kube.Cluster(); err != nil {
		return err
	}
	e.executor, err = session.NewRemoteExecutor(e.cluster.REST)
	return err
}

// namespace is where captures are looked for: that of -n, else of the context,
// which is where collectors run unless their user says otherwise.
func (e *existing) namespace() string { return e.cluster.Namespace }

// live asks collectors until the returned function is called.
func (e *existing) live(ctx context.Context) (*inventory.Live, func()) {
	live := inventory.NewLive(context.WithoutCancel(ctx), e.cluster.Client, e.executor)
	return live, live.Close
}

// find returns the captures of these names, in this order, with what their
// collectors say. Every one of them must exist.
func (e *existing) find(ctx context.Context, names []string) ([]*inventory.Capture, error) {
	live, done := e.live(ctx)
	defer done()
	list, err := inventory.List(ctx, e.cluster.Client, inventory.Options{Namespace: e.namespace(), Names: names, Prober: live})
	if err != nil {
		return nil, kube.Explain(err)
	}
	found := make([]*inventory.Capture, len(names))
	for i, name := range names {
		if found[i] = list.Find(e.namespace(), name); found[i] == nil {
			return nil, e.notFound(ctx, name)
		}
	}
	return found, nil
}

// notFound is the error of a capture that does not exist, with the names that may
// have been meant.
func (e *existing) notFound(ctx context.Context, name string) error {
	err := fmt.Errorf("capture %q not found in namespace %s", name, e.namespace())
	advice := "see: kubectl retina capture list -A"
	if list, listErr := inventory.List(ctx, e.cluster.Client, inventory.Options{Namespace: e.namespace()}); listErr == nil {
		if near := list.Near(name); len(near) > 0 {
			advice = "did you mean " + strings.Join(near, " or ") + "?"
		}
	}
	return hint.Wrap(err, advice)
}

// captureNames turns arguments into names: each once, without the "capture/" that
// -o name prints before it.
func captureNames(args []string) ([]string, error) {
	var names []string
	for _, arg := range args {
		name := arg
		for _, resource := range []string{"capture/", "captures/"} {
			name = strings.TrimPrefix(name, resource)
		}
		if err := session.CheckName(name); err != nil {
			return nil, exit.With(exit.Usage, err)
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, nil
}

// someNames wants at least one name; most is how many there may be, 0 for any
// number.
func someNames(most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return hint.Wrap(exit.Usagef("no capture is named"), "write "+cmd.CommandPath()+" NAME; see: kubectl retina capture list")
		case most > 0 && len(args) > most:
			return hint.Wrap(exit.Usagef("%d captures are named, one is possible", len(args)), "see: "+cmd.CommandPath()+" --help")
		}
		return nil
	}
}

// completionTime is how long a shell waits for names.
const completionTime = 3 * time.Second

// completeNames completes with the captures there are, but for those on the line;
// most is as in someNames.
func (e *existing) completeNames(most int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
		const directive = cobra.ShellCompDirectiveNoFileComp
		if most > 0 && len(args) >= most || e.connect() != nil {
			return nil, directive
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
		defer cancel()
		list, err := inventory.List(ctx, e.cluster.Client, inventory.Options{Namespace: e.namespace()})
		if err != nil {
			return nil, directive
		}
		var names []cobra.Completion
		for i := range list.Items {
			c := &list.Items[i]
			if strings.HasPrefix(c.Name, word) && !slices.Contains(args, c.Name) {
				names = append(names, cobra.CompletionWithDesc(c.Name, strings.TrimSpace(string(c.Status)+" "+c.Targets)))
			}
		}
		return names, directive
	}
}

// elsewhere is the flag that names the namespace, for commands that are
// suggested; "" if it is not needed.
func (e *existing) elsewhere() string {
	if e.namespace() == e.cluster.ContextNamespace {
		return ""
	}
	return " -n " + e.namespace()
}
