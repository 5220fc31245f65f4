//go:build linux && !unit

package e2e

import (
	"context"
	"io"
	"math"
	"net"
	"net/http"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	corev1 "k8s.io/api/core/v1"

	catalog "github.com/kubectl-retina/kubectl-retina"
	"github.com/kubectl-retina/kubectl-retina/dashboards"
	"github.com/kubectl-retina/kubectl-retina/e2e/internal/prometheus"
)

// A serving is a metrics serve that runs.
type serving struct {
	*process
	address string // 127.0.0.1:PORT, where the control plane is
	client  *http.Client
}

// serveMetrics starts metrics serve on a free port and waits until it serves.
func serveMetrics(t testing.TB, args ...string) *serving {
	t.Helper()
	args = append([]string{"metrics", "serve", "--listen", "127.0.0.1:0", "--interval", "1s", "--collector-namespace", collectorNamespace}, args...)
	s := &serving{process: start(t, args...), client: &http.Client{Transport: &http.Transport{DialContext: the.Dial}, Timeout: 10 * time.Second}}
	t.Cleanup(s.client.CloseIdleConnections)
	address := regexp.MustCompile(`serving http://([0-9.:]+)/metrics`)
	s.waitFor(t, "serving http://")
	s.address = address.FindStringSubmatch(s.stderr.String())[1]
	return s
}

