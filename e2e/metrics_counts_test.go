//go:build linux && !unit

package e2e

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
)

// datagramCounts are n of them with size bytes of payload, to an address.
func datagramCounts(n, size uint64, to string) (packets, bytes uint64) {
	header := uint64(20 + 8)
	if net.ParseIP(to).To4() == nil {
		header = 40 + 8
	}
	return n, n * (header + size)
}

// pair are the flows of datagrams from one pod to another, one seen by each.
func pair(from, to *corev1.Pod, fromIP, toIP string, n, size uint64) [2]wantFlow {
	packets, bytes := datagramCounts(n, size, toIP)
	return [2]wantFlow{
		{local: from.Name, remote: to.Name, kind: "pod", address: toIP, protocol: "UDP", port: 9090, role: "client",
			counts: counts{PacketsOut: packets, BytesOut: bytes}},
		{local: to.Name, remote: from.Name, kind: "pod", address: fromIP, protocol: "UDP", port: 9090, role: "server",
			counts: counts{PacketsIn: packets, BytesIn: bytes}},
	}
}

// TestMetricsCountDatagrams sends known datagrams between nodes, on one node, in
// both directions and with both families.
func TestMetricsCountDatagrams(t *testing.T) {
	s := openShop(t, "")
	client, web, near, back := s.client["n1"], s.web["n2"], s.web["n1"], s.client["n2"]
	pods := []*corev1.Pod{client, web, near, back}
	var watches []*linkWatch
	for _, pod := range pods {
		watches = append(watches, watchPod(t, pod))
	}
	m := startMeasuring(t, 2, "-n", s.namespace)
	then := time.Now()
	for _, w := range watches {
		w.begin()
	}
	s.send(t, client, web.Status.PodIP, 500, "--size", "200")
	s.send(t, client, v6(web), 300, "--size", "100")
	s.send(t, client, near.Status.PodIP, 70, "--size", "1000")
	s.send(t, web, back.Status.PodIP, 90)
	s.send(t, web, client.Status.PodIP, 40, "--size", "33")
	for _, w := range watches {
		w.end()
	}
	r := m.report(t, then)
	for _, flows := range [][2]wantFlow{
		pair(client, web, client.Status.PodIP, web.Status.PodIP, 500, 200),
		pair(client, web, v6(client), v6(web), 300, 100),
		pair(client, near, client.Status.PodIP, near.Status.PodIP, 70, 1000),
		pair(web, back, web.Status.PodIP, back.Status.PodIP, 90, 64),
		pair(web, client, web.Status.PodIP, client.Status.PodIP, 40, 33),
	} {
		for _, f := range flows {
			f.check(t, r)
		}
	}
	for i, pod := range pods {
		watches[i].check(t, countsOf(&rowOf(t, r, pod.Name).Values))
	}
	if len(r.Rows) != 4 || len(r.Drops) > 0 {
		t.Errorf("%d rows, want 4; drops %+v", len(r.Rows), r.Drops)
	}
	wantNothingLeft(t)
}

// countRule counts the packets of a hook in a pod's netns that match, with a rule
// of netfilter without a verdict; bytes are from the network header on.
func countRule(t testing.TB, pod *corev1.Pod, program, chain string, match ...string) func() (packets, bytes uint64) {
	t.Helper()
	inPod(t, pod, append([]string{program, "-w", "-A", chain}, match...)...)
	rules := strings.Count(inPod(t, pod, program, "-w", "-S", chain), "\n") - 1 // the first line is the policy
	return ruleCounts(t, pod, program, chain, rules)
}

// ruleCounts reads the counters of a rule of a pod's netns.
func ruleCounts(t testing.TB, pod *corev1.Pod, program, chain string, rule int) func() (packets, bytes uint64) {
	return func() (packets, bytes uint64) {
		t.Helper()
		out := inPod(t, pod, program, "-w", "-v", "-x", "-n", "-L", chain, strconv.Itoa(rule))
		if _, err := fmt.Sscan(out, &packets, &bytes); err != nil {
			t.Fatalf("rule %d of %s: %v: %q", rule, chain, err, out)
		}
		return packets, bytes
	}
}

