//go:build linux && !unit

package e2e

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	catalog "github.com/kubectl-retina/kubectl-retina"
	"github.com/kubectl-retina/kubectl-retina/e2e/internal/prometheus"
)

const (
	podPackets = "networkobservability_adv_forward_count_total"
	nodeDrops  = "networkobservability_drop_count_total"
)

// until scrapes until check has nothing against it.
func (s *serving) until(t testing.TB, patience time.Duration, check func(scrape) error) {
	t.Helper()
	eventually(t, patience, func() error {
		all, _ := s.scrape(t)
		return check(all)
	})
}

// atLeast checks that a sum is not below a bound.
func atLeast(bound float64, name string, labels ...string) func(scrape) error {
	return func(all scrape) error {
		if got := all.sum(name, labels...); got < bound {
			return fmt.Errorf("%s%v is %v, want %v", name, labels, got, bound)
		}
		return nil
	}
}

// TestServeFollowsPods has series of a pod for as long as there is the pod, and keeps
// in the sums of the node what it had counted.
func TestServeFollowsPods(t *testing.T) {
	s := openShop(t, "")
	serve := serveMetrics(t, "-n", s.namespace)
	web := s.web["n1"]
	s.send(t, s.client["n2"], web.Status.PodIP, 50)
	serve.until(t, 20*time.Second, atLeast(50, podPackets, "podname=web-n1", "direction=ingress"))
	serve.until(t, 20*time.Second, atLeast(4, "networkobservability_pods"))
	s.get(t, s.client["n2"], web, "/", 1) // the pod is there; port 81 is not
	s.background(t, s.client["n2"], "http-get", "--url", "http://"+web.Status.PodIP+":81/", "--every", "50ms", "--count", "20")
	serve.until(t, 20*time.Second, atLeast(20, nodeDrops, "node=n1", "reason=NO_SOCKET"))

	apply(t, podYAML(s.namespace, "late", "n1", "app: late", restricted))
	late := runningPod(t, s.namespace, "late")
	s.send(t, s.client["n2"], late.Status.PodIP, 50, "--rate", "10") // while it is being found
	serve.until(t, 20*time.Second, atLeast(1, podPackets, "podname=late", "direction=ingress", "namespace="+s.namespace, "node=n1", "ip="+late.Status.PodIP))

	kubectl(t, "delete", "pod", "-n", s.namespace, "web-n1", "--wait=true")
	serve.until(t, 60*time.Second, func(all scrape) error {
		for name := range all {
			if len(all.of(name, "podname=web-n1")) > 0 {
				return errors.New(name + " has series of a pod that is gone")
			}
		}
		if len(all.of(podPackets, "podname=web-n2")) == 0 || len(all.of(podPackets, "podname=late")) == 0 {
			t.Error("the series of other pods have ended with it")
		}
		return nil
	})
	all, _ := serve.scrape(t)
	if err := atLeast(20, nodeDrops, "node=n1", "reason=NO_SOCKET")(all); err != nil {
		t.Errorf("the node has forgotten what the pod had counted: %v", err)
	}
	if pods := all.sum("networkobservability_pods"); pods != 4 {
		t.Errorf("%v pods are measured, want 4", pods)
	}
	serve.interrupt(t)
}

