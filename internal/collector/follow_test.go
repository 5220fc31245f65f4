//go:build linux && !unit

package collector_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/kubectl-retina/kubectl-retina/internal/pcapfilter"
	"github.com/kubectl-retina/kubectl-retina/internal/vethtest"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// liveFilter lets packets of one object through.
func liveFilter(t *testing.T) *wire.FilterSpec {
	t.Helper()
	filter, err := pcapfilter.Parse("udp and pod a/b")
	vethtest.Must(t, err)
	spec := &wire.FilterSpec{Objects: len(filter.Objects())}
	program, err := filter.Compile(pcapfilter.Ethernet, pcapfilter.Options{LiveObjects: true})
	vethtest.Must(t, err)
	for _, in := range program {
		spec.Ethernet = append(spec.Ethernet, wire.FilterInstruction(in))
	}
	return spec
}

// A capture that follows is told of targets and addresses while it runs, and answers
// each change in order.
func TestSessionFollows(t *testing.T) {
	first, second := vethtest.NewPod(t), vethtest.NewPod(t)
	c := converse(t)
	c.expect(wire.KindHello, nil)
	s := spec(first)
	s.Packets.Follow, s.Packets.Filter = true, liveFilter(t)
	c.say(wire.KindSpec, s)
	c.expect(wire.KindReady, nil)
	c.say(wire.KindGo, nil)

	second1 := wire.Target{ID: 1, Name: "pod a/c", PodUID: second.UID}
	nobody := wire.Target{ID: 2, Name: "pod a/d", PodUID: vethtest.NewUID(t)}
	c.say(wire.KindTargets, wire.Targets{Add: []wire.Target{second1, nobody}})
	var attached, failed wire.Attached
	c.expect(wire.KindAttached, &attached)
	c.expect(wire.KindAttached, &failed)
	if len(attached.Interfaces) != 1 || attached.Interfaces[0].ID != 1 || attached.Interfaces[0].Target != 1 || attached.TimeNS == 0 {
		t.Errorf("attached %+v", attached)
	}
	if len(failed.Failed) != 1 || failed.Failed[0].Target != 2 || failed.Failed[0].Hint == "" {
		t.Errorf("failed %+v", failed)
	}

	conn := vethtest.UDP(t, second.Netns, "192.0.2.1:4001", "192.0.2.2:4002")
	write(t, conn, 5) // of nobody's address
	c.say(wire.KindAddresses, wire.Addresses{Changes: []wire.FilterAddress{{Addr: netip.MustParseAddr("192.0.2.1"), Objects: 1}}})
	packets := 0
	for packets < 20 {
		write(t, conn, 5)
		packets += c.expect(wire.KindPackets, nil)
	}

	// The pod of the beginning is removed; the other's interface vanishes.
	c.say(wire.KindTargets, wire.Targets{Remove: []uint32{0}})
	var gone wire.Gone
	packets += c.expect(wire.KindGone, &gone)
	if gone.Interface != 0 || gone.Target != 0 || gone.TimeNS == 0 {
		t.Errorf("removed: %+v", gone)
	}
	vethtest.Must(t, second.Netns.Do(func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.LinkDel(link)
	}))
	packets += c.expect(wire.KindGone, &gone)
	if gone.Interface != 1 || gone.Target != 1 {
		t.Errorf("vanished: %+v", gone)
	}

	c.say(wire.KindStop, nil)
	var end wire.End
	packets += c.expect(wire.KindEnd, &end)
	if len(end.Interfaces) != 2 || end.Interfaces[1].Captured != uint64(packets) || end.Interfaces[0].Seen != 0 {
		t.Errorf("end %+v after %d packets", end, packets)
	}
	c.ended("")
}

// What the command says wrongly ends the collector with a reason.
func TestChangesThatCannotBe(t *testing.T) {
	pod := vethtest.NewPod(t)
	for name, test := range map[string]struct {
		kind    wire.Kind
		message any
		cause   string
	}{
		"target twice":     {wire.KindTargets, wire.Targets{Add: []wire.Target{{ID: 1, PodUID: "a"}, {ID: 1, PodUID: "b"}}}, "target ID 1 is used twice"},
		"no address":       {wire.KindAddresses, wire.Addresses{Changes: []wire.FilterAddress{{Objects: 1}}}, "a filter's address is empty"},
		"no JSON":          {wire.KindTargets, "x", "read targets"},
		"another's frames": {wire.KindReady, nil, fmt.Sprintf("frame of kind %d is not for a collector", wire.KindReady)},
	} {
		t.Run(name, func(t *testing.T) {
			c := converse(t)
			c.expect(wire.KindHello, nil)
			s := spec(pod)
			s.Packets.Follow = true
			c.say(wire.KindSpec, s)
			c.expect(wire.KindReady, nil)
			c.say(wire.KindGo, nil)
			c.say(test.kind, test.message)
			c.ended(test.cause)
		})
	}
}
