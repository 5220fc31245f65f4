package exposition

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

func TestMaxSeries(t *testing.T) {
	f := newFold()
	f.Add("n1", sample())
	for i := range 200 {
		id := uint32(100 + i)
		f.SetTarget("n1", id, podParty(fmt.Sprintf("p%03d", 100+i), fmt.Sprintf("10.1.0.%d", i)))
	}
	all := values(gather(t, collector(t, f, Options{})), "networkobservability_series")[""]
	c := collector(t, f, Options{MaxSeries: 1000})
	limited := gather(t, c)
	kept, left := values(limited, "networkobservability_series")[""], values(limited, "networkobservability_series_limited")[""]
	if kept > 1000 || kept < 900 || kept+left != all {
		t.Errorf("%v series are served and %v left out, want %v together and 1000 at most", kept, left, all)
	}
	if lines := countLines(limited); lines-countEndpoint(limited) != int(kept) {
		t.Errorf("%d series are served, and %v are said to be", lines-countEndpoint(limited), kept)
	}
	if got := values(limited, "networkobservability_forward_count_total", "node"); got["n1"] != 1200 {
		t.Errorf("the node's own series are left out: %v", got)
	}
	before := names(limited)
	f.SetTarget("n1", 99, podParty("a-new-one", "10.2.0.1"))
	if diff := cmp.Diff(before, names(gather(t, c))); diff != "" {
		t.Errorf("what was served has changed:\n%s", diff)
	}
}

// TestNamesMakeRoom asks for more names than there may be series: pods that come later
// are served all the same.
func TestNamesMakeRoom(t *testing.T) {
	f := newFold()
	f.SetTarget("n1", 1, podParty("asks", "10.1.0.1"))
	s := &wire.Sample{}
	for i := range 500 {
		s.DNS = append(s.DNS, wire.DNSSample{Target: 1, Role: wire.RoleClient, Name: fmt.Sprintf("a%d.example", i), Type: "A", Queries: 1})
	}
	f.Add("n1", s)
	c := collector(t, f, Options{MaxSeries: 200})
	if left := values(gather(t, c), "networkobservability_series_limited")[""]; left == 0 {
		t.Fatal("there is room for all names")
	}
	f.SetTarget("n1", 50, podParty("late", "10.1.0.2"))
	f.SetInterfaces("n1", []wire.Interface{{ID: 7, Target: 50, Name: "eth0"}})
	f.Add("n1", &wire.Sample{Traffic: []wire.TrafficSample{{Interface: 7, PacketsIn: 12}}})
	served := gather(t, c)
	if got := values(served, "networkobservability_adv_forward_count_total", "podname", "direction"); got["late ingress"] != 12 {
		t.Errorf("a pod that has come later: %v", got)
	}
	if kept := values(served, "networkobservability_series")[""]; kept > 200 {
		t.Errorf("%v series, want 200 at most", kept)
	}
}

// countLines counts series as a scrape sees them.
func countLines(families []*dto.MetricFamily) int {
	n := 0
	for _, family := range families {
		for _, m := range family.Metric {
			n++
			if h := m.GetHistogram(); h != nil {
				n += len(h.Bucket) + 2
			}
		}
	}
	return n
}

func countEndpoint(families []*dto.MetricFamily) int {
	n := 0
	for _, family := range families {
		if slices.Contains([]string{"lost_total", "unsupported", "collector_up", "pods", "not_measured", "series", "series_limited"}, strings.TrimPrefix(family.GetName(), "networkobservability_")) {
			n += len(family.Metric)
		}
	}
	return n
}

func names(families []*dto.MetricFamily) []string {
	var all []string
	for _, family := range families {
		for _, m := range family.Metric {
			all = append(all, fmt.Sprint(family.GetName(), m.Label))
		}
	}
	return all
}

func TestHistogram(t *testing.T) {
	s := series{histogram: wire.Histogram{Sum: 1_000_000}}
	for _, us := range []uint64{1, 63, 64, 1000, 1 << 25, 1 << 31} {
		n := wire.Bucket(us)
		for len(s.histogram.Buckets) <= n {
			s.histogram.Buckets = append(s.histogram.Buckets, 0)
		}
		s.histogram.Buckets[n]++
	}
	count, sum, buckets := s.buckets("seconds")
	if count != 6 || sum != 1 || len(buckets) != lastBound-firstBound+1 {
		t.Errorf("count %d, sum %v, %d buckets", count, sum, len(buckets))
	}
	for bound, want := range map[float64]uint64{64e-6: 2, 128e-6: 3, 1024e-6: 4, 16.777216: 4, 33.554432: 4} {
		if got, ok := buckets[bound]; got != want || !ok {
			t.Errorf("up to %v s there are %d, want %d", bound, got, want)
		}
	}
	if _, sum, buckets := s.buckets("milliseconds"); sum != 1000 || buckets[1.024] != 4 {
		t.Errorf("in ms the sum is %v, buckets are %v", sum, buckets)
	}
}
