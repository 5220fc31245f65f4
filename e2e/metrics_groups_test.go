//go:build linux && !unit

package e2e

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
)

// TestMetricsOfNodesAndGroups measures pods and their nodes at once, by everything
// that there is.
func TestMetricsOfNodesAndGroups(t *testing.T) {
	s := openShop(t, "")
	client, web := s.client["n1"], s.web["n2"]
	groups := []string{"pod", "node", "workload", "namespace", "service", "flow"}
	running := map[string]measurement{}
	nodes := map[string]*linkWatch{"n1": watchNode(t, "n1"), "n2": watchNode(t, "n2")}
	pods := watchPods(t, s)
	for _, by := range groups {
		args := []string{"metrics", "snapshot", "--collector-namespace", collectorNamespace, "--duration", "3m", "-o", "json",
			"--plugins", "packetforward,packetparser", "-n", s.namespace, "--by", by, "pod/client-n1", "pod/client-n2", "pod/web-n1", "pod/web-n2"}
		if by == "pod" || by == "flow" {
			args = append(args, "node/n1", "node/n2")
		}
		running[by] = measurement{start(t, args...)}
	}
	for _, by := range groups {
		running[by].waitReady(t, 2)
	}
	then := time.Now()
	all := append([]*linkWatch{nodes["n1"], nodes["n2"]}, pods...)
	for _, w := range all {
		w.begin()
	}
	s.send(t, client, web.Status.PodIP, 400, "--size", "100")
	s.send(t, s.client["n2"], web.Status.PodIP, 50)
	for _, w := range all {
		w.end()
	}
	reports := map[string]*metrics.Report{}
	for _, by := range groups {
		reports[by] = running[by].report(t, then)
	}
	packets, bytes := datagramCounts(400, 100, web.Status.PodIP)
	for node, w := range nodes {
		w.check(t, countsOf(&rowOf(t, reports["pod"], node).Values))
	}
	wantUplinkFlows(t, reports["pod"], client, web, packets, bytes)
	wantSameSums(t, s, reports, pods)
	wantNothingLeft(t)
}

// wantUplinkFlows checks that each node has the datagrams between nodes once, and
// those that stay on it not at all.
func wantUplinkFlows(t *testing.T, r *metrics.Report, client, web *corev1.Pod, packets, bytes uint64) {
	t.Helper()
	sums := map[string]counts{}
	for _, f := range r.Flows {
		if f.Local.Kind == "node" && f.Protocol == "UDP" && f.Port == 9090 {
			sums[f.Local.Name] = sums[f.Local.Name].plus(counts{f.PacketsIn, f.PacketsOut, f.BytesIn, f.BytesOut})
		}
	}
	want := map[string]counts{"n1": {PacketsOut: packets, BytesOut: bytes}, "n2": {PacketsIn: packets, BytesIn: bytes}}
	for node, c := range want {
		if sums[node] != c {
			t.Errorf("datagrams on the uplink of %s: %+v, want %+v\n%s", node, sums[node], c, describeFlows(r))
		}
	}
}

// wantSameSums checks that the pods' numbers are what their interfaces counted,
// whatever they are grouped by. By flow they are of flows.
func wantSameSums(t *testing.T, s *shop, reports map[string]*metrics.Report, pods []*linkWatch) {
	t.Helper()
	var least, most counts
	for _, w := range pods {
		l, m := w.bounds()
		least, most = least.plus(l), most.plus(m)
	}
	for _, by := range []string{"pod", "node", "workload", "namespace", "service"} {
		var got counts
		for _, row := range reports[by].Rows {
			if by != "pod" || row.Kind == "pod" {
				got = got.plus(countsOf(&row.Values))
			}
		}
		if !got.atLeast(least) || !most.atLeast(got) {
			t.Errorf("by %s: %+v in all, interfaces counted %+v at least and %+v at most: %+v", by, got, least, most, reports[by].Rows)
		}
	}
	if rows := reports["namespace"].Rows; len(rows) != 1 || rows[0].Namespace != s.namespace || rows[0].Targets != 4 {
		t.Errorf("by namespace: %+v", rows)
	}
	if rows := reports["node"].Rows; len(rows) != 2 || rows[0].Name != "n1" || rows[0].Targets != 2 {
		t.Errorf("by node: %+v", rows)
	}
	if rows := reports["service"].Rows; len(rows) != 2 || rows[0].Service+rows[1].Service != "web" { // and those of none
		t.Errorf("by service: %+v", rows)
	}
	if rows := reports["workload"].Rows; len(rows) != 4 {
		t.Errorf("by workload: %+v", rows)
	}
	var rows, flows counts
	for _, row := range reports["flow"].Rows {
		rows = rows.plus(countsOf(&row.Values))
	}
	for _, f := range reports["flow"].Flows {
		flows = flows.plus(counts{f.PacketsIn, f.PacketsOut, f.BytesIn, f.BytesOut})
	}
	if rows != flows || flows.PacketsOut < 450 {
		t.Errorf("rows by flow have %+v, the flows %+v", rows, flows)
	}
}
