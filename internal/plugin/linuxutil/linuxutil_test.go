//go:build linux && !unit

package linuxutil_test

import (
	"bytes"
	"errors"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/hostns"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/linuxutil"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/scope"
	"github.com/kubectl-retina/kubectl-retina/internal/vethtest"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// world is a scope, the plugin in it, and what it has told so far.
type world struct {
	scope  *scope.Scope
	plugin *linuxutil.Plugin
	known  map[uint32]map[string]wire.StatSample // by target and group/name or group/ifname/name
	last   []wire.StatSample
}

func newWorld(t *testing.T) *world {
	t.Helper()
	vethtest.NeedRoot(t)
	s, err := scope.New(scope.Options{TableEntries: 1024})
	vethtest.Must(t, err)
	t.Cleanup(func() { s.Close() })
	p, err := linuxutil.Open(s)
	vethtest.Must(t, err)
	t.Cleanup(func() { vethtest.Must(t, p.Close()) })
	return &world{scope: s, plugin: p, known: map[uint32]map[string]wire.StatSample{}}
}

func (w *world) add(t *testing.T, target wire.Target) []scope.Interface {
	t.Helper()
	added, failed, err := w.scope.Add([]wire.Target{target})
	vethtest.Must(t, err)
	if len(failed) > 0 {
		t.Fatalf("not added: %+v", failed)
	}
	vethtest.Must(t, w.plugin.Attach(added))
	return added
}

func podTarget(id uint32, pod *vethtest.Pod) wire.Target {
	return wire.Target{ID: id, Name: "pod test/" + pod.UID, PodUID: pod.UID}
}

func (w *world) sample(t *testing.T) {
	t.Helper()
	var s wire.Sample
	vethtest.Must(t, w.plugin.Sample(&s))
	w.last = s.Stats
	for _, stat := range s.Stats {
		if w.known[stat.Target] == nil {
			w.known[stat.Target] = map[string]wire.StatSample{}
		}
		key := stat.Group + "/" + stat.Name
		if stat.Interface != "" {
			key = stat.Group + "/" + stat.Interface + "/" + stat.Name
		}
		w.known[stat.Target][key] = stat
	}
}

// expect samples and compares some numbers.
func (w *world) expect(t *testing.T, what string, want map[string]uint64) {
	t.Helper()
	w.sample(t)
	for key, value := range want {
		if got := w.known[1][key]; got.Value != value {
			t.Errorf("%s: %s is %d, want %d", what, key, got.Value, value)
		}
	}
}

func listen(t *testing.T, ns *hostns.Netns, at string) net.Listener {
	t.Helper()
	var l net.Listener
	vethtest.Must(t, ns.Do(func() (err error) {
		l, err = net.Listen("tcp", at)
		return err
	}))
	t.Cleanup(func() { l.Close() })
	return l
}

// refused waits for the answer that nobody listens. The kernel answers six times in
// a row, and then once a second.
func refused(t *testing.T, conn *net.UDPConn) {
	t.Helper()
	vethtest.Must(t, conn.SetReadDeadline(time.Now().Add(5*time.Second)))
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("a datagram to a closed port was answered by: %v", err)
	}
}

func TestCountersSinceGo(t *testing.T) {
	pod := vethtest.NewPod(t)
	in := vethtest.UDP(t, pod.Peer, "192.0.2.2:4003", "192.0.2.1:4999") // nobody listens there
	knock := func(n int) {
		for range n {
			_, err := in.Write([]byte("x"))
			vethtest.Must(t, err)
			refused(t, in)
		}
	}
	knock(2)
	w := newWorld(t)
	w.add(t, podTarget(1, pod))
	vethtest.Must(t, w.plugin.Start())
	w.expect(t, "at go", map[string]uint64{"udp/NoPorts": 0})
	knock(3)
	w.expect(t, "three datagrams to a closed port", map[string]uint64{"udp/NoPorts": 3, "ip/IcmpOutDestUnreachs": 3, "ip/IcmpOutType3": 3})
	in6 := vethtest.UDP(t, pod.Peer, "[2001:db8::2]:4003", "[2001:db8::1]:4999")
	_, err := in6.Write([]byte("x"))
	vethtest.Must(t, err)
	refused(t, in6)
	w.expect(t, "one by IPv6", map[string]uint64{"udp/NoPorts": 3, "udp/Udp6NoPorts": 1})
	var conn net.Conn
	vethtest.Must(t, pod.Netns.Do(func() (err error) {
		if conn, err = net.Dial("tcp", "192.0.2.2:81"); err == nil {
			conn.Close()
		}
		return nil
	}))
	w.expect(t, "a connection that is refused", map[string]uint64{"tcp/ActiveOpens": 1, "tcp/AttemptFails": 1})
	for _, stat := range w.known[1] {
		if !stat.Gauge && stat.Value > 1000 {
			t.Errorf("%+v: too much for this test", stat)
		}
	}
	w.sample(t) // the refused socket goes a little later
	w.sample(t)
	if len(w.last) != 0 {
		t.Errorf("nothing has happened, and it tells %+v", w.last)
	}
}

