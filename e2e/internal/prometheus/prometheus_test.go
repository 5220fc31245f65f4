//go:build linux && !unit

package prometheus_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	retina "github.com/kubectl-retina/kubectl-retina"
	"github.com/kubectl-retina/kubectl-retina/dashboards"
	"github.com/kubectl-retina/kubectl-retina/e2e/internal/prometheus"
)

// exposition is every metric of the catalogue in all its series, as text. Counters
// grow with the time.
func exposition(c *retina.Catalogue, seconds float64) string {
	var b strings.Builder
	metrics := c.Metrics()
	for i := range metrics {
		m := &metrics[i]
		names := m.Series()
		if m.Type == retina.Histogram {
			fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s histogram\n", m.Name, m.Help, m.Name)
			for _, labels := range series(c, m) {
				fmt.Fprintf(&b, "%s_bucket{%sle=\"0.01\"} %f\n%s_bucket{%sle=\"+Inf\"} %f\n", m.Name, labels, seconds, m.Name, labels, 2*seconds)
				fmt.Fprintf(&b, "%s_sum{%s} %f\n%s_count{%s} %f\n", m.Name, labels, seconds, m.Name, labels, 2*seconds)
			}
			continue
		}
		for _, name := range names {
			kind := m.Type
			if name != m.Name {
				kind = "untyped"
			}
			fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n", name, m.Help, name, kind)
			for _, labels := range series(c, m) {
				fmt.Fprintf(&b, "%s{%s} %f\n", name, labels, seconds)
			}
		}
	}
	return b.String()
}

// series are the labels of some series of a metric: between them every value that
// the dashboards select by.
func series(c *retina.Catalogue, m *retina.Metric) []string {
	values := map[string][]string{
		"direction": {"ingress", "egress"}, "reason": {"NETFILTER_DROP", "NO_SOCKET"}, "return_code": {"NOERROR", "NXDOMAIN"},
		"result": {"opened", "refused"}, "statistic_name": {"TCPTimeouts", "rx_errors", "insert_failed"}, "plugin": {"dns", "dropreason"},
	}
	own := slices.Concat(c.Context(m.Context).Labels, m.Labels)
	var all []string
	for i := range 3 {
		var b strings.Builder
		for _, label := range own {
			value := label + "-" + fmt.Sprint(i)
			if some := values[label]; some != nil {
				value = some[i%len(some)]
			}
			fmt.Fprintf(&b, "%s=%q,", label, value)
		}
		all = append(all, b.String())
	}
	if len(own) == 0 {
		return all[:1]
	}
	return all
}

func catalogue(t *testing.T) *retina.Catalogue {
	t.Helper()
	c, err := retina.Catalog()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// serve serves the whole catalogue and returns its address.
func serve(t *testing.T) string {
	t.Helper()
	c, began := catalogue(t), time.Now()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprint(w, exposition(c, time.Since(began).Seconds()))
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// TestPromtoolFindsTheCatalogueClean is about names, types and help.
func TestPromtoolFindsTheCatalogueClean(t *testing.T) {
	if err := prometheus.CheckMetrics(t.Context(), exposition(catalogue(t), 1)); err != nil {
		t.Error(err)
	}
}

func TestCheckMetricsFinds(t *testing.T) {
	for text, want := range map[string]string{
		"# HELP a_count x.\n# TYPE a_count counter\na_count 1\n": `should not have "_count" suffix`,
		"# TYPE a_total counter\na_total 1\n":                    "no help text",
		"a{\n":                                                   "parsing",
	} {
		if err := prometheus.CheckMetrics(t.Context(), text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// TestEveryQueryHasData runs the dashboards' queries against a Prometheus that
// scrapes every metric of the catalogue.
func TestEveryQueryHasData(t *testing.T) {
	server := prometheus.Start(t, serve(t))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := server.Await(ctx, `rate(networkobservability_series_limited[10s])`); err != nil {
		t.Fatal(err)
	}
	all, err := dashboards.All()
	if err != nil {
		t.Fatal(err)
	}
	for i := range all {
		for _, query := range all[i].Queries() {
			samples, err := server.Query(ctx, query.PromQL("10s"))
			if err != nil || len(samples) == 0 {
				t.Errorf("%s: %d series, %v", query.Where, len(samples), err)
			}
			for _, sample := range samples {
				if sample.Value != sample.Value {
					t.Errorf("%s: %v is not a number", query.Where, sample.Labels)
				}
			}
		}
	}
}

// TestRetinasNamesAnswer asks for rates as Retina's own dashboards do.
func TestRetinasNamesAnswer(t *testing.T) {
	server := prometheus.Start(t, "http://"+serve(t)+"/metrics")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, expr := range []string{
		`sum by (direction) (rate(networkobservability_forward_count[10s]))`,
		`sum by (reason) (rate(networkobservability_drop_bytes[10s]))`,
		`sum by (podname, namespace) (rate(networkobservability_adv_drop_count[10s]))`,
		`rate(networkobservability_tcp_connection_stats{statistic_name="TCPTimeouts"}[10s])`,
	} {
		if _, err := server.Await(ctx, expr); err != nil {
			t.Error(err)
		}
	}
	types, err := server.Types(ctx)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"networkobservability_forward_count_total": "counter", "networkobservability_forward_count": "unknown",
		"networkobservability_tcp_state": "gauge", "networkobservability_adv_dns_latency_seconds": "histogram",
	}
	maps.DeleteFunc(types, func(name, _ string) bool { return want[name] == "" })
	if !maps.Equal(types, want) {
		t.Errorf("types %v, want %v", types, want)
	}
}

func TestMistakesAreErrors(t *testing.T) {
	server := prometheus.Start(t)
	for expr, want := range map[string]string{"sum(": "parse error", "up[1m]": "matrix"} {
		if _, err := server.Query(t.Context(), expr); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", expr, err, want)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := server.Await(ctx, "nothing"); err == nil {
		t.Error("awaited nothing, and no error")
	}
}

// TestItEndsWithTheTest starts a Prometheus in a test of its own.
func TestItEndsWithTheTest(t *testing.T) {
	var url string
	t.Run("one", func(t *testing.T) { url = prometheus.Start(t).URL })
	response, err := http.Get(url + "/-/ready")
	if err == nil {
		response.Body.Close()
		t.Errorf("%s still answers", url)
	}
}
