//go:build linux && !unit

package tcpretrans

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/kubectl-retina/kubectl-retina/internal/hostns"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/packetparser/tracepoint"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/scope"
	"github.com/kubectl-retina/kubectl-retina/internal/vethtest"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// patience is for what works, on a busy machine.
const patience = 10 * time.Second

type world struct {
	t      *testing.T
	scope  *scope.Scope
	plugin *Plugin
	pod    *vethtest.Pod
	flows  map[wire.FlowKey]wire.RetransmitSample
	lost   []wire.LostSample
	before uint64 // RetransSegs of the pod at its beginning
}

func newWorld(t *testing.T, o scope.Options) *world {
	t.Helper()
	w := &world{t: t, pod: vethtest.NewPod(t), flows: map[wire.FlowKey]wire.RetransmitSample{}}
	if o.TableEntries == 0 {
		o.TableEntries = 1024
	}
	var err error
	w.scope, err = scope.New(o)
	vethtest.Must(t, err)
	t.Cleanup(func() { vethtest.Must(t, w.scope.Close()) })
	added, failed, err := w.scope.Add([]wire.Target{{ID: 1, Name: "pod", PodUID: w.pod.UID}})
	vethtest.Must(t, err)
	if len(failed) > 0 {
		t.Fatalf("failed targets: %+v", failed)
	}
	w.plugin, err = Open(w.scope)
	vethtest.Must(t, err)
	t.Cleanup(func() { vethtest.Must(t, w.plugin.Close()) })
	vethtest.Must(t, w.plugin.Attach(added))
	vethtest.Must(t, w.plugin.Start())
	w.before = retransSegs(t, w.pod.Netns)
	vethtest.Must(t, w.scope.Run(true))
	return w
}

func (w *world) sample() *wire.Sample {
	w.t.Helper()
	var s wire.Sample
	vethtest.Must(w.t, w.plugin.Sample(&s))
	for _, r := range s.Retransmits {
		w.flows[r.FlowKey] = r
	}
	w.lost = append(w.lost, s.Lost...)
	return &s
}

// agree compares the sum of the flows with what the kernel has counted, and
// returns it.
func (w *world) agree() uint64 {
	w.t.Helper()
	var sum, kernel uint64
	for range 20 { // a segment may be sent again between the two readings
		w.sample()
		sum, kernel = 0, retransSegs(w.t, w.pod.Netns)-w.before
		for _, r := range w.flows {
			sum += r.Segments
		}
		if sum == kernel {
			return sum
		}
		time.Sleep(50 * time.Millisecond)
	}
	w.t.Errorf("%d segments, the kernel has counted %d: %+v", sum, kernel, w.flows)
	return sum
}

func key(local, remote string, port uint16, role string) wire.FlowKey {
	return wire.FlowKey{
		Target: 1, Protocol: 6, Port: port, Role: role, Local: netip.MustParseAddr(local), Remote: netip.MustParseAddr(remote),
	}
}

// retransSegs reads the kernel's counter of a netns.
func retransSegs(t *testing.T, ns *hostns.Netns) (count uint64) {
	t.Helper()
	vethtest.Must(t, ns.Do(func() error {
		text, err := os.ReadFile("/proc/thread-self/net/snmp")
		if err != nil {
			return err
		}
		var names []string
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line)
			if fields[0] != "Tcp:" {
				continue
			}
			if names == nil {
				names = fields
				continue
			}
			for i, name := range names {
				if name == "RetransSegs" {
					count, err = strconv.ParseUint(fields[i], 10, 64)
					return err
				}
			}
		}
		return errors.New("no RetransSegs")
	}))
	return count
}

// rule adds a rule of iptables(8) or ip6tables(8) in ns.
func rule(t *testing.T, ns *hostns.Netns, command string) {
	t.Helper()
	vethtest.Must(t, ns.Do(func() error {
		args := strings.Fields(command)
		out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w: %s", command, err, out)
		}
		return nil
	}))
}

// listen reads what comes in, and says how much when a connection ends.
func listen(t *testing.T, ns *hostns.Netns, at string) <-chan int {
	t.Helper()
	var listener net.Listener
	vethtest.Must(t, ns.Do(func() (err error) {
		listener, err = net.Listen("tcp", at)
		return err
	}))
	t.Cleanup(func() { listener.Close() })
	read := make(chan int, 16)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				var all bytes.Buffer
				_, _ = all.ReadFrom(conn)
				read <- all.Len()
			}()
		}
	}()
	return read
}

// dial connects in ns, from an address unless that is "".
func dial(ns *hostns.Netns, from, to string, timeout time.Duration) (conn net.Conn, err error) {
	dialer := net.Dialer{Timeout: timeout}
	if from != "" {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.MustParseAddrPort(from))
	}
	doErr := ns.Do(func() error {
		conn, err = dialer.Dial("tcp", to)
		return nil
	})
	return conn, errors.Join(err, doErr)
}

