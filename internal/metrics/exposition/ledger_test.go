package exposition

import (
	"testing"

	dto "github.com/prometheus/client_model/go"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// A pod that is gone takes its series with it, and nothing off its node's sums.
func TestPodsCome(t *testing.T) {
	f := newFold()
	c := collector(t, f, Options{})
	f.Add("n1", sample())
	gather(t, c)
	f.SetTarget("n1", 3, podParty("web-2", "10.0.0.3"))
	f.Add("n1", &wire.Sample{Drops: []wire.DropSample{{Target: 3, Reason: "NETFILTER_DROP", Hook: "INPUT", Direction: wire.DirectionIn, Packets: 2}}})
	both := gather(t, c)
	if got := values(both, "networkobservability_adv_drop_count_total", "podname"); got["web-1"] != 3 || got["web-2"] != 2 {
		t.Errorf("drops of pods are %v", got)
	}
	if got := values(both, "networkobservability_drop_count_total", "reason"); got["NETFILTER_DROP"] != 5 {
		t.Errorf("drops of the node are %v", got)
	}
	f.EndTarget("n1", 1)
	f.Forget(0)
	f.Add("n1", &wire.Sample{Drops: []wire.DropSample{{Target: 3, Reason: "NETFILTER_DROP", Hook: "INPUT", Direction: wire.DirectionIn, Packets: 4}}})
	for range 2 {
		rest := gather(t, c)
		if got := values(rest, "networkobservability_adv_drop_count_total", "podname"); len(got) != 1 || got["web-2"] != 4 {
			t.Errorf("drops of pods are %v", got)
		}
		if got := values(rest, "networkobservability_drop_count_total", "reason"); got["NETFILTER_DROP"] != 7 {
			t.Errorf("drops of the node are %v, want 3 of web-1, which is gone, and 4", got)
		}
		if got := values(rest, "networkobservability_dns_request_count_total", "node"); got["n1"] != 10 {
			t.Errorf("queries of the node are %v", got)
		}
		if got := values(rest, "networkobservability_pods", "node"); got["n1"] != 1 || got["n2"] != 0 {
			t.Errorf("pods are %v", got)
		}
		for _, family := range rest {
			for _, m := range family.Metric {
				for _, l := range m.Label {
					if l.GetValue() == "web-1" {
						t.Errorf("%s of a pod that is gone is served", family.GetName())
					}
				}
			}
		}
	}
	if len(c.ledger) > 200 {
		t.Errorf("%d balances are kept", len(c.ledger))
	}
}

// A pod that is there again under its name: the older one's numbers are forgotten,
// and the counter goes on.
func TestSameNameAgain(t *testing.T) {
	f := newFold()
	c := collector(t, f, Options{})
	drop := func(target uint32, n uint64) {
		f.Add("n1", &wire.Sample{Drops: []wire.DropSample{{Target: target, Reason: "X", Packets: n}}})
	}
	want := func(n float64, ip string) {
		t.Helper()
		if got := values(gather(t, c), "networkobservability_adv_drop_count_total", "podname", "ip"); len(got) != 1 || got["web-1 "+ip] != n {
			t.Errorf("drops are %v, want %v of %s", got, n, ip)
		}
	}
	drop(1, 100)
	want(100, "10.0.0.1")
	f.EndTarget("n1", 1)
	f.SetTarget("n1", 7, podParty("web-1", "10.0.0.9"))
	drop(7, 5)
	want(105, "10.0.0.9")
	f.Forget(0)
	want(105, "10.0.0.9")
	drop(7, 6)
	want(106, "10.0.0.9")
}

// A histogram is a counter in each of its buckets: a pod that takes another's place
// goes on with what the other had measured, and a rate never sees a fall.
func TestHistogramsNeverFall(t *testing.T) {
	f := newFold()
	c := collector(t, f, Options{})
	times := func(target uint32, buckets ...uint64) {
		h := wire.Histogram{Buckets: buckets}
		for i, n := range buckets {
			h.Sum += n * wire.BucketMin(i)
		}
		f.Add("n1", &wire.Sample{Latency: []wire.LatencySample{{Target: target, RTT: h}}})
	}
	want := func(count uint64, sum float64, below64 uint64) {
		t.Helper()
		h := histogram(gather(t, c), "networkobservability_adv_tcp_rtt_seconds")
		if h.GetSampleCount() != count || h.GetSampleSum() != sum/1e6 || h.Bucket[0].GetCumulativeCount() != below64 {
			t.Errorf("%d times, %v s, %d below 64 µs; want %d, %v µs and %d", h.GetSampleCount(), h.GetSampleSum(), h.Bucket[0].GetCumulativeCount(), count, sum, below64)
		}
	}
	slow := make([]uint64, 37)
	slow[36] = 2 // 1024 µs
	times(1, slow...)
	times(1, append([]uint64{0, 5}, slow[2:]...)...)
	want(7, 5+2048, 5)
	f.EndTarget("n1", 1)
	f.SetTarget("n1", 7, podParty("web-1", "10.0.0.1"))
	times(7, 0, 0, 0, 1)
	want(8, 5+2048+3, 6)
	f.Forget(0)
	want(8, 5+2048+3, 6)
	times(7, 0, 0, 0, 3)
	want(10, 5+2048+9, 8)
	want(10, 5+2048+9, 8)
}

// histogram returns the only one of a metric.
func histogram(families []*dto.MetricFamily, name string) *dto.Histogram {
	for _, family := range families {
		if family.GetName() == name && len(family.Metric) == 1 {
			return family.Metric[0].GetHistogram()
		}
	}
	return &dto.Histogram{Bucket: []*dto.Bucket{{}}}
}