// counters are the values of all counters, by name and labels.
func (s scrape) counters() map[string]float64 {
	values := map[string]float64{}
	for name, family := range s {
		for _, m := range family.GetMetric() {
			key := name + fmt.Sprint(m.GetLabel())
			switch family.GetType() {
			case dto.MetricType_COUNTER:
				values[key] = m.GetCounter().GetValue()
			case dto.MetricType_HISTOGRAM:
				values[key] = float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return values
}

// TestServeSurvivesItsCollector kills the collector of a node: health and collector_up
// say so until there is another one, and no counter goes back.
func TestServeSurvivesItsCollector(t *testing.T) {
	s := openShop(t, "")
	serve := serveMetrics(t, "-A")
	packets := []string{"podname=web-n1", "direction=ingress"}
	s.send(t, s.client["n2"], s.web["n1"].Status.PodIP, 200)
	serve.until(t, 20*time.Second, atLeast(200, podPackets, packets...))
	serve.wantHealth(t, http.StatusOK, "ok\n")

	before, _ := serve.scrape(t)
	onNode(t, "n1", "kill", "-9", collector(t, "n1", "run"))
	serve.wantHealth(t, http.StatusServiceUnavailable, "n1: ")
	all, _ := serve.scrape(t)
	if up := all.sum("networkobservability_collector_up", "node=n1"); up != 0 {
		t.Errorf("collector_up of n1 is %v", up)
	}
	if up := all.sum("networkobservability_collector_up", "node=n2"); up != 1 {
		t.Errorf("collector_up of n2 is %v", up)
	}
	serve.wantHealth(t, http.StatusOK, "ok\n")

	counted := before.counters()
	grows := func(all scrape) error {
		now := all.counters()
		for key, value := range now {
			if value < counted[key] {
				t.Fatalf("%s went from %v to %v", key, counted[key], value)
			}
			counted[key] = value
		}
		if len(now) == 0 {
			t.Fatal("there are no counters")
		}
		return nil
	}
	all, _ = serve.scrape(t)
	_ = grows(all)
	from := all.sum(podPackets, packets...)
	s.send(t, s.client["n2"], s.web["n1"].Status.PodIP, 100)
	serve.until(t, 20*time.Second, func(all scrape) error {
		_ = grows(all)
		return atLeast(from+100, podPackets, packets...)(all)
	})
	serve.interrupt(t)
}

// wantHealth waits until /healthz has this code, and checks the beginning of what it
// says.
func (s *serving) wantHealth(t testing.TB, code int, text string) {
	t.Helper()
	eventually(t, 40*time.Second, func() error {
		got, body, err := s.get("/healthz")
		if err == nil && got != code {
			err = fmt.Errorf("/healthz is %d: %s", got, body)
		}
		if err == nil && !strings.HasPrefix(body, text) {
			t.Errorf("/healthz says %q, want %q", body, text)
		}
		return err
	})
}

// TestServeMaxSeries serves no more than it is told to, and counts the rest.
func TestServeMaxSeries(t *testing.T) {
	s := openShop(t, "")
	serve := serveMetrics(t, "-n", s.namespace, "--max-series", "40")
	s.get(t, s.client["n2"], s.web["n1"], "/", 5)
	serve.until(t, 20*time.Second, atLeast(1, "networkobservability_series_limited"))
	all, text := serve.scrape(t)
	catalogue, err := catalog.Catalog()
	if err != nil {
		t.Fatal(err)
	}
	var endpoint []string
	metrics := catalogue.Metrics()
	for i := range metrics {
		if metrics[i].Context == catalog.ContextEndpoint {
			endpoint = append(endpoint, metrics[i].Name)
		}
	}
	count := 0
	for line := range strings.Lines(text) {
		if name := line[:strings.IndexAny(line, "{ ")]; !strings.HasPrefix(line, "#") && !slices.Contains(endpoint, name) {
			count++
		}
	}
	if count == 0 || count > 40 || all.sum("networkobservability_series") != float64(count) {
		t.Errorf("%d series are served, networkobservability_series is %v, want at most 40\n%s", count, all.sum("networkobservability_series"), text)
	}
	serve.interrupt(t)
}

// TestServePairs serves who talks to whom, and without Retina's names.
func TestServePairs(t *testing.T) {
	s := openShop(t, "")
	serve := serveMetrics(t, "-n", s.namespace, "--remote-context", "--retina-names=false")
	s.send(t, s.client["n2"], s.web["n1"].Status.PodIP, 30)
	// As the receiver sees it, and as the sender does.
	pair := []string{"source_podname=client-n2", "destination_podname=web-n1", "source_namespace=" + s.namespace,
		"destination_workload_kind=Pod", "destination_ip=" + s.web["n1"].Status.PodIP}
	serve.until(t, 20*time.Second, atLeast(30, podPackets, append([]string{"node=n1", "direction=ingress"}, pair...)...))
	serve.until(t, 20*time.Second, atLeast(30, podPackets, append([]string{"node=n2", "direction=egress"}, pair...)...))
	all, text := serve.scrape(t)
	if got := all.sum(podPackets, append([]string{"node=n1", "direction=ingress"}, pair...)...); math.Abs(got-30) > 0 {
		t.Errorf("%v packets of the pair, want 30", got)
	}
	for name, family := range all {
		if family.GetType() == dto.MetricType_UNTYPED {
			t.Errorf("%s is served in spite of --retina-names=false", name)
		}
	}
	if err := prometheus.CheckMetrics(t.Context(), text); err != nil {
		t.Error(err)
	}
	serve.interrupt(t)
}

// TestServePortInUse is told before anything is created.
func TestServePortInUse(t *testing.T) {
	s := openShop(t, "")
	first := serveMetrics(t, "-n", s.namespace)
	wantNothingCreated(t, func() {
		r := retina(t, "metrics", "serve", "-n", s.namespace, "--collector-namespace", collectorNamespace, "--listen", first.address)
		r.wantError(t, 1, "error: listen on "+first.address+": ", "address already in use", "hint: choose another port with --listen")
	})
	first.interrupt(t)
}

// TestServeEnds takes its collectors with it, however it ends.
func TestServeEnds(t *testing.T) {
	s := openShop(t, "")
	t.Run("Ctrl-C", func(t *testing.T) {
		serve := serveMetrics(t, "-n", s.namespace)
		began := time.Now()
		r := interrupt(t, serve.process)
		if took := time.Since(began); took > 20*time.Second || r.stdout != "" || strings.Contains(r.stderr, "error: ") {
			t.Errorf("after %s: %s", took, r)
		}
		wantNothingLeft(t)
	})
	t.Run("Ctrl-C before the start", func(t *testing.T) {
		p := start(t, "metrics", "serve", "-n", s.namespace, "--collector-namespace", collectorNamespace, "--listen", "127.0.0.1:0", "--image", absentImage)
		collectorPod(t, p)
		p.signal(t, syscall.SIGTERM)
		p.wait(t).wantError(t, 130, "interrupted before anything was measured")
		wantNothingLeft(t)
	})
	t.Run("kill -9", func(t *testing.T) {
		serve := serveMetrics(t, "-n", s.namespace)
		serve.signal(t, syscall.SIGKILL)
		_ = serve.Wait()
		wantNothingLeft(t)
	})
}
