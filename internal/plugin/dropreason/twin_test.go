//go:build linux && !unit

package dropreason

import (
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"

	bpf "github.com/kubectl-retina/kubectl-retina/bpf/dropreason"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/scope"
	"github.com/kubectl-retina/kubectl-retina/internal/vethtest"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// setBusy says on all CPUs that the program runs, as in the middle of counting another
// drop, or that it does not.
func setBusy(t *testing.T, m *ebpf.Map, busy uint32) {
	t.Helper()
	perCPU := make([]bpf.DropreasonTwin, ebpf.MustPossibleCPU())
	for i := range perCPU {
		perCPU[i].Busy = busy
	}
	vethtest.Must(t, m.Put(uint32(0), perCPU))
}

// What comes while the program is busy counts by its twin, and only then.
func TestTwinStandsIn(t *testing.T) {
	for _, raw := range []bool{false, true} {
		pod := vethtest.NewPod(t)
		b := measure(t, scope.Options{}, options{raw: raw}, podTarget(pod))
		vethtest.Must(t, b.links[0].Close()) // as if the kernel passed over it
		want := wire.DropSample{
			Target: podID, Reason: b.told("NO_SOCKET"), Function: b.function("__udp4_lib_rcv", "udp_rcv"), Direction: wire.DirectionIn, On: onPod, Protocol: protocolUDP,
			Source: netip.AddrPortFrom(peerV4, 6000), Destination: netip.AddrPortFrom(podV4, 6001),
		}
		send(t, pod.Peer, want.Source, want.Destination, 5)
		setBusy(t, b.maps.Twins, 1)
		send(t, pod.Peer, want.Source, want.Destination, 4)
		setBusy(t, b.maps.Twins, 0)
		send(t, pod.Peer, want.Source, want.Destination, 6)
		b.expect(t, want, 4, sizeV4)
		if len(b.lost) != 0 {
			t.Errorf("lost %v", b.lost)
		}
	}
}
