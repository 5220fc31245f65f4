//go:build linux && !unit

package packetparser

import (
	"errors"
	"fmt"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/kubectl-retina/kubectl-retina/internal/plugin/scope"
	"github.com/kubectl-retina/kubectl-retina/internal/vethtest"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// A node counts at its uplink only: what a bridge hands to it is not counted on the
// bridge too.
func TestNodeCountsItsUplink(t *testing.T) {
	node := vethtest.NewPod(t)
	listen(t, node.Peer, "192.0.2.2:8080")
	vethtest.Must(t, node.Netns.Do(func() error { return bridge("br0", "198.51.100.1/24") }))
	w := newWorld(t, scope.Options{HostNetns: fmt.Sprintf("/proc/self/fd/%d", node.Netns.FD())})
	added, failed, err := w.scope.Add([]wire.Target{{ID: 9, Name: "node", Node: true}})
	vethtest.Must(t, err)
	if len(failed) > 0 {
		t.Fatalf("failed: %+v", failed)
	}
	uplinks := map[string]bool{}
	for _, i := range added {
		uplinks[i.Name] = i.Uplink
	}
	if up, there := uplinks["eth0"], len(uplinks); !up || there != 2 || uplinks["br0"] {
		t.Fatalf("interfaces, and whether they are uplinks: %v", uplinks)
	}
	vethtest.Must(t, w.plugin.Attach(added))
	if n := len(w.plugin.attached[9]); n != 1 {
		t.Errorf("attached to %d interfaces", n)
	}
	send(t, vethtest.UDP(t, node.Netns, "192.0.2.1:40001", "192.0.2.2:4002"), 10, 10)
	conn, err := dial(node.Netns, "", "192.0.2.2:8080", patience)
	vethtest.Must(t, err)
	talk(t, conn, 1000)
	vethtest.Must(t, conn.Close())
	w.sample()
	if f := w.flows[key(9, protocolUDP, "192.0.2.1", "192.0.2.2", 4002, wire.RoleClient)]; f.PacketsOut != 10 {
		t.Errorf("UDP: %+v", f)
	}
	if f := w.tcp("192.0.2.1", "192.0.2.2"); f.Target != 9 || f.Opened != 1 || f.RTT.Count == 0 {
		t.Errorf("TCP: %+v", f)
	}
}

func bridge(name, cidr string) error {
	link := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}}
	addr, err := netlink.ParseAddr(cidr)
	if err != nil {
		return err
	}
	return errors.Join(netlink.LinkAdd(link), netlink.AddrAdd(link, addr), netlink.LinkSetUp(link))
}
