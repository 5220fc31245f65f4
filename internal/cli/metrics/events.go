package metrics

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/kube"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/selecting"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

const eventsLong = `Print a line for each thing that goes wrong, as it happens: a packet dropped, a
connection reset or not established, a segment sent again, a name that could not
be resolved.

Targets are named as for metrics snapshot. Each node sends so many events a second
at most; how many more there were is told. Only the plugins run that the kinds need.`

const eventsExample = `  # what goes wrong in a namespace, until Ctrl-C
  kubectl retina metrics events -n shop

  # a minute of drops and resets, for a script
  kubectl retina metrics events -n shop --duration 5s --kinds drop,reset -o json`

// eventPlugin returns the plugin that has a kind of events.
func eventPlugin(kind string) string {
	switch kind {
	case wire.EventDrop:
		return metrics.PluginDrops
	case wire.EventRetransmit:
		return metrics.PluginRetransmit
	case wire.EventDNS:
		return metrics.PluginDNS
	}
	return metrics.PluginFlows // resets and connects
}

// eventPlugins are the plugins that have events of these kinds.
func eventPlugins(kinds []string) []string {
	var plugins []string
	for _, kind := range kinds {
		plugins = append(plugins, eventPlugin(kind))
	}
	slices.Sort(plugins)
	return slices.Compact(plugins)
}

type eventsOptions struct {
	*options
	duration time.Duration
	kinds    []string
	rate     int
	output   string

	obs *observer
	mu  sync.Mutex // guards what follows
	out *bufio.Writer
	err error // of the output
	// suppressed is by node, as last told.
	suppressed map[string]uint64
}

func newEvents(flags *kube.Flags, streams genericiooptions.IOStreams) *cobra.Command {
	o := &eventsOptions{options: newOptions(flags, streams), suppressed: map[string]uint64{}}
	cmd := &cobra.Command{
		Use:     "events [TYPE/NAME ...]",
		Short:   "Print drops, resets, retransmits and failures as they happen",
		Long:    eventsLong,
		Example: eventsExample,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.complete(args); err != nil {
				return exit.With(exit.Usage, err)
			}
			return o.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.DurationVar(&o.duration, "duration", 0, "how long; 0 is until Ctrl-C")
	f.StringSliceVar(&o.kinds, "kinds", nil, "these only: "+strings.Join(wire.EventKinds(), ", ")+" (default all)")
	f.IntVar(&o.rate, "rate", 100, "how many events a second each node sends at most")
	f.StringVarP(&o.output, "output", "o", "", "json: one object a line")
	o.addTo(cmd)
	_ = cmd.RegisterFlagCompletionFunc("kinds", selecting.CompleteList(wire.EventKinds()...))
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"json"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (o *eventsOptions) complete(args []string) error {
	if err := o.completeKinds(); err != nil {
		return err
	}
	chosen := len(o.plugins) > 0
	if !chosen {
		o.plugins = eventPlugins(o.wantedKinds())
	}
	if err := o.options.complete(args); err != nil {
		return err
	}
	if chosen {
		if err := o.checkPlugins(); err != nil {
			return err
		}
	}
	switch {
	case o.duration < 0 || o.duration > maxMeasuring:
		return fmt.Errorf("--duration %s is not between 0 and %s", o.duration, maxMeasuring)
	case o.rate < 1 || o.rate > 10000:
		return fmt.Errorf("--rate %d is not between 1 and 10000", o.rate)
	case o.output != "" && o.output != "json":
		return fmt.Errorf("-o %q is not json", o.output)
	}
	return nil
}

func (o *eventsOptions) completeKinds() error {
	for i, kind := range o.kinds {
		o.kinds[i] = strings.ToLower(strings.TrimSpace(kind))
		if !slices.Contains(wire.EventKinds(), o.kinds[i]) {
			return hint.Wrap(fmt.Errorf("--kinds: there is no kind of event %q", kind), didYouMean(o.kinds[i], wire.EventKinds()))
		}
	}
	return nil
}

func (o *eventsOptions) wantedKinds() []string {
	if len(o.kinds) == 0 {
		return wire.EventKinds()
	}
	return o.kinds
}

// checkPlugins sees that the plugins of the command line have what it asks for.
func (o *eventsOptions) checkPlugins() error {
	for _, kind := range o.kinds {
		if plugin := eventPlugin(kind); !slices.Contains(o.plugins, plugin) {
			return hint.Wrap(fmt.Errorf("--kinds %s needs the plugin %s, which --plugins leaves out", kind, plugin),
				"leave --plugins out: those that are needed are started")
		}
	}
	all := eventPlugins(wire.EventKinds())
	if !slices.ContainsFunc(o.plugins, func(p string) bool { return slices.Contains(all, p) }) {
		return hint.Wrap(errors.New("--plugins: none of these has events"), "those that have: "+strings.Join(all, ", "))
	}
	return nil
}

func (o *eventsOptions) run(ctx context.Context) error {
	o.out = bufio.NewWriter(o.streams.Out)
	o.obs = newObserver(o.options, 5*time.Second)
	o.obs.live, o.obs.events, o.obs.eventKinds, o.obs.lasts, o.obs.forget = true, uint32(o.rate), o.kinds, o.duration, goneFromServe
	ended, end := context.WithCancel(ctx)
	defer end()
	o.obs.onEvent = func(n *nodeState, events *wire.Events) {
		if !o.print(n, events) {
			end() // nobody reads on
		}
	}
	o.obs.onCollector = o.begin
	err := o.obs.run(ctx, func(context.Context) error {
		o.obs.narrator.Info("watching " + o.obs.selection.String())
		o.wait(ended)
		return nil
	})
	switch {
	case err != nil:
		return err
	case errors.Is(o.err, syscall.EPIPE): // its reader has seen enough
	case o.err != nil:
		return o.err
	case ctx.Err() != nil:
		return exit.With(exit.Interrupted, exit.ErrSilent)
	}
	return nil
}

func (o *eventsOptions) wait(ctx context.Context) {
	if o.duration == 0 {
		<-ctx.Done()
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(o.duration):
	}
}
