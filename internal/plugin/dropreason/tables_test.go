//go:build linux && !unit

package dropreason

import (
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

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
