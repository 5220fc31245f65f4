package metrics

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/kube"
	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
	"github.com/kubectl-retina/kubectl-retina/internal/top"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

const topLong = `Show live what pods and nodes send, lose and wait for: on a terminal as a full
screen (press ? for its keys), in a pipe as lines, one for each row and interval.

The view is pods, nodes, flows, drops or dns; on the screen it can be changed.
Targets are named as for metrics snapshot. Without any, all pods of the namespace
are shown, in the view of nodes all nodes. Pods that come later are added.`

const topExample = `  # the pods of a namespace
  kubectl retina metrics top -n shop

  # what is dropped anywhere
  kubectl retina metrics top drops -A

  # one look, for a script
  kubectl retina metrics top flows svc/web -n shop --once`

// goneFromTop is how long a pod that has ended stays on the screen. Sums that it is
// part of go down when it is forgotten, which looks like new traffic for a moment.
const goneFromTop = time.Hour

type topOptions struct {
	*options
	view     top.View
	interval time.Duration
	once     bool
	sortBy   string
	filter   string
}

func newTop(flags *kube.Flags, streams genericiooptions.IOStreams) *cobra.Command {
	o := &topOptions{options: newOptions(flags, streams)}
	cmd := &cobra.Command{
		Use:     "top [pods|nodes|flows|drops|dns] [TYPE/NAME ...]",
		Short:   "Show live who talks, how much, and what goes wrong",
		Long:    topLong,
		Example: topExample,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.complete(args); err != nil {
				return exit.With(exit.Usage, err)
			}
			return o.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.DurationVar(&o.interval, "interval", time.Second, "time between two looks")
	f.BoolVar(&o.once, "once", false, "print one table after one interval and end")
	f.StringVar(&o.sortBy, "sort-by", "", "the column to sort by at first")
	f.StringVar(&o.filter, "filter", "", "show the rows only that contain this text")
	o.addPatience(f)
	o.addTo(cmd)
	targets := cmd.ValidArgsFunction
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 && isView(args) {
			args = args[1:]
		}
		found, directive := targets(cmd, args, word)
		if len(args) == 0 && !strings.Contains(word, "/") {
			found = append(top.Views(), found...)
		}
		return found, directive
	}
	return cmd
}

// complete checks the flags. A first argument that is no TYPE/NAME is the view.
func (o *topOptions) complete(args []string) error {
	o.view = top.Pods
	if len(args) > 0 && isView(args) {
		var err error
		if o.view, err = top.ParseView(args[0]); err != nil {
			return err
		}
		args = args[1:]
	}
	if err := o.options.complete(args); err != nil {
		return err
	}
	if o.everything && o.view == top.Nodes {
		o.request.Everything, o.request.AllNodes = false, true
	}
	if o.interval < wire.MinInterval || o.interval > wire.MaxInterval {
		return fmt.Errorf("--interval %s is not between %s and %s", o.interval, wire.MinInterval, wire.MaxInterval)
	}
	if o.sortBy != "" {
		check := top.Options{Source: (*metrics.Fold)(nil), View: o.view, SortBy: o.sortBy}
		if err := check.Validate(); err != nil {
			return fmt.Errorf("--sort-by: %w", err)
		}
	}
	return nil
}

// isView tells a view from TYPE/NAME and from TYPE NAME.
func isView(args []string) bool {
	for _, r := range args[0] {
		if r == '/' {
			return false
		}
	}
	if len(args) == 1 {
		return true
	}
	_, err := top.ParseView(args[0])
	// "pods web-1" is kubectl's TYPE NAME.
	return err == nil && (args[0] != "pods" && args[0] != "pod" && args[0] != "nodes" && args[0] != "node" || containsSlash(args[1]))
}

func containsSlash(s string) bool {
	for _, r := range s {
		if r == '/' {
			return true
		}
	}
	return false
}

func (o *topOptions) run(ctx context.Context) error {
	obs := newObserver(o.options, o.interval)
	source := newRounds(func(by metrics.By) *metrics.Report { return obs.fold.Report(by) }, o.interval, o.now)
	obs.live, obs.forget, obs.onSample = true, goneFromTop, source.sampled
	return obs.run(ctx, func(ctx context.Context) error { return o.show(ctx, obs, source) })
}

func (o *topOptions) show(ctx context.Context, obs *observer, source *rounds) error {
	view := top.Options{
		Source: source, View: o.view, Interval: o.interval, In: o.streams.In, Out: o.streams.Out,
		Color: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb", SortBy: o.sortBy, Filter: o.filter,
		Title: obs.selection.String(), Now: o.now,
	}
	if o.once || !isTerminal(o.streams.Out) || !isTerminal(o.streams.In) {
		obs.narrator.Status("")
		err := top.Print(ctx, o.streams.Out, view, o.once)
		if ctx.Err() != nil {
			return exit.With(exit.Interrupted, exit.ErrSilent)
		}
		return err
	}
	obs.narrator.Mute() // the screen shows what there is to tell
	defer obs.narrator.Unmute()
	return top.Run(ctx, view)
}
