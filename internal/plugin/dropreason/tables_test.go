//go:build linux && !unit

package dropreason

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/kubectl-retina/kubectl-retina/internal/plugin/scope"
	"github.com/kubectl-retina/kubectl-retina/internal/vethtest"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// expectAgain is expect without a new sample.
func (b *bench) expectAgain(t *testing.T, want wire.DropSample, n, size uint64) {
	t.Helper()
	if got := b.drops[want]; got.Packets != n || got.Bytes != n*size {
		t.Errorf("want %d packets of %d bytes as\n  %+v", n, size, want)
		b.log(t)
	}
}

// udpCounter is one of the kernel's own counters of IPv4's UDP in the pod.
func udpCounter(t *testing.T, pod *vethtest.Pod, counter string) (count uint64) {
	t.Helper()
	vethtest.Must(t, pod.Netns.Do(func() error {
		raw, err := os.ReadFile("/proc/thread-self/net/snmp")
		if err != nil {
			return err
		}
		var names []string
		for line := range strings.Lines(string(raw)) {
			fields := strings.Fields(line)
			if fields[0] != "Udp:" {
				continue
			}
			if names == nil {
				names = fields
				continue
			}
			for i, name := range names {
				if name == counter {
					count, err = strconv.ParseUint(fields[i], 10, 64)
				}
			}
		}
		return err
	}))
	return count
}

// spray sends one packet to each of n closed ports of the pod.
func spray(t *testing.T, pod *vethtest.Pod, from uint16, n int) {
	t.Helper()
	var conn net.PacketConn
	vethtest.Must(t, pod.Peer.Do(func() (err error) {
		conn, err = net.ListenPacket("udp", netip.AddrPortFrom(peerV4, from).String())
		return err
	}))
	defer conn.Close()
	for i := range n {
		_, err := conn.WriteTo(make([]byte, 100), net.UDPAddrFromAddrPort(netip.AddrPortFrom(podV4, uint16(10000+i))))
		vethtest.Must(t, err)
	}
	time.Sleep(20 * time.Millisecond)
}

// noSocket sums up the drops at closed ports: with addresses, and without.
func (b *bench) noSocket() (with, without tally) {
	for d, total := range b.drops {
		if d.Reason != b.told("NO_SOCKET") {
			continue
		}
		sum := &with
		if !d.Source.IsValid() {
			sum = &without
		}
		sum.Packets += total.Packets
		sum.Bytes += total.Bytes
	}
	return with, without
}

const lostAddresses = "drops: table full, counted without addresses"

func TestTotalsAreExactWhenTheTableIsFull(t *testing.T) {
	pod := vethtest.NewPod(t)
	b := measure(t, scope.Options{TableEntries: 64}, options{}, podTarget(pod))
	const sent = 300
	spray(t, pod, 6000, sent)
	b.fold(t)
	with, without := b.noSocket()
	if with.Packets+without.Packets != sent || with.Bytes+without.Bytes != sent*sizeV4 || with.Packets > 64 || with.Packets < 50 {
		t.Errorf("%+v with and %+v without addresses of %d", with, without, sent)
	}
	if lost := b.lost[lostAddresses]; lost < without.Packets || lost > without.Packets+10 {
		t.Errorf("lost %+v, %d without addresses", b.lost, without.Packets)
	}
}

