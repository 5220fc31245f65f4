//go:build linux && !unit

package scope

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/kubectl-retina/kubectl-retina/internal/vethtest"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// A target that cannot be noted as a whole leaves nothing behind: its packets on the
// node would count for nobody.
func TestTargetThatFindsNoRoom(t *testing.T) {
	pod := vethtest.NewPod(t)
	s, err := New(Options{TableEntries: 64})
	vethtest.Must(t, err)
	t.Cleanup(func() { vethtest.Must(t, s.Close()) })
	// Numbers of netns that no kernel gives.
	for i := uint32(1); i < s.maps.ScopeNetns.MaxEntries(); i++ {
		vethtest.Must(t, s.maps.ScopeNetns.Put(i, uint32(1)))
	}
	target := wire.Target{ID: 3, Name: "pod test/one-too-many", PodUID: pod.UID, Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
	added, failed, err := s.Add([]wire.Target{target})
	vethtest.Must(t, err)
	if len(added) != 0 || len(failed) != 1 || !strings.Contains(failed[0].Cause, "note netns") || len(s.Targets()) != 0 {
		t.Fatalf("added %+v, failed %+v; want it to fail for its netns", added, failed)
	}
	var id uint32
	if err := s.maps.ScopeAddresses.Lookup(Address(target.Addrs[0]), &id); err == nil {
		t.Errorf("its address is still noted, for target %d", id)
	}
	vethtest.Must(t, s.maps.ScopeNetns.Delete(uint32(1)))
	added, failed, err = s.Add([]wire.Target{target})
	vethtest.Must(t, err)
	if len(added) != 1 || len(failed) != 0 {
		t.Fatalf("with room for it: added %+v, failed %+v", added, failed)
	}
	vethtest.Must(t, s.maps.ScopeAddresses.Lookup(Address(target.Addrs[0]), &id))
	vethtest.Must(t, s.Remove([]uint32{3}))
	if err := s.maps.ScopeAddresses.Lookup(Address(target.Addrs[0]), &id); err == nil {
		t.Errorf("it was removed, and its address is still noted")
	}
}
