package metrics

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
	"github.com/kubectl-retina/kubectl-retina/internal/oneline"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

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

// begin is for a node with a new collector, which counts from 0.
func (o *eventsOptions) begin(node string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.suppressed, node)
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
