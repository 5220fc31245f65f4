//go:build linux && !unit

package linuxutil

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kubectl-retina/kubectl-retina/internal/vethtest"
)

// A veth has counters of its own; asking an interface that is not there, or one
// without counters, harms nobody.
func TestDriver(t *testing.T) {
	pod := vethtest.NewPod(t)
	read := func(ifname string) (map[string]uint64, error) {
		d, err := openDriver(pod.Netns, ifname)
		vethtest.Must(t, err)
		defer d.Close()
		var found map[string]uint64
		for range 2 { // names are asked for once
			found = map[string]uint64{}
			if err := d.read(func(name string, value uint64) { found[name] = value }); err != nil {
				return nil, err
			}
		}
		return found, nil
	}
	found, err := read("eth0")
	vethtest.Must(t, err)
	if _, ok := found["rx_queue_0_drops"]; !ok {
		t.Errorf("counters of a veth are %v, want rx_queue_0_drops among them", found)
	}
	if _, ok := found["peer_ifindex"]; ok {
		t.Error("peer_ifindex is about no trouble")
	}
	if found, err := read("lo"); len(found) > 0 || err != nil {
		t.Errorf("counters of lo are %v, %v; want none", found, err)
	}
	if _, err := read("none"); !errors.Is(err, unix.ENODEV) {
		t.Errorf("an interface that is not there: %v, want ENODEV", err)
	}
}