// get asks for a path, and returns the status code and the body.
func (s *serving) get(path string) (code int, body string, err error) {
	response, err := s.client.Get("http://" + s.address + path)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

// interrupt ends it as a user does, and checks that nothing is left.
func (s *serving) interrupt(t testing.TB) {
	t.Helper()
	interrupt(t, s.process)
	wantNothingLeft(t)
}

// A scrape is what was served at one moment, by name.
type scrape map[string]*dto.MetricFamily

// scrape reads all metrics; text is how they were served.
func (s *serving) scrape(t testing.TB) (all scrape, text string) {
	t.Helper()
	code, text, err := s.get("/metrics")
	if err != nil || code != http.StatusOK {
		t.Fatalf("/metrics: %d, %v\n%s", code, err, text)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatalf("/metrics cannot be parsed: %v\n%s", err, text)
	}
	return families, text
}

// of are the series of a metric with these labels, as NAME=VALUE.
func (s scrape) of(name string, labels ...string) []*dto.Metric {
	var found []*dto.Metric
	for _, m := range s[name].GetMetric() {
		own := map[string]string{}
		for _, label := range m.GetLabel() {
			own[label.GetName()] = label.GetValue()
		}
		if !slices.ContainsFunc(labels, func(l string) bool {
			name, value, _ := strings.Cut(l, "=")
			return own[name] != value
		}) {
			found = append(found, m)
		}
	}
	return found
}

// sum adds up the series that of finds.
func (s scrape) sum(name string, labels ...string) float64 {
	total := 0.0
	for _, m := range s.of(name, labels...) {
		total += m.GetCounter().GetValue() + m.GetGauge().GetValue() + m.GetUntyped().GetValue()
	}
	return total
}

// TestServeToPrometheus lets a real Prometheus scrape the cluster while it is busy and
// sick, and asks it what the dashboards ask.
func TestServeToPrometheus(t *testing.T) {
	s := openShop(t, "")
	s.trouble(t)
	s.troubleNodes(t)
	serve := serveMetrics(t, "-A")
	server := prometheus.StartIn(t, the.Cluster, serve.address)
	// What takes longest: the deadline of a query, and then a rate of timeouts.
	if _, err := server.Await(stepContext(t, 90*time.Second), `rate(networkobservability_adv_dns_timeouts_total{namespace="`+s.namespace+`"}[10s]) > 0`); err != nil {
		t.Fatalf("%v\n%s", err, serve.stderr.String())
	}
	t.Run("promtool", func(t *testing.T) {
		all, text := serve.scrape(t)
		if err := prometheus.CheckMetrics(t.Context(), text); err != nil {
			t.Error(err)
		}
		wantTypes(t, all)
	})
	t.Run("dashboards", func(t *testing.T) { wantDashboards(t, server) })
	t.Run("retina's names", func(t *testing.T) {
		ctx := stepContext(t, time.Minute)
		for _, expr := range []string{
			`sum by (direction) (rate(networkobservability_forward_bytes[10s])) > 0`,
			`sum by (reason) (rate(networkobservability_drop_count[10s])) > 0`,
			`sum by (podname, namespace) (rate(networkobservability_adv_drop_count{namespace="` + s.namespace + `"}[10s])) > 0`,
			`rate(networkobservability_adv_dns_request_count{podname="client-n1"}[10s]) > 0`,
			`rate(networkobservability_tcp_connection_stats[10s])`,
			`networkobservability_tcp_state{state="ESTABLISHED"} > 0`,
		} {
			if _, err := server.Await(ctx, expr); err != nil {
				t.Error(err)
			}
		}
		types, err := server.Types(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{
			"networkobservability_forward_count_total": "counter", "networkobservability_forward_count": "unknown",
			"networkobservability_tcp_state": "gauge", "networkobservability_adv_dns_latency_seconds": "histogram",
		} {
			if types[name] != want {
				t.Errorf("Prometheus takes %s for a %s, want %s", name, types[name], want)
			}
		}
	})
	serve.interrupt(t)
}

// stepContext is a context for one step of a test.
func stepContext(t testing.TB, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

// trouble makes traffic of every kind that a dashboard shows, until the test ends:
// requests by name and by address, refused and unanswered connections, drops, and
// names that do not exist or are never answered.
func (s *shop) trouble(t testing.TB) {
	t.Helper()
	web, client := s.web["n2"], s.client["n1"]
	// Where this pod asks, nobody is.
	apply(t, podYAML(s.namespace, "deaf", "n2", "app: deaf", "dnsPolicy: None\n  dnsConfig: {nameservers: [192.0.2.53], options: [{name: timeout, value: \"1\"}, {name: attempts, value: \"1\"}]}"))
	deaf := runningPod(t, s.namespace, "deaf")
	inPod(t, web, "iptables", "-A", "INPUT", "-p", "tcp", "--dport", "8081", "-j", "DROP")
	inPod(t, web, "iptables", "-A", "INPUT", "-p", "udp", "--dport", "9999", "-j", "DROP")
	get := func(from *corev1.Pod, host string) {
		s.background(t, from, "http-get", "--url", "http://"+host+"/", "--every", "100ms")
	}
	get(client, net.JoinHostPort(web.Status.PodIP, "8080"))
	get(client, "web."+s.namespace+".svc.cluster.local")
	get(client, "absent."+s.namespace+".svc.cluster.local")
	get(client, net.JoinHostPort(web.Status.PodIP, "81"))
	get(client, net.JoinHostPort(web.Status.PodIP, "8081"))
	get(deaf, "web."+s.namespace+".svc.cluster.local")
	s.background(t, client, "udp-send", "--to", net.JoinHostPort(web.Status.PodIP, "9999"), "--rate", "5", "--count", "0")
}

// troubleNodes makes what else a dashboard shows, of interfaces and of node n1 itself:
// packets that are longer than the receiving end of a veth pair takes, connections that
// time out, and an API server that refuses.
func (s *shop) troubleNodes(t testing.TB) {
	t.Helper()
	web, client := s.web["n1"], s.client["n1"]
	long := func(to string) {
		s.background(t, client, "udp-send", "--to", net.JoinHostPort(to, "9090"), "--size", "1400", "--rate", "5", "--count", "0")
	}
	inPod(t, web, "ip", "link", "set", "eth0", "mtu", "1300")
	long(web.Status.PodIP)
	// A second network of the node: the first one is the cluster's.
	secondInterface(t, client)
	inPod(t, client, "ip", "address", "add", "198.51.100.2/24", "dev", "net1")
	onNode(t, "n1", "sh", "-c", "ip address add 198.51.100.1/24 dev e2e-net1 && ip link set e2e-net1 mtu 1300")
	long("198.51.100.1")
	refuse := func(how string) {
		onNode(t, "n1", "iptables", how, "OUTPUT", "-p", "tcp", "--dport", "6443", "--syn", "-m", "statistic", "--mode", "nth", "--every", "3", "--packet", "0",
			"-j", "REJECT", "--reject-with", "tcp-reset")
	}
	refuse("-I")
	t.Cleanup(func() { refuse("-D") })
	connect, err := the.NodeCommand(context.Background(), "n1", "bash", "-c", "while :; do timeout 2.5 bash -c 'true > /dev/tcp/"+s.web["n2"].Status.PodIP+"/8081'; done")
	if err != nil {
		t.Fatal(err)
	}
	runUntilTheEnd(t, connect)
}

// background runs the traffic program in a pod until the test ends.
func (s *shop) background(t testing.TB, pod *corev1.Pod, args ...string) {
	t.Helper()
	args = append([]string{"kubectl", "exec", "-n", pod.Namespace, pod.Name, "--", "/bin/traffic"}, args...)
	// The program in the pod ends with the pod.
	runUntilTheEnd(t, the.Command(context.Background(), args...))
}

func runUntilTheEnd(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}

// interrupt ends a command as a user does.
func interrupt(t testing.TB, p *process) result {
	t.Helper()
	p.signal(t, syscall.SIGINT)
	r := p.wait(t)
	r.wantCode(t, 130)
	return r
}

// wantTypes compares what is served with the catalogue.
func wantTypes(t testing.TB, all scrape) {
	t.Helper()
	catalogue, err := catalog.Catalog()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	metrics := catalogue.Metrics()
	for i := range metrics {
		m := &metrics[i]
		want[m.Name] = strings.ToUpper(m.Type)
		if m.Type == catalog.Counter {
			for _, name := range m.Series() {
				if name != m.Name {
					want[name] = "UNTYPED"
				}
			}
		}
	}
	seen := map[string]int{}
	for name, family := range all {
		seen[family.GetType().String()]++
		if got := family.GetType().String(); got != want[name] {
			t.Errorf("%s is served as %s, want %q", name, got, want[name])
		}
	}
	if len(seen) != 4 {
		t.Errorf("types of what is served: %v, want all four", seen)
	}
}

// wantDashboards checks that every query of every dashboard has data.
func wantDashboards(t testing.TB, server *prometheus.Server) {
	t.Helper()
	ctx := stepContext(t, time.Minute)
	all, err := dashboards.All()
	if err != nil {
		t.Fatal(err)
	}
	// Conntrack's own trouble cannot be made here: its table's size is the machine's.
	const never = "cluster.json: Conntrack trouble, A"
	queries := 0
	for i := range all {
		for _, query := range all[i].Queries() {
			queries++
			each, cancel := context.WithTimeout(ctx, 15*time.Second)
			ask := server.Await
			if query.Where == never {
				ask = server.Query
			}
			samples, err := ask(each, query.PromQL("10s"))
			cancel()
			if err != nil {
				t.Errorf("%s: %v", query.Where, err)
			}
			for _, sample := range samples {
				if math.IsNaN(sample.Value) {
					t.Errorf("%s: %v is not a number", query.Where, sample.Labels)
				}
			}
		}
	}
	t.Logf("%d queries of %d dashboards", queries, len(all))
	if queries < 80 {
		t.Errorf("%d queries, want those of all dashboards", queries)
	}
}
