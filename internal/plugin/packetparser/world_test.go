//go:build linux && !unit

package packetparser

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf/btf"
	"github.com/vishvananda/netlink"

	bpf "github.com/kubectl-retina/kubectl-retina/bpf/packetparser"
	"github.com/kubectl-retina/kubectl-retina/internal/hostns"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/packetparser/flowtable"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/packetparser/tracepoint"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/scope"
	"github.com/kubectl-retina/kubectl-retina/internal/vethtest"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

const (
	protocolUDP  = 17
	protocolICMP = 1
)

// patience is for what works, on a busy machine.
const patience = 10 * time.Second

// world is a plugin that runs, and what it has told so far, as a reader keeps it.
type world struct {
	t       *testing.T
	scope   *scope.Scope
	plugin  *Plugin
	added   []scope.Interface
	flows   map[wire.FlowKey]wire.FlowSample
	latency map[uint32]wire.LatencySample
	lost    map[string]uint64
	events  []wire.Event
}

// newWorld measures pods, whose Target.ID is their place from 1 on.
func newWorld(t *testing.T, o scope.Options, pods ...*vethtest.Pod) *world {
	t.Helper()
	vethtest.NeedRoot(t)
	vethtest.NeedHook(t, o.Hook)
	if o.TableEntries == 0 {
		o.TableEntries = 1024
	}
	s, err := scope.New(o)
	vethtest.Must(t, err)
	t.Cleanup(func() { vethtest.Must(t, s.Close()) })
	var targets []wire.Target
	for i, pod := range pods {
		targets = append(targets, wire.Target{ID: uint32(i + 1), Name: fmt.Sprint("pod ", i+1), PodUID: pod.UID})
	}
	added, failed, err := s.Add(targets)
	vethtest.Must(t, err)
	if len(failed) > 0 {
		t.Fatalf("failed targets: %+v", failed)
	}
	p, err := Open(s)
	vethtest.Must(t, err)
	t.Cleanup(func() { vethtest.Must(t, p.Close()) })
	if missing := p.Missing(); len(missing) > 0 && tellsResets(t) {
		t.Fatalf("missing: %+v", missing)
	}
	vethtest.Must(t, p.Attach(added))
	vethtest.Must(t, p.Start())
	vethtest.Must(t, s.Run(true))
	return &world{t: t, scope: s, plugin: p, added: added, flows: map[wire.FlowKey]wire.FlowSample{},
		latency: map[uint32]wire.LatencySample{}, lost: map[string]uint64{}}
}

// tellsResets is whether the kernel tells of resets that no socket sends.
func tellsResets(t *testing.T) bool {
	t.Helper()
	kernel, err := btf.LoadKernelSpec()
	vethtest.Must(t, err)
	return tracepoint.Arguments(kernel, "tcp_send_reset") >= tellsWhy
}

// sample folds one more sample and returns it.
func (w *world) sample() *wire.Sample {
	w.t.Helper()
	var s wire.Sample
	vethtest.Must(w.t, w.plugin.Sample(&s))
	for _, f := range s.Flows {
		w.flows[f.FlowKey] = f
	}
	for _, l := range s.Latency {
		w.latency[l.Target] = l
	}
	for _, l := range s.Lost {
		w.lost[l.What] = l.Count
	}
	return &s
}

// eventually samples until done, or fails with everything there is.
func (w *world) eventually(what string, done func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		w.sample()
		events, err := w.scope.TakeEvents()
		vethtest.Must(w.t, err)
		w.events = append(w.events, events.Events...)
		if done() {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("no %s\nflows: %+v\nevents: %+v", what, w.flows, w.events)
		}
	}
}

// tcp returns the only TCP flow between two addresses.
func (w *world) tcp(local, remote string) wire.FlowSample {
	w.t.Helper()
	var found []wire.FlowSample
	for k, f := range w.flows {
		if k.Protocol == protocolTCP && k.Local == netip.MustParseAddr(local) && k.Remote == netip.MustParseAddr(remote) {
			found = append(found, f)
		}
	}
	if len(found) != 1 {
		w.t.Fatalf("%d TCP flows from %s to %s: %+v", len(found), local, remote, found)
	}
	return found[0]
}

func (w *world) countEvents(kind, reason string) (n int, last wire.Event) {
	for _, e := range w.events {
		if e.Kind == kind && e.Reason == reason {
			n, last = n+1, e
		}
	}
	return n, last
}

func key(target uint32, protocol uint8, local, remote string, port uint16, role string) wire.FlowKey {
	return wire.FlowKey{
		Target: target, Protocol: protocol, Port: port, Role: role,
		Local: netip.MustParseAddr(local), Remote: netip.MustParseAddr(remote),
	}
}

// listen accepts connections in ns and answers everything with itself.
func listen(t *testing.T, ns *hostns.Netns, at string) {
	t.Helper()
	var listener net.Listener
	vethtest.Must(t, ns.Do(func() (err error) {
		listener, err = net.Listen("tcp", at)
		return err
	}))
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				buffer := make([]byte, 1<<16)
				for {
					n, err := conn.Read(buffer)
					if err != nil {
						return
					}
					if _, err := conn.Write(buffer[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
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

// talk sends bytes over a connection to listen and reads them back.
func talk(t *testing.T, conn net.Conn, bytes int) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		_, err := conn.Write(make([]byte, bytes))
		done <- err
	}()
	buffer := make([]byte, 1<<16)
	for got := 0; got < bytes; {
		n, err := conn.Read(buffer)
		vethtest.Must(t, err)
		got += n
	}
	vethtest.Must(t, <-done)
}

// send sends UDP datagrams.
func send(t *testing.T, conn *net.UDPConn, datagrams, bytes int) {
	t.Helper()
	for range datagrams {
		_, err := conn.Write(make([]byte, bytes))
		vethtest.Must(t, err)
	}
}

// statistics are those of eth0 in ns.
func statistics(t *testing.T, ns *hostns.Netns) netlink.LinkStatistics {
	t.Helper()
	var link netlink.Link
	vethtest.Must(t, ns.Do(func() (err error) {
		link, err = netlink.LinkByName("eth0")
		return err
	}))
	return *link.Attrs().Statistics
}

// raw is the kernel's table.
func (w *world) raw() map[flowtable.Key]bpf.PacketparserFlow {
	w.t.Helper()
	flows := map[flowtable.Key]bpf.PacketparserFlow{}
	vethtest.Must(w.t, flowtable.Each(w.plugin.maps.Flows, make([]flowtable.Key, 64), make([]bpf.PacketparserFlow, 64),
		func(k flowtable.Key, f bpf.PacketparserFlow) { flows[k] = f }))
	return flows
}

// segmentsOut reads how many segments TCP has sent in ns, with those sent again.
func segmentsOut(t *testing.T, ns *hostns.Netns) (sum uint64) {
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
				if name == "OutSegs" || name == "RetransSegs" {
					n, err := strconv.ParseUint(fields[i], 10, 64)
					if err != nil {
						return err
					}
					sum += n
				}
			}
		}
		return nil
	}))
	return sum
}
