//go:build linux && !unit

package packetforward_test

import (
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/kubectl-retina/kubectl-retina/internal/hostns"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/packetforward"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/scope"
	"github.com/kubectl-retina/kubectl-retina/internal/vethtest"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// world is a scope and the plugin in it.
type world struct {
	scope  *scope.Scope
	plugin *packetforward.Plugin
}

func newWorld(t *testing.T) *world {
	t.Helper()
	vethtest.NeedRoot(t)
	s, err := scope.New(scope.Options{TableEntries: 1024})
	vethtest.Must(t, err)
	t.Cleanup(func() { s.Close() })
	p, err := packetforward.Open(s)
	vethtest.Must(t, err)
	t.Cleanup(func() { vethtest.Must(t, p.Close()) })
	return &world{s, p}
}

// add makes a pod a target and returns its interfaces.
func (w *world) add(t *testing.T, id uint32, pod *vethtest.Pod) []scope.Interface {
	t.Helper()
	added, failed, err := w.scope.Add([]wire.Target{{ID: id, Name: "pod test/" + pod.UID, PodUID: pod.UID}})
	vethtest.Must(t, err)
	if len(failed) > 0 {
		t.Fatalf("not added: %+v", failed)
	}
	vethtest.Must(t, w.plugin.Attach(added))
	return added
}

func (w *world) sample(t *testing.T) []wire.TrafficSample {
	t.Helper()
	var s wire.Sample
	vethtest.Must(t, w.plugin.Sample(&s))
	return s.Traffic
}

// quiet makes neither end of the pod's pair send anything of its own: no neighbour
// is asked for, no router looked for, no group joined.
func quiet(t *testing.T, pod *vethtest.Pod) {
	t.Helper()
	for _, side := range []struct{ at, other *hostns.Netns }{{pod.Netns, pod.Peer}, {pod.Peer, pod.Netns}} {
		var mac net.HardwareAddr
		vethtest.Must(t, side.other.Do(func() error {
			eth0, err := net.InterfaceByName("eth0")
			if err == nil {
				mac = eth0.HardwareAddr
			}
			return err
		}))
		vethtest.Must(t, side.at.Do(func() error {
			eth0, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			for _, addr := range []string{"192.0.2.1", "192.0.2.2"} {
				err := netlink.NeighSet(&netlink.Neigh{LinkIndex: eth0.Attrs().Index, IP: net.ParseIP(addr), HardwareAddr: mac, State: netlink.NUD_PERMANENT})
				if err != nil {
					return err
				}
			}
			return os.WriteFile("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", []byte("1"), 0o600)
		}))
	}
}

func send(t *testing.T, conn *net.UDPConn, n, size int) {
	t.Helper()
	for range n {
		_, err := conn.Write(make([]byte, size))
		vethtest.Must(t, err)
	}
}

const headers = 14 + 20 + 8 // Ethernet, IPv4, UDP

func TestCountsExactly(t *testing.T) {
	pod := vethtest.NewPod(t)
	out := vethtest.UDP(t, pod.Netns, "192.0.2.1:4001", "192.0.2.2:4002")
	vethtest.Swallow(t, pod.Netns, "192.0.2.1:4004")
	in := vethtest.UDP(t, pod.Peer, "192.0.2.2:4003", "192.0.2.1:4004")
	quiet(t, pod)
	w := newWorld(t)
	eth0 := w.add(t, 5, pod)[0].ID
	send(t, out, 3, 10) // before go
	if got := w.sample(t); len(got) != 0 {
		t.Errorf("before go: %+v", got)
	}
	vethtest.Must(t, w.plugin.Start())
	send(t, out, 100, 58)
	send(t, in, 7, 1000)
	want := wire.TrafficSample{Interface: eth0, PacketsOut: 100, BytesOut: 100 * (58 + headers), PacketsIn: 7, BytesIn: 7 * (1000 + headers)}
	if got := w.sample(t); !slices.Equal(got, []wire.TrafficSample{want}) {
		t.Errorf("counted %+v, want %+v", got, want)
	}
	if got := w.sample(t); len(got) != 0 {
		t.Errorf("nothing was sent, and it counts %+v", got)
	}
	send(t, out, 1, 1)
	want.PacketsOut++
	want.BytesOut += 1 + headers
	if got := w.sample(t); !slices.Equal(got, []wire.TrafficSample{want}) {
		t.Errorf("one more: %+v, want %+v", got, want)
	}
}

// A pod that is older than go counts from when it is attached, a younger one
// from its first packet.
func TestTargetsThatComeLater(t *testing.T) {
	old := vethtest.NewPod(t)
	quiet(t, old)
	w := newWorld(t)
	time.Sleep(20 * time.Millisecond) // the age of a process is known to 10 ms
	vethtest.Must(t, w.plugin.Start())
	time.Sleep(20 * time.Millisecond)
	young := vethtest.NewPod(t)
	quiet(t, young)
	for _, pod := range []*vethtest.Pod{old, young} {
		send(t, vethtest.UDP(t, pod.Netns, "192.0.2.1:4001", "192.0.2.2:4002"), 1000, 58)
	}
	oldEth0, youngEth0 := w.add(t, 1, old)[0].ID, w.add(t, 2, young)[0].ID
	for _, pod := range []*vethtest.Pod{old, young} {
		send(t, vethtest.UDP(t, pod.Netns, "192.0.2.1:4011", "192.0.2.2:4002"), 1, 58)
	}
	counted := map[uint32]wire.TrafficSample{}
	for _, s := range w.sample(t) {
		counted[s.Interface] = s
	}
	if got := counted[oldEth0]; got.PacketsOut != 1 {
		t.Errorf("the old pod has sent 1 packet since, and it counts %+v", got)
	}
	// Its kernel has said something of its own, too, before it was made quiet.
	if got := counted[youngEth0]; got.PacketsOut < 1001 || got.PacketsOut > 1050 {
		t.Errorf("the young pod has sent 1001 packets and a few, and it counts %+v", got)
	}
}

// A young pod that is no target any more and then one again, under another ID, counts
// each packet once, whether a sample comes between or not.
func TestTargetThatComesBack(t *testing.T) {
	for _, between := range []bool{false, true} {
		w := newWorld(t)
		time.Sleep(20 * time.Millisecond) // the age of a process is known to 10 ms
		vethtest.Must(t, w.plugin.Start())
		time.Sleep(20 * time.Millisecond)
		pod := vethtest.NewPod(t)
		quiet(t, pod)
		out := vethtest.UDP(t, pod.Netns, "192.0.2.1:4001", "192.0.2.2:4002")
		first := w.add(t, 1, pod)[0].ID
		send(t, out, 1000, 58)
		w.plugin.Detach([]uint32{1})
		vethtest.Must(t, w.scope.Remove([]uint32{1}))
		counted := map[uint32]uint64{}
		sample := func() {
			for _, s := range w.sample(t) {
				counted[s.Interface] = s.PacketsOut
			}
		}
		if between {
			sample()
		}
		second := w.add(t, 2, pod)[0].ID
		send(t, out, 3, 58)
		sample()
		// Its kernel has said something of its own, too, before it was made quiet.
		if counted[first] < 1000 || counted[first] > 1050 || counted[second] != 3 {
			t.Errorf("sample between: %v: %d packets and then %d, want 1000 and a few, and then 3", between, counted[first], counted[second])
		}
	}
}

func TestPodThatEnds(t *testing.T) {
	pod := vethtest.NewPod(t)
	quiet(t, pod)
	other := vethtest.NewPod(t)
	quiet(t, other)
	w := newWorld(t)
	eth0 := w.add(t, 1, pod)[0].ID
	otherEth0 := w.add(t, 2, other)[0].ID
	vethtest.Must(t, w.plugin.Start())
	send(t, vethtest.UDP(t, pod.Netns, "192.0.2.1:4001", "192.0.2.2:4002"), 5, 58)
	w.plugin.Detach([]uint32{1})
	vethtest.Must(t, w.scope.Remove([]uint32{1})) // closes the netns
	if got := w.sample(t); len(got) != 1 || got[0].Interface != eth0 || got[0].PacketsOut != 5 {
		t.Errorf("the last sample of the pod is %+v, want 5 packets out", got)
	}
	send(t, vethtest.UDP(t, pod.Netns, "192.0.2.1:4011", "192.0.2.2:4002"), 5, 58)
	send(t, vethtest.UDP(t, other.Netns, "192.0.2.1:4001", "192.0.2.2:4002"), 2, 58)
	if got := w.sample(t); len(got) != 1 || got[0].Interface != otherEth0 || got[0].PacketsOut != 2 {
		t.Errorf("after the pod has gone: %+v, want the other one's 2 packets", got)
	}
}

// An interface that is deleted while its pod runs keeps its numbers.
func TestInterfaceThatVanishes(t *testing.T) {
	pod := vethtest.NewPod(t)
	quiet(t, pod)
	w := newWorld(t)
	eth0 := w.add(t, 1, pod)[0].ID
	vethtest.Must(t, w.plugin.Start())
	send(t, vethtest.UDP(t, pod.Netns, "192.0.2.1:4001", "192.0.2.2:4002"), 5, 58)
	if got := w.sample(t); len(got) != 1 || got[0].PacketsOut != 5 {
		t.Fatalf("counted %+v, want 5 packets out", got)
	}
	vethtest.Must(t, pod.Netns.Do(func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.LinkDel(link)
	}))
	if got := w.sample(t); len(got) != 0 {
		t.Errorf("interface %d has vanished, and it counts %+v", eth0, got)
	}
}
