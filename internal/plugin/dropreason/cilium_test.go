//go:build linux && !unit

package dropreason

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/kubectl-retina/kubectl-retina/internal/plugin/scope"
	"github.com/kubectl-retina/kubectl-retina/internal/vethtest"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

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

// TestCiliumComesLater pins counters when measuring has begun, and then others in their
// place, as agents do that start and that are replaced.
func TestCiliumComesLater(t *testing.T) {
	first, bpffs := pinCilium(t)
	vethtest.Must(t, first.Unpin())
	pod := vethtest.NewPod(t)
	b := measure(t, scope.Options{HostNetns: pathOf(pod.Peer)}, options{bpffs: bpffs}, nodeTarget())
	denied := wire.DropSample{Target: nodeID, On: onNode, Reason: "CILIUM_POLICY_DENIED", Direction: wire.DirectionIn}
	put := func(m *ebpf.Map, packets uint64) {
		perCPU := make([]tally, ebpf.MustPossibleCPU())
		perCPU[0] = tally{Packets: packets, Bytes: 100 * packets}
		vethtest.Must(t, m.Put(ciliumMetric{Reason: 133, Direction: 1}, perCPU))
	}
	want := func(packets uint64) {
		t.Helper()
		for range ciliumEvery {
			b.fold(t)
		}
		if got := b.drops[denied]; got.Packets != packets || got.Bytes != 100*packets {
			t.Errorf("Cilium's drops are %+v, want %d", got, packets)
		}
	}
	want(0)
	put(first, 3)
	vethtest.Must(t, first.Pin(filepath.Join(bpffs, ciliumMap)))
	want(3)
	second, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.PerCPUHash, KeySize: 8, ValueSize: 16, MaxEntries: 64})
	vethtest.Must(t, err)
	defer second.Close()
	vethtest.Must(t, first.Unpin())
	vethtest.Must(t, second.Pin(filepath.Join(bpffs, ciliumMap)))
	defer func() { vethtest.Must(t, second.Unpin()) }()
	put(first, 5) // the last thing that it has seen
	put(second, 4)
	want(5 + 4)
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