// TestTheTableIsEmptied sends more tuples than the kernel's table holds, but not at
// once, and then more than are kept at all.
func TestTheTableIsEmptied(t *testing.T) {
	pod := vethtest.NewPod(t)
	b := measure(t, scope.Options{TableEntries: 64}, options{}, podTarget(pod))
	now := time.Now()
	b.table.now = func() time.Time { return now }
	sent := uint64(0)
	const ports = 40
	rounds := func(first, n int) {
		for i := range n {
			spray(t, pod, uint16(6000+first+i), ports)
			sent += ports
			b.fold(t)
			now = now.Add(settle) // else the old table is not emptied
			with, without := b.noSocket()
			if with.Packets+without.Packets != sent || with.Bytes+without.Bytes != sent*sizeV4 {
				t.Fatalf("%+v with and %+v without addresses of %d", with, without, sent)
			}
			if lost := b.lost[lostAddresses]; lost < without.Packets || lost > without.Packets+10 { // ARP, neighbour discovery
				t.Fatalf("lost %+v, %d without addresses", b.lost, without.Packets)
			}
		}
	}
	rounds(0, 6)
	if with, _ := b.noSocket(); with.Packets != sent {
		t.Errorf("%d of %d have addresses", with.Packets, sent)
	}
	rounds(6, 4) // more than there may be rows
	if len(b.table.rows) > b.table.limit()+4 || !b.table.full {
		t.Errorf("%d rows, full: %v", len(b.table.rows), b.table.full)
	}
	rounds(0, 10) // known ones, and others that are not
	if with, _ := b.noSocket(); with.Packets < 2*6*ports || with.Packets == sent {
		t.Errorf("%d of %d have addresses", with.Packets, sent)
	}
}

// TestTotalsAreTheKernels drops on all CPUs while tables are flipped and emptied.
func TestTotalsAreTheKernels(t *testing.T) {
	pod := vethtest.NewPod(t)
	b := measure(t, scope.Options{TableEntries: 64}, options{}, podTarget(pod))
	var senders sync.WaitGroup
	for i := range 4 {
		senders.Go(func() {
			for round := range 15 {
				spray(t, pod, uint16(6000+10*round+i), 200)
			}
		})
	}
	done := make(chan struct{})
	go func() { senders.Wait(); close(done) }()
	for running := true; running; {
		select {
		case <-done:
			running = false
		case <-time.After(20 * time.Millisecond):
		}
		b.fold(t)
	}
	with, without := b.noSocket()
	counted, want := with.Packets+without.Packets, udpCounter(t, pod, "NoPorts")
	if missed := b.lost["drops, in any netns: more than two at once on a CPU, one may be missing"]; want != 4*15*200 || counted != want || missed != 0 {
		t.Errorf("%d counted, %d perhaps not, want %d", counted, missed, want)
	}
	if b.table.flips < 3 {
		t.Errorf("%d flips: nothing was emptied meanwhile", b.table.flips)
	}
	stats, err := b.programs[0].Stats()
	vethtest.Must(t, err)
	t.Logf("%d with and %d without addresses, %d flips, the twin stood in %d times", with.Packets, without.Packets, b.table.flips, stats.RecursionMisses)
}

func TestDetachForgetsATarget(t *testing.T) {
	pod := vethtest.NewPod(t)
	b := measure(t, scope.Options{}, options{}, podTarget(pod))
	spray(t, pod, 6000, 5)
	b.Detach([]uint32{podID})
	vethtest.Must(t, b.scope.Remove([]uint32{podID}))
	b.fold(t)
	if with, _ := b.noSocket(); with.Packets != 5 {
		t.Errorf("the last sample has %+v, want 5", with)
	}
	if len(b.table.rows) != 0 {
		t.Errorf("%d rows are left", len(b.table.rows))
	}
	spray(t, pod, 6000, 5)
	var s wire.Sample
	vethtest.Must(t, b.Sample(&s))
	if len(s.Drops) > 0 {
		t.Errorf("drops of a target that is gone: %+v", s.Drops)
	}
}

// pinCilium pins a map as Cilium's in a BPF file system of the test's own.
func pinCilium(t *testing.T) (*ebpf.Map, string) {
	t.Helper()
	dir := t.TempDir()
	vethtest.Must(t, unix.Mount("bpf", dir, "bpf", 0, ""))
	t.Cleanup(func() { vethtest.Must(t, unix.Unmount(dir, 0)) })
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.PerCPUHash, KeySize: 8, ValueSize: 16, MaxEntries: 64})
	vethtest.Must(t, err)
	t.Cleanup(func() { m.Close() })
	vethtest.Must(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(ciliumMap)), 0o700))
	vethtest.Must(t, m.Pin(filepath.Join(dir, ciliumMap)))
	t.Cleanup(func() { vethtest.Must(t, m.Unpin()) })
	return m, dir
}

