package metrics

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/kube"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
	"github.com/kubectl-retina/kubectl-retina/internal/oneline"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

const eventsLong = `Print a line for each thing that goes wrong, as it happens: a packet dropped, a
connection reset or not established, a segment sent again, a name that could not
be resolved.

Targets are named as for metrics snapshot. Each node sends so many events a second
at most; how many more there were is told.`

const eventsExample = `  # what goes wrong in a namespace, until Ctrl-C
  kubectl retina metrics events -n shop

  # a minute of drops and resets, for a script
  kubectl retina metrics events -n shop --duration 5s --kinds drop,reset -o json`

// eventKinds are the kinds in the order of the help.
var eventKinds = []string{wire.EventDrop, wire.EventReset, wire.EventRetransmit, wire.EventDNS, wire.EventConnect}

// eventPlugins are the plugins that have events.
var eventPlugins = []string{"dns", "dropreason", "packetparser", "tcpretrans"}

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
	f.StringSliceVar(&o.kinds, "kinds", nil, "these only: "+strings.Join(eventKinds, ", ")+" (default all)")
	f.IntVar(&o.rate, "rate", 100, "how many events a second each node sends at most")
	f.StringVarP(&o.output, "output", "o", "", "json: one object a line")
	o.addTo(cmd)
	_ = cmd.RegisterFlagCompletionFunc("kinds", cobra.FixedCompletions(eventKinds, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"json"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (o *eventsOptions) complete(args []string) error {
	if len(o.plugins) == 0 {
		o.plugins = slices.Clone(eventPlugins)
	}
	if err := o.options.complete(args); err != nil {
		return err
	}
	if !slices.ContainsFunc(o.plugins, func(p string) bool { return slices.Contains(eventPlugins, p) }) {
		return hint.Wrap(errors.New("--plugins: none of these has events"), "those that have: "+strings.Join(eventPlugins, ", "))
	}
	for i, kind := range o.kinds {
		o.kinds[i] = strings.ToLower(strings.TrimSpace(kind))
		if !slices.Contains(eventKinds, o.kinds[i]) {
			return hint.Wrap(fmt.Errorf("--kinds: there is no kind of event %q", kind), didYouMean(o.kinds[i], eventKinds))
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

func (o *eventsOptions) run(ctx context.Context) error {
	o.out = bufio.NewWriter(o.streams.Out)
	o.obs = newObserver(o.options, 5*time.Second)
	o.obs.live, o.obs.events, o.obs.lasts, o.obs.forget = true, uint32(o.rate), o.duration, goneFromServe
	ended, end := context.WithCancel(ctx)
	defer end()
	o.obs.onEvent = func(n *nodeState, events *wire.Events) {
		if !o.print(n, events) {
			end() // nobody reads on
		}
	}
	if err := o.obs.prepare(ctx); err != nil {
		o.obs.narrator.Close()
		if ctx.Err() != nil {
			return exit.With(exit.Interrupted, errors.New("interrupted before anything was seen"))
		}
		return kube.Explain(err)
	}
	err := o.obs.start(ctx)
	if err == nil {
		o.obs.narrator.Info("watching " + o.obs.selection.String())
		o.wait(ended)
	}
	o.obs.stop(ctx)
	o.obs.close(ctx)
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

// Event is what -o json prints, one a line. Fields are only added.
type Event struct {
	Time        time.Time      `json:"time"`
	Node        string         `json:"node"`
	Kind        string         `json:"kind"`
	Target      metrics.Party  `json:"target"`
	Protocol    string         `json:"protocol,omitempty"`
	Direction   string         `json:"direction,omitempty"`
	Source      *metrics.Side  `json:"source,omitempty"`
	Destination *metrics.Side  `json:"destination,omitempty"`
	From        netip.AddrPort `json:"from,omitzero"`
	To          netip.AddrPort `json:"to,omitzero"`
	Reason      string         `json:"reason,omitempty"`
	Detail      string         `json:"detail,omitempty"`
	// Suppressed is set instead of everything after Node: so many events of the node
	// were not sent since the last time.
	Suppressed uint64 `json:"suppressed,omitempty"`
}

// print prints the events of a node, and reports whether there is a reader.
func (o *eventsOptions) print(n *nodeState, events *wire.Events) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return false
	}
	for i := range events.Events {
		if e := &events.Events[i]; len(o.kinds) == 0 || slices.Contains(o.kinds, e.Kind) {
			o.line(o.event(n, e))
		}
	}
	before := o.suppressed[n.name]
	if events.Suppressed < before {
		before = 0 // another collector
	}
	o.suppressed[n.name] = events.Suppressed
	if events.Suppressed > before {
		o.line(Event{Time: o.now().UTC(), Node: n.name, Suppressed: events.Suppressed - before})
	}
	o.err = o.out.Flush()
	return o.err == nil
}

// event gives a node's event its names.
func (o *eventsOptions) event(n *nodeState, e *wire.Event) Event {
	out := Event{
		Time: time.Unix(0, e.TimeNS).UTC(), Node: n.name, Kind: oneline.Text(e.Kind), Target: n.party(e.Target),
		Direction: oneline.Text(e.Direction), Reason: oneline.Text(e.Reason), Detail: oneline.Text(e.Detail),
	}
	if e.Protocol != 0 {
		out.Protocol = metrics.ProtocolName(e.Protocol)
	}
	out.Source, out.From = o.side(e.Source)
	out.Destination, out.To = o.side(e.Destination)
	return out
}

func (o *eventsOptions) side(addr netip.AddrPort) (*metrics.Side, netip.AddrPort) {
	if !addr.IsValid() {
		return nil, netip.AddrPort{}
	}
	return &metrics.Side{Party: o.obs.directory.Party(addr.Addr()), Port: addr.Port()}, addr
}

// line prints one event; errors stay in the writer.
func (o *eventsOptions) line(e Event) {
	if o.output == "json" {
		encoded, err := json.Marshal(e)
		if err == nil {
			_, _ = o.out.Write(append(encoded, '\n'))
		}
		return
	}
	writeEvent(o.out, &e)
}

// writeEvent writes e as one line for people.
func writeEvent(w io.Writer, e *Event) {
	clock := e.Time.Local().Format("15:04:05.000")
	if e.Suppressed > 0 {
		fmt.Fprintf(w, "%s  %s  suppressed  %d more events\n", clock, e.Node, e.Suppressed)
		return
	}
	words := []string{clock, e.Node, fmt.Sprintf("%-10s", e.Kind)}
	if e.Source != nil && e.Destination != nil {
		words = append(words, fmt.Sprintf("%s -> %s", sideText(e.Source), sideText(e.Destination)))
	} else {
		words = append(words, e.Target.String())
	}
	for _, word := range []string{e.Protocol, e.Reason, e.Detail} {
		if word != "" {
			words = append(words, word)
		}
	}
	fmt.Fprintln(w, strings.Join(words, "  "))
}

// sideText is who, and the port: "shop/web-1:8080".
func sideText(s *metrics.Side) string {
	name := s.Party.String()
	if s.Port == 0 {
		return name
	}
	if strings.Contains(name, ":") { // an IPv6 address
		return net.JoinHostPort(name, fmt.Sprint(s.Port))
	}
	return fmt.Sprintf("%s:%d", name, s.Port)
}
