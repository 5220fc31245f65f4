package metrics

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// The interfaces of a target add up to its row, also after its collector was another.
func TestInterfacesAddUp(t *testing.T) {
	f, _ := newTestFold(Options{})
	f.SetTarget("n1", host, Party{Kind: KindNode, Name: "n1", Node: "n1", Addresses: []netip.Addr{n1Addr}})
	for round := range uint64(2) {
		// The second collector numbers them in another order.
		eth0, net1 := uint32(10+round), uint32(11-round)
		f.SetInterfaces("n1", []wire.Interface{
			{ID: eth0, Target: web, Name: "eth0"}, {ID: net1, Target: web, Name: "net1\x1b[2J"},
			{ID: 12, Target: host, Name: "ens5", Uplink: true}, {ID: 13, Target: host, Name: "veth1"},
		})
		f.Add("n1", &wire.Sample{Traffic: []wire.TrafficSample{
			{Interface: eth0, PacketsIn: 10, PacketsOut: 1, BytesIn: 600, BytesOut: 60}, {Interface: net1, PacketsIn: 5, BytesIn: 7},
			{Interface: 12, PacketsIn: 30}, {Interface: 13, PacketsIn: 500},
		}})
		if round == 0 {
			f.Restart("n1")
		}
	}
	r := f.Report(ByPod)
	got := map[string][4]uint64{}
	sums := map[string]Interface{}
	for _, i := range r.Interfaces {
		got[i.Target.Name+" "+i.Name] = [4]uint64{i.PacketsIn, i.PacketsOut, i.BytesIn, i.BytesOut}
		sum := sums[i.Target.Name]
		sum.merge(&i)
		sums[i.Target.Name] = sum
	}
	want := map[string][4]uint64{"web-1 eth0": {20, 2, 1200, 120}, "web-1 net1[2J": {10, 0, 14, 0}, "n1 ens5": {60, 0, 0, 0}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("interfaces differ:\n%s", diff)
	}
	for i := range r.Rows {
		row := &r.Rows[i]
		if sum := sums[row.Name]; sum.PacketsIn != row.PacketsIn || sum.PacketsOut != row.PacketsOut || sum.BytesIn != row.BytesIn || sum.BytesOut != row.BytesOut {
			t.Errorf("%s: interfaces have %+v, the row %+v", row.Name, sum, row.Values)
		}
	}
}