// dualService makes a service of both families for the servers of s, HTTP at 80
// and datagrams at 90, and returns its addresses.
func dualService(t *testing.T, s *shop) (v4, v6 string) {
	t.Helper()
	apply(t, fmt.Sprintf(`---
apiVersion: v1
kind: Service
metadata: {name: dual, namespace: %s}
spec:
  ipFamilyPolicy: RequireDualStack
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: 8080}, {name: data, protocol: UDP, port: 90, targetPort: 9090}]
`, s.namespace))
	eventually(t, 20*time.Second, func() error {
		service, err := the.client.CoreV1().Services(s.namespace).Get(t.Context(), "dual", metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, ip := range service.Spec.ClusterIPs {
			if strings.Contains(ip, ":") {
				v6 = ip
			} else {
				v4 = ip
			}
		}
		if v4 == "" || v6 == "" {
			return fmt.Errorf("addresses %v", service.Spec.ClusterIPs)
		}
		return nil
	})
	for _, ip := range []string{v4, v6} { // until kube-proxy has heard of it
		eventually(t, 30*time.Second, func() error {
			out := s.traffic(t, s.client["n1"], "tcp-connect", "--to", net.JoinHostPort(ip, "80"), "--timeout", "1s")
			if !strings.HasPrefix(out, "opened 1,") {
				return fmt.Errorf("service at %s: %s", ip, out)
			}
			return nil
		})
	}
	return v4, v6
}

// TestMetricsCountRequests makes requests by a service and compares their flows
// with what netfilter counts in the client's pod.
func TestMetricsCountRequests(t *testing.T) {
	s := openShop(t, "")
	serviceV4, serviceV6 := dualService(t, s)
	client := s.client["n1"]
	type family struct {
		address string
		in, out func() (packets, bytes uint64)
	}
	families := []family{{address: serviceV4}, {address: serviceV6}}
	for i, program := range []string{"iptables", "ip6tables"} {
		f := &families[i]
		f.out = countRule(t, client, program, "OUTPUT", "-p", "tcp", "-d", f.address, "--dport", "80")
		f.in = countRule(t, client, program, "INPUT", "-p", "tcp", "-s", f.address, "--sport", "80")
	}
	m := startMeasuring(t, 2, "-n", s.namespace)
	then := time.Now()
	const requests = 40
	for _, f := range families {
		out := s.traffic(t, client, "http-get", "--url", "http://"+net.JoinHostPort(f.address, "80")+"/x", "--every", "5ms", "--count", strconv.Itoa(requests))
		if !strings.Contains(out, fmt.Sprintf("got %d, failed 0", requests)) {
			t.Fatal(out)
		}
	}
	s.traffic(t, client, "udp-send", "--to", net.JoinHostPort(serviceV4, "90"), "--count", "60", "--size", "80")
	time.Sleep(200 * time.Millisecond) // the last segments
	r := m.report(t, then)
	for _, f := range families {
		want := wantFlow{local: client.Name, remote: "dual", kind: "service", address: f.address, protocol: "TCP", port: 80, role: "client"}
		want.PacketsIn, want.BytesIn = f.in()
		want.PacketsOut, want.BytesOut = f.out()
		if got := want.check(t, r); got != nil && (got.Opened != requests || got.Refused+got.Unanswered != 0 || got.Connect.Count != requests) {
			t.Errorf("connections: %+v", got)
		}
	}
	packets, bytes := datagramCounts(60, 80, serviceV4)
	wantFlow{local: client.Name, remote: "dual", kind: "service", address: serviceV4, protocol: "UDP", port: 90, role: "client",
		counts: counts{PacketsOut: packets, BytesOut: bytes}}.check(t, r)
	wantServersSide(t, r, client, families[0].address, families[1].address)
	if row := rowOf(t, r, client.Name); row.Opened != 2*requests || row.Service != "" {
		t.Errorf("client's row %+v", row)
	}
	wantNothingLeft(t)
}

// wantServersSide checks that the servers together have what the client has sent
// to and got from the service's addresses.
func wantServersSide(t *testing.T, r *metrics.Report, client *corev1.Pod, services ...string) {
	t.Helper()
	var sent, served counts
	var opened, accepted uint64
	for _, f := range r.Flows {
		switch {
		case f.Protocol != "TCP":
		case f.Local.Name == client.Name && slices.Contains(services, f.Remote.Addresses[0].String()):
			sent = sent.plus(counts{f.PacketsIn, f.PacketsOut, f.BytesIn, f.BytesOut})
			opened += f.Opened
		case f.Remote.Name == client.Name && f.Role == "server" && f.Port == 8080:
			served = served.plus(counts{f.PacketsOut, f.PacketsIn, f.BytesOut, f.BytesIn})
			accepted += f.Opened
			if f.Local.Service != "dual" {
				t.Errorf("server %+v is not named by its service", f.Local)
			}
		}
	}
	if sent != served || opened != accepted || opened == 0 {
		t.Errorf("the client's side has %+v of %d connections, the servers' %+v of %d:\n%s", sent, opened, served, accepted, describeFlows(r))
	}
}