func TestCiliumsDropsAreTheNodes(t *testing.T) {
	m, bpffs := pinCilium(t)
	put := func(reason, direction uint8, line uint8, counts ...tally) {
		perCPU := make([]tally, ebpf.MustPossibleCPU())
		for i, count := range counts {
			of := &perCPU[i%len(perCPU)] // there may be only one
			of.Packets += count.Packets
			of.Bytes += count.Bytes
		}
		vethtest.Must(t, m.Put(ciliumMetric{Reason: reason, Direction: direction, Line: [6]uint8{line}}, perCPU))
	}
	put(133, 1, 1, tally{Packets: 100, Bytes: 10000}) // before go
	put(0, 2, 1, tally{Packets: 7, Bytes: 700})

	pod := vethtest.NewPod(t)
	b := measure(t, scope.Options{HostNetns: pathOf(pod.Peer)}, options{bpffs: bpffs}, nodeTarget())
	if missing := ofCilium(b); len(missing) > 0 {
		t.Errorf("missing %+v", missing)
	}
	put(133, 1, 1, tally{Packets: 104, Bytes: 10400}, tally{Packets: 1, Bytes: 60})
	put(133, 1, 2, tally{Packets: 2, Bytes: 120}) // the same reason at another line
	put(203, 2, 1, tally{Packets: 3, Bytes: 300})
	put(255, 0, 1, tally{Packets: 1, Bytes: 10})
	put(0, 2, 1, tally{Packets: 70, Bytes: 7000}) // forwarded
	b.fold(t)
	drop := wire.DropSample{Target: nodeID, On: onNode}
	denied, notReady, unknown := drop, drop, drop
	denied.Reason, denied.Direction = "CILIUM_POLICY_DENIED", wire.DirectionIn
	notReady.Reason, notReady.Direction = "CILIUM_DROP_EP_NOT_READY", wire.DirectionOut
	unknown.Reason = "CILIUM_255"
	for want, total := range map[wire.DropSample]tally{denied: {Packets: 7, Bytes: 580}, notReady: {Packets: 3, Bytes: 300}, unknown: {Packets: 1, Bytes: 10}} {
		if got := b.drops[want]; got != total {
			t.Errorf("%+v is %+v, want %+v", want, got, total)
		}
	}
	put(133, 1, 1, tally{Packets: 4, Bytes: 400}) // Cilium has begun anew
	vethtest.Must(t, m.Delete(ciliumMetric{Reason: 133, Direction: 1, Line: [6]uint8{2}}))
	b.fold(t)
	if got := b.drops[denied]; got.Packets != 7+4 {
		t.Errorf("after a restart of Cilium: %+v", got)
	}
}

func TestCiliumWithoutTheNode(t *testing.T) {
	_, bpffs := pinCilium(t)
	pod := vethtest.NewPod(t)
	b := measure(t, scope.Options{}, options{bpffs: bpffs}, podTarget(pod))
	missing := ofCilium(b)
	if len(missing) != 1 || !missing[0].Partial || missing[0].Plugin != Name || missing[0].Hint == "" {
		t.Errorf("missing %+v", b.Missing())
	}
}

// ofCilium is what is missing of Cilium's drops: kernels lack other things.
func ofCilium(b *bench) []wire.PluginError {
	return slices.DeleteFunc(b.Missing(), func(e wire.PluginError) bool { return !strings.Contains(e.Cause, "Cilium") })
}

func TestAnotherMapIsNotCiliums(t *testing.T) {
	dir := t.TempDir()
	vethtest.Must(t, unix.Mount("bpf", dir, "bpf", 0, ""))
	t.Cleanup(func() { vethtest.Must(t, unix.Unmount(dir, 0)) })
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	vethtest.Must(t, err)
	defer m.Close()
	vethtest.Must(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(ciliumMap)), 0o700))
	vethtest.Must(t, m.Pin(filepath.Join(dir, ciliumMap)))
	if c, err := openCilium(dir); c != nil || err == nil {
		t.Errorf("opened %v, %v", c, err)
	}
}