func TestSocketStates(t *testing.T) {
	pod := vethtest.NewPod(t)
	w := newWorld(t)
	w.add(t, podTarget(1, pod))
	vethtest.Must(t, w.plugin.Start())
	w.expect(t, "at first", map[string]uint64{"socket/TCP_LISTEN": 0, "socket/TCP_ESTABLISHED": 0})
	listener := listen(t, pod.Netns, "192.0.2.1:80")
	listen(t, pod.Netns, "[2001:db8::1]:80")
	w.expect(t, "two listeners", map[string]uint64{"socket/TCP_LISTEN": 2, "socket/TCP_inuse": 1, "socket/TCP6_inuse": 1})
	conn := vethtest.TCP(t, pod, "192.0.2.1:4001", "192.0.2.2:80")
	conn6 := vethtest.TCP(t, pod, "[2001:db8::1]:4001", "[2001:db8::2]:80")
	w.expect(t, "two connections", map[string]uint64{"socket/TCP_ESTABLISHED": 2, "tcp/CurrEstab": 2, "tcp/ActiveOpens": 2})
	for _, c := range []net.Conn{conn, conn6} {
		_, err := c.Write([]byte("speak"))
		vethtest.Must(t, err)
		_, err = c.Read(make([]byte, 64))
		vethtest.Must(t, err)
		c.Close()
	}
	deadline := time.Now().Add(5 * time.Second)
	for w.known[1]["socket/TCP_TIME_WAIT"].Value != 2 && time.Now().Before(deadline) {
		time.Sleep(20 * time.Millisecond)
		w.sample(t)
	}
	listener.Close()
	w.expect(t, "closed", map[string]uint64{
		"socket/TCP_ESTABLISHED": 0, "socket/TCP_TIME_WAIT": 2, "socket/TCP_LISTEN": 1, "tcp/CurrEstab": 0, "socket/TCP_tw": 2,
	})
	if s := w.known[1]["socket/TCP_ESTABLISHED"]; !s.Gauge {
		t.Errorf("%+v is no gauge", s)
	}
	for _, key := range []string{"socket/TCP_mem", "socket/TCP_alloc", "socket/UDP_mem"} {
		if s, ok := w.known[1][key]; ok {
			t.Errorf("%+v is not the pod's own", s)
		}
	}
}

func TestInterfaceStatistics(t *testing.T) {
	pod := vethtest.NewPod(t)
	w := newWorld(t)
	w.add(t, podTarget(1, pod))
	vethtest.Must(t, w.plugin.Start())
	w.expect(t, "at go", map[string]uint64{"interface/eth0/rx_dropped": 0})
	// What no protocol takes is dropped: an EtherType for experiments.
	frame := append(bytes.Repeat([]byte{0xff}, 6), 2, 0, 0, 0, 0, 1, 0x88, 0xb5)
	vethtest.SendRaw(t, pod.Peer, append(frame, make([]byte, 46)...))
	w.expect(t, "one frame for nobody", map[string]uint64{"interface/eth0/rx_dropped": 1})
	if s, ok := w.known[1]["interface/eth0/rx_packets"]; ok {
		t.Errorf("%+v is another plugin's", s)
	}
}