// transfer sends bytes over a new connection to a listener.
func transfer(t *testing.T, ns *hostns.Netns, from, to string, bytes int, read <-chan int) {
	t.Helper()
	conn, err := dial(ns, from, to, 20*time.Second)
	vethtest.Must(t, err)
	_, err = conn.Write(make([]byte, bytes))
	vethtest.Must(t, err)
	vethtest.Must(t, conn.Close())
	select {
	case n := <-read:
		if n != bytes {
			t.Fatalf("%d of %d bytes arrived", n, bytes)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the transfer does not end")
	}
}

// Every 30th packet is lost in the peer, and in one case some already in the pod,
// whose TCP learns of it.
func TestAgreesWithTheKernel(t *testing.T) {
	const (
		loss    = " -p tcp -m length --length 500:65535 -m statistic --mode nth --every 30 --packet 7 -j DROP"
		refusal = " -p tcp -m length --length 500:65535 -m statistic --mode random --probability 0.2 -j DROP"
	)
	tests := []struct {
		name, table string
		inPod       bool
		local, from string
		to          string
	}{
		{"IPv4", "iptables -A", false, "192.0.2.1", "192.0.2.1:0", "192.0.2.2:8080"},
		{"IPv6, a high port", "ip6tables -A", false, "2001:db8::1", "[2001:db8::1]:40000", "[2001:db8::2]:50051"},
		{"a high port, and one of the kernel's choice", "iptables -A", false, "192.0.2.1", "", "192.0.2.2:65000"},
		{"lost in the pod", "iptables -A", true, "192.0.2.1", "192.0.2.1:0", "192.0.2.2:8080"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, scope.Options{EventsPerSecond: 1000})
			if test.inPod && len(w.plugin.Missing()) > 0 {
				t.Skipf("this kernel cannot tell: %+v", w.plugin.Missing())
			}
			rule(t, w.pod.Peer, test.table+" INPUT"+loss)
			if test.inPod {
				rule(t, w.pod.Netns, test.table+" OUTPUT"+refusal)
			}
			read := listen(t, w.pod.Peer, test.to)
			transfer(t, w.pod.Netns, test.from, test.to, 20<<20, read)
			if n := w.agree(); n == 0 {
				t.Error("nothing was sent again")
			}
			to := netip.MustParseAddrPort(test.to)
			of := key(test.local, to.Addr().String(), to.Port(), wire.RoleClient)
			if len(w.flows) != 1 || w.flows[of].Segments == 0 {
				t.Errorf("flows %+v", w.flows)
			}
			events, err := w.scope.TakeEvents()
			vethtest.Must(t, err)
			for _, e := range events.Events {
				if e.Kind != wire.EventRetransmit || e.Reason != "data" || e.Destination != to || e.Direction != wire.DirectionOut || e.Target != 1 {
					t.Errorf("event %+v", e)
				}
			}
			if len(events.Events) == 0 {
				t.Error("no events")
			}
		})
	}
}

// The pod answers, from a port that is higher than the client's.
// What is sent again while the programs are busy counts by their twins.
func TestTwinsStandIn(t *testing.T) {
	w := newWorld(t, scope.Options{})
	for _, program := range w.plugin.traces {
		vethtest.Must(t, program.Close()) // as if the kernel passed over it
	}
	var err error
	w.plugin.traces = nil
	w.plugin.watch, err = tracepoint.NewWatch(w.plugin.tables.Twins)
	vethtest.Must(t, err)
	type twin struct { // of twin.bpf.h
		Busy, _ uint32
		StoodIn uint64
	}
	perCPU := make([]twin, ebpf.MustPossibleCPU())
	for i := range perCPU {
		perCPU[i].Busy = 1
	}
	for index := range w.plugin.tables.Twins.MaxEntries() {
		vethtest.Must(t, w.plugin.tables.Twins.Put(index, perCPU))
	}
	rule(t, w.pod.Peer, "iptables -A INPUT -p tcp -m length --length 500:65535 -m statistic --mode nth --every 30 --packet 7 -j DROP")
	transfer(t, w.pod.Netns, "192.0.2.1:0", "192.0.2.2:8080", 1<<20, listen(t, w.pod.Peer, "192.0.2.2:8080"))
	if sum := w.agree(); sum == 0 || len(w.lost) != 0 {
		t.Errorf("%d segments were sent again, lost %+v; want some and nothing lost", sum, w.lost)
	}
}

