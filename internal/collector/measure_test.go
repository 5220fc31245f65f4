//go:build linux && !unit

package collector_test

import (
	"encoding/json"
	"net/netip"
	"testing"

	"github.com/kubectl-retina/kubectl-retina/internal/vethtest"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

var allPlugins = []string{"apiserver", "dns", "dropreason", "linuxutil", "packetforward", "packetparser", "tcpretrans"}

func metricsSpec(plugins []string, targets ...wire.Target) wire.Spec {
	return wire.Spec{Version: wire.Version, RunID: "test", MaxSeconds: 60, Metrics: &wire.MetricsSpec{
		Plugins: plugins, IntervalMS: 200, TableEntries: 1024, EventsPerSecond: 100, Targets: targets,
	}}
}

// seen is what samples have said so far: of the flow of port 4002, of drops by
// target.
type seen struct {
	flow    wire.FlowSample
	dropped map[uint32]uint64
	events  []wire.Event
}

// await reads samples and events until enough says so.
func (c *conversation) await(s *seen, enough func() bool) {
	c.t.Helper()
	for !enough() {
		kind, payload, err := c.read.ReadFrame(nil)
		if err != nil {
			c.t.Fatalf("%v, after %+v", err, s)
		}
		switch kind {
		case wire.KindSample:
			var sample wire.Sample
			c.decode(payload, &sample)
			s.take(&sample)
		case wire.KindEvents:
			var events wire.Events
			c.decode(payload, &events)
			s.events = append(s.events, events.Events...)
		case wire.KindFailure, wire.KindEnd:
			c.t.Fatalf("frame %d: %s", kind, payload)
		}
	}
}

func (s *seen) take(sample *wire.Sample) {
	for _, f := range sample.Flows {
		if f.Port == 4001 { // the lower one of the two is taken for the server's
			s.flow = f
		}
	}
	for _, d := range sample.Drops {
		if closedPort(d.Reason) && d.Destination.Port() == 4009 {
			s.dropped[d.Target] = d.Packets
		}
	}
}

// closedPort reports whether a reason is that of a packet to a closed port: before
// Linux 5.17 the kernel tells none.
func closedPort(reason string) bool { return reason == "NO_SOCKET" || reason == "NOT_SPECIFIED" }

// TestMeasure counts with all plugins from go on, adds a target that comes later,
// and takes one away.
func TestMeasure(t *testing.T) {
	first, second := vethtest.NewPod(t), vethtest.NewPod(t)
	target := func(id uint32, pod *vethtest.Pod) wire.Target {
		return wire.Target{ID: id, Name: "pod a/b", PodUID: pod.UID, Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
	}
	c := converse(t)
	c.expect(wire.KindHello, nil)
	c.say(wire.KindSpec, metricsSpec(allPlugins, target(3, first)))
	var ready wire.Ready
	c.expect(wire.KindReady, &ready)
	if len(ready.Interfaces) != 1 || ready.Interfaces[0].Target != 3 {
		t.Fatalf("ready %+v", ready)
	}
	for _, u := range ready.Unsupported {
		if !u.Partial && u.Plugin != "apiserver" { // which has no address to go to
			t.Errorf("plugin %s: %s", u.Plugin, u.Cause)
		}
	}
	conn := vethtest.UDP(t, first.Netns, "192.0.2.1:4001", "192.0.2.2:4002")
	write(t, conn, 5) // not counted: before go
	c.say(wire.KindGo, nil)
	s := &seen{dropped: map[uint32]uint64{}}
	c.say(wire.KindTargets, wire.Targets{Add: []wire.Target{target(4, second), {ID: 5, Name: "pod a/gone", PodUID: vethtest.NewUID(t)}}})
	var attached wire.Attached
	c.expect(wire.KindAttached, &attached)
	if len(attached.Interfaces) != 1 || attached.Interfaces[0].Target != 4 || len(attached.Failed) != 1 || attached.Failed[0].Target != 5 {
		t.Fatalf("attached %+v", attached)
	}
	write(t, conn, 7)
	// Nobody listens on port 4009 of the second pod.
	refused := vethtest.UDP(t, second.Peer, "192.0.2.2:4008", "192.0.2.1:4009")
	sent := uint64(0)
	for range 5 {
		if _, err := refused.Write([]byte("x")); err == nil { // or it is told of the one before, and sends nothing
			sent++
		}
	}
	c.await(s, func() bool {
		return s.flow.PacketsOut >= 7 && s.dropped[4] >= sent && uint64(len(s.events)) >= sent
	})
	if s.flow.PacketsOut != 7 || s.flow.Target != 3 || s.flow.Role != wire.RoleServer {
		t.Errorf("flow %+v", s.flow)
	}
	for _, e := range s.events {
		if e.Kind != wire.EventDrop || !closedPort(e.Reason) || e.Target != 4 || e.Destination.String() != "192.0.2.1:4009" {
			t.Errorf("event %+v", e)
		}
	}
	c.say(wire.KindTargets, wire.Targets{Remove: []uint32{4}})
	c.expect(wire.KindAttached, nil)
	for range 3 {
		_, _ = refused.Write([]byte("x"))
	}
	write(t, conn, 2)
	c.say(wire.KindStop, nil)
	c.finish(s)
	if s.flow.PacketsOut != 9 || s.dropped[4] != sent {
		t.Errorf("at the end: %d packets out, want 9; %d drops of a target that was taken away, want %d", s.flow.PacketsOut, s.dropped[4], sent)
	}
	c.ended("")
}

// finish reads what is left up to the End frame.
func (c *conversation) finish(s *seen) {
	c.t.Helper()
	for {
		kind, payload, err := c.read.ReadFrame(nil)
		vethtest.Must(c.t, err)
		switch kind {
		case wire.KindSample:
			var sample wire.Sample
			c.decode(payload, &sample)
			s.take(&sample)
		case wire.KindEnd:
			var end wire.End
			c.decode(payload, &end)
			if end.Reason != wire.EndStop {
				c.t.Errorf("end %+v", end)
			}
			return
		}
	}
}

// TestUnknownPluginIsNoReasonToFail has the others measure.
func TestUnknownPluginIsNoReasonToFail(t *testing.T) {
	pod := vethtest.NewPod(t)
	c := converse(t)
	c.say(wire.KindSpec, metricsSpec([]string{"packetforward", "tea"}, wire.Target{ID: 1, Name: "pod a/b", PodUID: pod.UID}))
	var ready wire.Ready
	c.expect(wire.KindReady, &ready)
	if len(ready.Unsupported) != 1 || ready.Unsupported[0].Plugin != "tea" || len(ready.Interfaces) != 1 {
		t.Errorf("ready %+v", ready)
	}
	c.say(wire.KindGo, nil)
	c.expect(wire.KindSample, nil)
	c.say(wire.KindStop, nil)
	c.finish(&seen{})
	c.ended("")
}

func (c *conversation) decode(payload []byte, message any) {
	c.t.Helper()
	vethtest.Must(c.t, json.Unmarshal(payload, message))
}