// A pod that began after go counts from its beginning, another one from when it is
// attached.
func TestTargetsThatComeLater(t *testing.T) {
	old := vethtest.NewPod(t)
	w := newWorld(t)
	time.Sleep(20 * time.Millisecond) // the age of a process is known to 10 ms
	vethtest.Must(t, w.plugin.Start())
	time.Sleep(20 * time.Millisecond)
	young := vethtest.NewPod(t)
	for _, pod := range []*vethtest.Pod{old, young} {
		out := vethtest.UDP(t, pod.Netns, "192.0.2.1:4001", "192.0.2.2:4002")
		for range 10 {
			_, err := out.Write([]byte("x"))
			vethtest.Must(t, err)
		}
	}
	w.add(t, podTarget(1, old))
	w.add(t, podTarget(2, young))
	w.sample(t)
	if got := w.known[1]["udp/OutDatagrams"].Value; got != 0 {
		t.Errorf("the old pod has sent nothing since, and it counts %d", got)
	}
	if got := w.known[2]["udp/OutDatagrams"].Value; got != 10 {
		t.Errorf("the young pod has sent 10 datagrams, and it counts %d", got)
	}
}

// A young pod that is no target any more and then one again, under another ID, counts
// everything once.
func TestTargetThatComesBack(t *testing.T) {
	for _, between := range []bool{false, true} {
		w := newWorld(t)
		time.Sleep(20 * time.Millisecond) // the age of a process is known to 10 ms
		vethtest.Must(t, w.plugin.Start())
		time.Sleep(20 * time.Millisecond)
		pod := vethtest.NewPod(t)
		out := vethtest.UDP(t, pod.Netns, "192.0.2.1:4001", "192.0.2.2:4002")
		send := func(n int) {
			for range n {
				_, err := out.Write([]byte("x"))
				vethtest.Must(t, err)
			}
		}
		w.add(t, podTarget(1, pod))
		send(10)
		w.plugin.Detach([]uint32{1})
		vethtest.Must(t, w.scope.Remove([]uint32{1}))
		if between {
			w.sample(t)
		}
		w.add(t, podTarget(2, pod))
		send(3)
		w.sample(t)
		first, second := w.known[1]["udp/OutDatagrams"].Value, w.known[2]["udp/OutDatagrams"].Value
		if first != 10 || second != 3 {
			t.Errorf("sample between: %v: %d datagrams and then %d, want 10 and 3", between, first, second)
		}
	}
}

func TestPodThatEnds(t *testing.T) {
	pod := vethtest.NewPod(t)
	w := newWorld(t)
	w.add(t, podTarget(1, pod))
	vethtest.Must(t, w.plugin.Start())
	out := vethtest.UDP(t, pod.Netns, "192.0.2.1:4001", "192.0.2.2:4002")
	_, err := out.Write([]byte("x"))
	vethtest.Must(t, err)
	w.plugin.Detach([]uint32{1})
	vethtest.Must(t, w.scope.Remove([]uint32{1})) // closes the netns
	w.expect(t, "the last sample", map[string]uint64{"udp/OutDatagrams": 1})
	_, err = out.Write([]byte("x"))
	vethtest.Must(t, err)
	w.sample(t)
	if len(w.last) != 0 {
		t.Errorf("after the pod has gone: %+v", w.last)
	}
}

// The node's netns: conntrack is there once, sockets of the whole machine too.
func TestNode(t *testing.T) {
	w := newWorld(t)
	added := w.add(t, wire.Target{ID: 1, Name: "node test", Node: true})
	vethtest.Must(t, w.plugin.Start())
	w.sample(t)
	known := w.known[1]
	missing := w.plugin.Missing()
	if known["conntrack/max"].Value == 0 && len(missing) == 0 {
		t.Errorf("no conntrack, and nothing is said to be missing")
	}
	if s, ok := known["conntrack/entries"]; ok {
		t.Errorf("%+v is said twice", s)
	}
	if known["socket/sockets_used"].Value == 0 || !known["socket/sockets_used"].Gauge {
		t.Errorf("the node uses no socket: %+v", known["socket/sockets_used"])
	}
	uplinks := 0
	for _, i := range added {
		if i.Uplink {
			uplinks++
		}
	}
	t.Logf("%d interfaces, %d uplinks, missing: %+v", len(added), uplinks, missing)
}
