package exposition

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// A connection between two targets is seen at both ends, and is one connection.
func TestPairsCountConnectionsOnce(t *testing.T) {
	f := newFold()
	f.SetNode("n2", "Linux 6.18", nil, nil)
	f.SetTarget("n2", 1, metrics.Party{Kind: metrics.KindPod, Namespace: "shop", Name: "db-0", Node: "n2", Addresses: []netip.Addr{addr("10.0.0.2")}})
	server := func(remote string, opened, refused uint64) wire.FlowSample {
		key := wire.FlowKey{Target: 1, Protocol: 6, Local: addr("10.0.0.2"), Remote: addr(remote), Port: 5432, Role: wire.RoleServer}
		return wire.FlowSample{FlowKey: key, Opened: opened, Refused: refused}
	}
	f.Add("n1", sample()) // 8 opened and 1 refused, by web-1 to db-0
	f.Add("n2", &wire.Sample{Flows: []wire.FlowSample{server("10.0.0.1", 8, 1), server("203.0.113.7", 3, 0)}})
	got := values(gather(t, collector(t, f, Options{Context: Remote})), "networkobservability_adv_tcp_connections_total", "result", "source_podname", "destination_podname")
	want := map[string]float64{
		"opened web-1 db-0": 8, "unanswered web-1 db-0": 0, "refused web-1 db-0": 1,
		"opened  db-0": 3, "unanswered  db-0": 0, "refused  db-0": 0,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	// Without web-1, nobody else has counted its connections.
	f.RemoveTarget("n1", 1)
	got = values(gather(t, collector(t, f, Options{Context: Remote})), "networkobservability_adv_tcp_connections_total", "result", "destination_podname")
	if got["opened db-0"] != 11 {
		t.Errorf("without the client: %v", got)
	}
}
