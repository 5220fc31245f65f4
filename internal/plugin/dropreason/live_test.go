//go:build linux && !unit

package dropreason

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/hostns"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/scope"
	"github.com/kubectl-retina/kubectl-retina/internal/vethtest"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

const (
	podID  = 7
	nodeID = 8
)

var (
	podV4  = netip.MustParseAddr("192.0.2.1")
	peerV4 = netip.MustParseAddr("192.0.2.2")
	podV6  = netip.MustParseAddr("2001:db8::1")
	peerV6 = netip.MustParseAddr("2001:db8::2")
)

// bench is a plugin with its targets, counting.
type bench struct {
	*Plugin
	scope *scope.Scope
	drops map[wire.DropSample]tally // as a reader folds them: without their totals
	lost  map[string]uint64
}

func podTarget(pod *vethtest.Pod) wire.Target {
	return wire.Target{ID: podID, Name: "pod test/a", PodUID: pod.UID, Addrs: []netip.Addr{podV4, podV6}}
}

func nodeTarget() wire.Target { return wire.Target{ID: nodeID, Name: "node n1", Node: true} }

// pathOf is where a netns can be opened.
func pathOf(ns *hostns.Netns) string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), ns.FD()) }

// measure starts counting for targets.
func measure(t *testing.T, s scope.Options, o options, targets ...wire.Target) *bench {
	t.Helper()
	if s.TableEntries == 0 {
		s.TableEntries = 1024
	}
	if o.bpffs == "" {
		o.bpffs = t.TempDir()
	}
	sc, err := scope.New(s)
	vethtest.Must(t, err)
	t.Cleanup(func() { vethtest.Must(t, sc.Close()) })
	added, failed, err := sc.Add(targets)
	vethtest.Must(t, err)
	if len(failed) > 0 {
		t.Fatalf("targets failed: %+v", failed)
	}
	p, err := open(sc, o)
	vethtest.Must(t, err)
	t.Cleanup(func() { vethtest.Must(t, p.Close()) })
	vethtest.Must(t, p.Attach(added))
	vethtest.Must(t, p.Start())
	vethtest.Must(t, sc.Run(true))
	return &bench{Plugin: p, scope: sc, drops: map[wire.DropSample]tally{}, lost: map[string]uint64{}}
}

// told is the reason as this kernel tells it: before Linux 5.17 it is known of
// netfilter's drops only.
func (b *bench) told(reason string) string {
	if b.reasons.arguments < 3 && reason != netfilterDropped {
		return notSpecified
	}
	return reason
}

// dropsIn is the function that drops for netfilter's function: a kernel without
// reasons has it done by one for all.
func (b *bench) dropsIn(function string) string {
	if b.reasons.arguments < 3 {
		return "nf_hook_slow"
	}
	return function
}

// function is the first of these that this kernel has: what one inlines is another
// one's.
func (b *bench) function(names ...string) string {
	for _, name := range names {
		if begin, _ := b.names.symbols.codeOf(name); begin != 0 {
			return name
		}
	}
	return ""
}

// fold takes one more sample, and fails when a total goes down or is given twice.
func (b *bench) fold(t *testing.T) {
	t.Helper()
	var s wire.Sample
	vethtest.Must(t, b.Sample(&s))
	seen := map[wire.DropSample]bool{}
	for _, d := range s.Drops {
		total := tally{Packets: d.Packets, Bytes: d.Bytes}
		d.Packets, d.Bytes = 0, 0
		if before := b.drops[d]; seen[d] || total == before || total.Packets < before.Packets {
			t.Errorf("%+v came as %+v after %+v, twice: %v", d, total, before, seen[d])
		}
		seen[d] = true
		b.drops[d] = total
	}
	for _, l := range s.Lost {
		if l.Plugin != Name || l.Count <= b.lost[l.What] {
			t.Errorf("lost %+v after %d", l, b.lost[l.What])
		}
		b.lost[l.What] = l.Count
	}
}

// match takes one more sample and returns the drops to a port.
func (b *bench) match(t *testing.T, port uint16) map[wire.DropSample]tally {
	t.Helper()
	b.fold(t)
	found := map[wire.DropSample]tally{}
	for d, total := range b.drops {
		if d.Destination.Port() == port {
			found[d] = total
		}
	}
	return found
}

// expect fails unless the only drops to want's port are n packets as in want, with
// size bytes each.
func (b *bench) expect(t *testing.T, want wire.DropSample, n, size uint64) {
	t.Helper()
	found := b.match(t, want.Destination.Port())
	if got := found[want]; len(found) != 1 || got.Packets != n || got.Bytes != n*size {
		t.Errorf("want %d packets of %d bytes as\n  %+v", n, size, want)
		b.log(t)
	}
}

func (b *bench) log(t *testing.T) {
	for d, total := range b.drops {
		t.Logf("%d packets %d bytes %+v", total.Packets, total.Bytes, d)
	}
}

// in runs a command in ns.
func in(t *testing.T, ns *hostns.Netns, command string) {
	t.Helper()
	vethtest.Must(t, ns.Do(func() error {
		args := strings.Fields(command)
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", command, err, out)
		}
		return nil
	}))
}

// send sends n UDP packets of 100 bytes from ns. What the kernel says about them
// does not matter: it tells the sender about a drop in OUTPUT.
func send(t *testing.T, ns *hostns.Netns, from, to netip.AddrPort, n int) {
	t.Helper()
	var conn net.PacketConn
	vethtest.Must(t, ns.Do(func() (err error) {
		conn, err = net.ListenPacket("udp", from.String())
		return err
	}))
	defer conn.Close()
	for range n {
		_, _ = conn.WriteTo(make([]byte, 100), net.UDPAddrFromAddrPort(to))
	}
	time.Sleep(20 * time.Millisecond) // the other side's softirq
}

const netfilterDropped = "NETFILTER_DROP"

const (
	sizeV4 = 20 + 8 + 100
	sizeV6 = 40 + 8 + 100
)