func TestServerSendsAgain(t *testing.T) {
	w := newWorld(t, scope.Options{})
	var listener net.Listener
	vethtest.Must(t, w.pod.Netns.Do(func() (err error) {
		listener, err = net.Listen("tcp", "192.0.2.1:50051")
		return err
	}))
	defer listener.Close()
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			_, _ = conn.Write(make([]byte, 10<<20))
			conn.Close()
		}
	}()
	rule(t, w.pod.Peer, "iptables -A INPUT -p tcp -m length --length 500:65535 -m statistic --mode nth --every 30 --packet 7 -j DROP")
	conn, err := dial(w.pod.Peer, "192.0.2.2:40000", "192.0.2.1:50051", patience)
	vethtest.Must(t, err)
	defer conn.Close()
	var all bytes.Buffer
	_, err = all.ReadFrom(conn)
	vethtest.Must(t, err)
	n := w.agree()
	of := key("192.0.2.1", "192.0.2.2", 50051, wire.RoleServer)
	if n == 0 || w.flows[of].Segments != n {
		t.Errorf("flows %+v", w.flows)
	}
}

func TestHandshakesSentAgain(t *testing.T) {
	w := newWorld(t, scope.Options{EventsPerSecond: 100})
	rule(t, w.pod.Peer, "iptables -A INPUT -p tcp --dport 8080 -j DROP")
	rule(t, w.pod.Peer, "iptables -A INPUT -p tcp --sport 50051 -j DROP")
	listen(t, w.pod.Netns, "192.0.2.1:50051")
	done := make(chan struct{}, 2)
	for _, c := range []struct {
		ns       *hostns.Netns
		from, to string
	}{{w.pod.Netns, "192.0.2.1:0", "192.0.2.2:8080"}, {w.pod.Peer, "192.0.2.2:40000", "192.0.2.1:50051"}} {
		go func() {
			if conn, err := dial(c.ns, c.from, c.to, 1500*time.Millisecond); err == nil {
				conn.Close()
				t.Error("connected in spite of the rule")
			}
			done <- struct{}{}
		}()
	}
	<-done
	<-done
	w.agree()
	if n := w.flows[key("192.0.2.1", "192.0.2.2", 8080, wire.RoleClient)].Segments; n == 0 {
		t.Errorf("no SYN: %+v", w.flows)
	}
	if n := w.flows[key("192.0.2.1", "192.0.2.2", 50051, wire.RoleServer)].Segments; n == 0 {
		t.Errorf("no SYN-ACK: %+v", w.flows)
	}
	events, err := w.scope.TakeEvents()
	vethtest.Must(t, err)
	reasons := map[string]int{}
	for _, e := range events.Events {
		reasons[e.Reason]++
	}
	if len(reasons) != 2 || reasons["SYN"] == 0 || reasons["SYN-ACK"] == 0 {
		t.Errorf("events %+v", events.Events)
	}
}

func TestEndsAndStrangers(t *testing.T) {
	w := newWorld(t, scope.Options{})
	stranger := vethtest.NewPod(t)
	rule(t, w.pod.Peer, "iptables -A INPUT -p tcp --dport 8080 -j DROP")
	rule(t, stranger.Peer, "iptables -A INPUT -p tcp --dport 8081 -j DROP")
	for ns, to := range map[*hostns.Netns]string{w.pod.Netns: "192.0.2.2:8080", stranger.Netns: "192.0.2.2:8081"} {
		if conn, err := dial(ns, "192.0.2.1:0", to, 1200*time.Millisecond); err == nil {
			conn.Close()
			t.Error("connected in spite of the rule")
		}
	}
	w.agree()
	of := key("192.0.2.1", "192.0.2.2", 8080, wire.RoleClient)
	sent := w.flows[of].Segments
	if len(w.flows) != 1 || sent == 0 {
		t.Fatalf("flows %+v", w.flows)
	}
	if s := w.sample(); len(s.Retransmits) != 0 {
		t.Errorf("unchanged, and yet sampled: %+v", s.Retransmits)
	}
	w.plugin.Detach([]uint32{1})
	vethtest.Must(t, w.scope.Remove([]uint32{1}))
	w.sample()
	if r := w.flows[of]; !r.Ended || r.Segments != sent {
		t.Errorf("after the end: %+v, %d were sent", r, sent)
	}
}

func TestFullTable(t *testing.T) {
	w := newWorld(t, scope.Options{TableEntries: wire.MinTableEntries})
	rule(t, w.pod.Peer, "iptables -A INPUT -p tcp -j DROP")
	const ports = wire.MinTableEntries + 10
	var dials sync.WaitGroup
	for port := range ports {
		dials.Go(func() {
			if conn, err := dial(w.pod.Netns, "", fmt.Sprint("192.0.2.2:", 8000+port), 1200*time.Millisecond); err == nil {
				conn.Close()
				t.Error("connected in spite of the rule")
			}
		})
	}
	dials.Wait()
	w.sample()
	var sum uint64
	for _, r := range w.flows {
		sum += r.Segments
	}
	kernel := retransSegs(t, w.pod.Netns) - w.before
	if len(w.flows) != wire.MinTableEntries || len(w.lost) == 0 || w.lost[0].What != lostFull || sum+w.lost[0].Count != kernel {
		t.Errorf("%d flows with %d segments, lost %+v, the kernel has counted %d", len(w.flows), sum, w.lost, kernel)
	}
}
