//go:build linux && !unit

package packetparser

import (
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/kubectl-retina/kubectl-retina/internal/hostns"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/scope"
	"github.com/kubectl-retina/kubectl-retina/internal/vethtest"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// The higher port is the server's in half of these: the handshake tells.
func TestHandshakeTellsTheServer(t *testing.T) {
	tests := []struct {
		name     string
		from, to string
		role     string
		port     uint16
	}{
		{"client", "192.0.2.1:40000", "192.0.2.2:8080", wire.RoleClient, 8080},
		{"client of a high port", "192.0.2.1:40000", "192.0.2.2:50051", wire.RoleClient, 50051},
		{"client of the same port", "192.0.2.1:40000", "192.0.2.2:40000", wire.RoleClient, 40000},
		{"server", "[2001:db8::2]:40000", "[2001:db8::1]:8080", wire.RoleServer, 8080},
		{"server on a high port", "[2001:db8::2]:40000", "[2001:db8::1]:50051", wire.RoleServer, 50051},
	}
	for _, force := range hooks {
		for _, test := range tests {
			t.Run(force+" "+test.name, func(t *testing.T) {
				pod := vethtest.NewPod(t)
				w := newWorld(t, scope.Options{Hook: force}, pod)
				client, server := pod.Netns, pod.Peer
				if test.role == wire.RoleServer {
					client, server = server, client
				}
				listen(t, server, test.to)
				conn, err := dial(client, test.from, test.to, patience)
				vethtest.Must(t, err)
				talk(t, conn, 100)
				vethtest.Must(t, conn.Close())
				local, remote := netip.MustParseAddrPort(test.from).Addr(), netip.MustParseAddrPort(test.to).Addr()
				if test.role == wire.RoleServer {
					local, remote = remote, local
				}
				var f wire.FlowSample
				w.eventually("FIN of both sides", func() bool {
					f = w.tcp(local.String(), remote.String())
					return f.FlagsIn[wire.FlagFIN] == 1 && f.FlagsOut[wire.FlagFIN] == 1
				})
				if f.Role != test.role || f.Port != test.port || f.Opened != 1 || f.Refused+f.Unanswered != 0 {
					t.Errorf("flow: %+v", f)
				}
				syns, synacks := f.FlagsOut, f.FlagsIn
				if test.role == wire.RoleServer {
					syns, synacks = synacks, syns
				}
				if syns[wire.FlagSYN] != 1 || synacks[wire.FlagSYNACK] != 1 || synacks[wire.FlagSYN] != 0 || syns[wire.FlagSYNACK] != 0 {
					t.Errorf("flags of the client %v, of the server %v", syns, synacks)
				}
				checkConnect(t, w.latency[1].Connect, f.Connect)
				if f.RTT.Count == 0 || f.RTT.Sum == 0 {
					t.Errorf("no round trips: %+v", f.RTT)
				}
			})
		}
	}
}

// checkConnect wants one time in both, in the bucket that wire has for it.
func checkConnect(t *testing.T, h wire.Histogram, times wire.Times) {
	t.Helper()
	if times.Count != 1 || times.Sum != times.Last || times.Max != times.Last || h.Sum != times.Sum {
		t.Errorf("times %+v, histogram %+v", times, h)
	}
	if n := len(h.Buckets); n == 0 || n-1 != wire.Bucket(times.Last) || h.Buckets[n-1] != 1 {
		t.Errorf("%d µs are in the last bucket of %v", times.Last, h.Buckets)
	}
}

func TestRefused(t *testing.T) {
	pod := vethtest.NewPod(t)
	w := newWorld(t, scope.Options{EventsPerSecond: 100}, pod)
	if conn, err := dial(pod.Netns, "192.0.2.1:30000", "192.0.2.2:50099", patience); err == nil {
		conn.Close()
		t.Fatal("nobody listens there")
	}
	if conn, err := dial(pod.Peer, "[2001:db8::2]:30000", "[2001:db8::1]:50098", patience); err == nil {
		conn.Close()
		t.Fatal("nobody listens there")
	}
	wantSent := 0
	if tellsResets(t) {
		wantSent = 1
	}
	w.eventually("events of both", func() bool {
		refused, _ := w.countEvents(wire.EventConnect, reasonRefused)
		sent, _ := w.countEvents(wire.EventReset, reasonSent)
		received, _ := w.countEvents(wire.EventReset, reasonReceived)
		return refused == 2 && sent == wantSent && received == 1
	})
	f := w.tcp("192.0.2.1", "192.0.2.2")
	if f.Refused != 1 || f.Opened+f.Unanswered != 0 || f.Port != 50099 || f.Role != wire.RoleClient || f.PacketsOut != 1 || f.PacketsIn != 1 || f.FlagsIn[wire.FlagRST] != 1 {
		t.Errorf("refused to the pod: %+v", f)
	}
	f = w.tcp("2001:db8::1", "2001:db8::2")
	if f.Refused != 1 || f.Opened+f.Unanswered != 0 || f.Port != 50098 || f.Role != wire.RoleServer || f.FlagsOut[wire.FlagRST] != 1 {
		t.Errorf("refused by the pod: %+v", f)
	}
	_, e := w.countEvents(wire.EventReset, reasonReceived)
	if e.Source.String() != "192.0.2.2:50099" || e.Destination.String() != "192.0.2.1:30000" || e.Direction != wire.DirectionIn || e.Target != 1 {
		t.Errorf("reset received: %+v", e)
	}
	n, e := w.countEvents(wire.EventReset, reasonSent)
	if n > 0 && (e.Source.String() != "[2001:db8::1]:50098" || e.Destination.String() != "[2001:db8::2]:30000" || e.Direction != wire.DirectionOut) {
		t.Errorf("reset sent: %+v", e)
	}
	for _, e := range w.events {
		if e.Kind == wire.EventConnect && e.Target == 1 && e.Direction == wire.DirectionOut &&
			(e.Source.String() != "192.0.2.1:30000" || e.Destination.String() != "192.0.2.2:50099") {
			t.Errorf("connection refused: %+v", e)
		}
	}
}

// TestSocketsReset has a socket of the pod give up its connection, and then one of
// the peer.
func TestSocketsReset(t *testing.T) {
	pod := vethtest.NewPod(t)
	w := newWorld(t, scope.Options{EventsPerSecond: 100}, pod)
	listen(t, pod.Peer, "192.0.2.2:8080")
	listen(t, pod.Netns, "[2001:db8::1]:8080")
	for _, c := range []struct {
		client   *hostns.Netns
		from, to string
	}{
		{pod.Netns, "192.0.2.1:30000", "192.0.2.2:8080"},
		{pod.Peer, "[2001:db8::2]:30001", "[2001:db8::1]:8080"},
	} {
		conn, err := dial(c.client, c.from, c.to, patience)
		vethtest.Must(t, err)
		vethtest.Must(t, conn.(*net.TCPConn).SetLinger(0))
		vethtest.Must(t, conn.Close())
	}
	w.eventually("resets", func() bool {
		sent, _ := w.countEvents(wire.EventReset, reasonSent)
		received, _ := w.countEvents(wire.EventReset, reasonReceived)
		return sent == 1 && received == 1
	})
	_, sent := w.countEvents(wire.EventReset, reasonSent)
	if sent.Source.String() != "192.0.2.1:30000" || sent.Destination.String() != "192.0.2.2:8080" || sent.Direction != wire.DirectionOut || sent.Target != 1 {
		t.Errorf("reset sent: %+v", sent)
	}
	_, received := w.countEvents(wire.EventReset, reasonReceived)
	if received.Source.String() != "[2001:db8::2]:30001" || received.Destination.String() != "[2001:db8::1]:8080" || received.Direction != wire.DirectionIn || received.Target != 1 {
		t.Errorf("reset received: %+v", received)
	}
}

// TestUnansweredAndThenLate has nobody at an address for a while. The SYN is sent
// again every second, or after 1, 3 and 7 s, as the kernel has it.
func TestUnansweredAndThenLate(t *testing.T) {
	pod := vethtest.NewPod(t)
	w := newWorld(t, scope.Options{EventsPerSecond: 100}, pod)
	neighbour(t, pod, "192.0.2.99")
	began := time.Now()
	connected := make(chan error, 1)
	go func() {
		conn, err := dial(pod.Netns, "192.0.2.1:0", "192.0.2.99:8080", 9*time.Second)
		if err == nil {
			defer conn.Close()
		}
		connected <- err
	}()
	w.eventually("timeout", func() bool {
		n, _ := w.countEvents(wire.EventConnect, reasonTimeout)
		return n == 1
	})
	_, e := w.countEvents(wire.EventConnect, reasonTimeout)
	if after := time.Unix(0, e.TimeNS).Sub(began); after < 2900*time.Millisecond || after > 3500*time.Millisecond {
		t.Errorf("timeout %s after the SYN", after)
	}
	if e.Destination.String() != "192.0.2.99:8080" || e.Direction != wire.DirectionOut || e.Target != 1 || e.Detail == "" {
		t.Errorf("event: %+v", e)
	}
	if f := w.tcp("192.0.2.1", "192.0.2.99"); f.Unanswered != 1 || f.Opened != 0 || f.Port != 8080 {
		t.Errorf("unanswered: %+v", f)
	}
	vethtest.Must(t, pod.Peer.Do(func() error {
		return addAddress("192.0.2.99/32")
	}))
	listen(t, pod.Peer, "192.0.2.99:8080")
	if err := <-connected; err != nil {
		t.Fatalf("the late answer did not come: %v", err)
	}
	w.eventually("handshake", func() bool { return w.tcp("192.0.2.1", "192.0.2.99").Opened == 1 })
	f := w.tcp("192.0.2.1", "192.0.2.99")
	if f.Unanswered != 1 || f.FlagsOut[wire.FlagSYN] < 3 || f.Connect.Count != 1 || f.Connect.Last < 3_000_000 {
		t.Errorf("late: %+v", f)
	}
	if n, _ := w.countEvents(wire.EventConnect, reasonTimeout); n != 1 {
		t.Errorf("%d timeouts", n)
	}
}

// A connection from before the plugin ran has shown it no handshake.
func TestOldConnectionsKeepTheirRole(t *testing.T) {
	pod := vethtest.NewPod(t)
	listen(t, pod.Peer, "192.0.2.2:50051")
	listen(t, pod.Netns, "[2001:db8::1]:50051")
	out, err := dial(pod.Netns, "192.0.2.1:40000", "192.0.2.2:50051", patience)
	vethtest.Must(t, err)
	in, err := dial(pod.Peer, "[2001:db8::2]:40000", "[2001:db8::1]:50051", patience)
	vethtest.Must(t, err)
	w := newWorld(t, scope.Options{}, pod)
	for _, conn := range []net.Conn{out, in} {
		talk(t, conn, 1000)
		vethtest.Must(t, conn.Close())
	}
	w.sample()
	if f := w.tcp("192.0.2.1", "192.0.2.2"); f.Role != wire.RoleClient || f.Port != 50051 || f.RTT.Count == 0 || f.Opened != 0 {
		t.Errorf("as a client: %+v", f)
	}
	if f := w.tcp("2001:db8::1", "2001:db8::2"); f.Role != wire.RoleServer || f.Port != 50051 {
		t.Errorf("as a server: %+v", f)
	}
}

func TestLoopbackIsNoRoundTrip(t *testing.T) {
	pod := vethtest.NewPod(t)
	w := newWorld(t, scope.Options{}, pod)
	for _, addr := range []string{"127.0.0.1", "192.0.2.1"} {
		listen(t, pod.Netns, addr+":8080")
		conn, err := dial(pod.Netns, "", addr+":8080", patience)
		vethtest.Must(t, err)
		talk(t, conn, 1000)
		vethtest.Must(t, conn.Close())
	}
	if s := w.sample(); len(s.Latency) != 0 {
		t.Errorf("latency: %+v", s.Latency)
	}
}

func addAddress(cidr string) error {
	eth0, err := netlink.LinkByName("eth0")
	if err != nil {
		return err
	}
	addr, err := netlink.ParseAddr(cidr)
	if err != nil {
		return err
	}
	return netlink.AddrAdd(eth0, addr)
}

// neighbour makes the pod believe that its peer has an address.
func neighbour(t *testing.T, pod *vethtest.Pod, addr string) {
	t.Helper()
	mac := hardware(t, pod.Peer)
	vethtest.Must(t, pod.Netns.Do(func() error {
		eth0, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.NeighSet(&netlink.Neigh{
			LinkIndex: eth0.Attrs().Index, State: netlink.NUD_PERMANENT, Family: syscall.AF_INET,
			IP: net.ParseIP(addr), HardwareAddr: mac,
		})
	}))
}
