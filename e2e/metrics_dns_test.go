//go:build linux && !unit

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
)

// dnsAddresses are those of the cluster's DNS service, by IPv4 and IPv6.
const (
	dnsAddress4 = "10.96.0.10"
	dnsAddress6 = "fd00:96::a"
)

// resolve lets a pod request a page of a host count times, each after asking for its
// addresses, and does not mind if that fails.
func (s *shop) resolve(t testing.TB, pod *corev1.Pod, host string, count int) {
	t.Helper()
	s.traffic(t, pod, "http-get", "--url", "http://"+host+"/", "--every", "20ms", "--count", fmt.Sprint(count))
}

// dnsOf sums up what targets with this prefix have asked, or were asked, in a role.
func dnsOf(r *metrics.Report, prefix, role, name, kind string) metrics.DNS {
	sum := metrics.DNS{Codes: map[string]uint64{}}
	for i := range r.DNS {
		d := &r.DNS[i]
		if !strings.HasPrefix(d.Target.Name, prefix) || d.Role != role || d.Name != name || d.Type != kind {
			continue
		}
		sum.Target, sum.Server, sum.Protocol = d.Target, d.Server, d.Protocol
		sum.Queries += d.Queries
		sum.Responses += d.Responses
		sum.Timeouts += d.Timeouts
		for code, count := range d.Codes {
			sum.Codes[code] += count
		}
		for i, count := range d.Latency.Buckets {
			for len(sum.Latency.Buckets) <= i {
				sum.Latency.Buckets = append(sum.Latency.Buckets, 0)
			}
			sum.Latency.Buckets[i] += count
		}
	}
	return sum
}

// TestDNSCodes counts names that are there and names that are not, as the clients see
// them, by both families, and as CoreDNS does.
func TestDNSCodes(t *testing.T) {
	s := openShop(t, "")
	apply(t, podYAML(s.namespace, "six", "n2", "app: six", "dnsPolicy: None\n  dnsConfig: {nameservers: ["+dnsAddress6+"]}"))
	six, client := runningPod(t, s.namespace, "six"), s.client["n1"]
	there, absent := "web."+s.namespace+".svc.cluster.local", "absent."+s.namespace+".svc.cluster.local"
	m := startMeasuring(t, 2, "-A", "--plugins", "dns")
	then := time.Now()
	// With a dot at the end nothing else is asked for.
	s.resolve(t, client, there+".", 10)
	s.resolve(t, client, absent+".", 10)
	s.resolve(t, six, absent+".", 5)
	report := m.report(t, then)
	for _, skipped := range report.Skipped {
		if strings.Contains(skipped.Target, collectorNamespace+"/retina-") {
			t.Errorf("our own collector is told about: %+v", skipped)
		}
	}
	for _, want := range []struct {
		prefix, role, name string
		queries            uint64
		code, server       string
	}{
		{"client-n1", "client", there, 10, "NOERROR", dnsAddress4},
		{"client-n1", "client", absent, 10, "NXDOMAIN", dnsAddress4},
		{"six", "client", absent, 5, "NXDOMAIN", dnsAddress6},
		{"coredns-", "server", there, 10, "NOERROR", ""},
		{"coredns-", "server", absent, 15, "NXDOMAIN", ""},
	} {
		for _, kind := range []string{"A", "AAAA"} {
			d := dnsOf(report, want.prefix, want.role, want.name, kind)
			var times uint64
			for _, count := range d.Latency.Buckets {
				times += count
			}
			if d.Queries != want.queries || d.Responses != want.queries || d.Codes[want.code] != want.queries || len(d.Codes) != 1 ||
				d.Timeouts != 0 || times != want.queries || d.Protocol != "UDP" || d.Server.Port != 53 {
				t.Errorf("%s %s %s %s: %+v, want %d with %s", want.prefix, want.role, want.name, kind, d, want.queries, want.code)
			}
			if want.server == "" {
				continue
			}
			if d.Server.Party.Kind != metrics.KindService || d.Server.Party.Name != "kube-dns" || !slices.Contains(d.Server.Party.Addresses, netip.MustParseAddr(want.server)) {
				t.Errorf("%s asked %+v, want kube-dns at %s", want.prefix, d.Server, want.server)
			}
		}
	}
	if t.Failed() {
		t.Logf("%+v\n%s", report.DNS, m.stderr.String())
	}
	wantNothingLeft(t)
}

// TestDNSCountsOnce measures a pod and its node: what the pod asks a server on another node
// crosses the node's uplink too, and counts at the pod only. What a pod asks that is
// not measured counts at the node.
func TestDNSCountsOnce(t *testing.T) {
	const asked = 20 // of CoreDNS on both nodes, by chance
	s := openShop(t, "")
	m := startMeasuring(t, 1, "pod/client-n1", "node/n1", "-n", s.namespace, "--plugins", "dns")
	then := time.Now()
	measured, other := "web."+s.namespace+".svc.cluster.local", "client."+s.namespace+".svc.cluster.local"
	s.resolve(t, s.client["n1"], measured+".", asked)
	s.resolve(t, s.web["n1"], other+".", asked)
	report := m.report(t, then)
	for _, kind := range []string{"A", "AAAA"} {
		if d := dnsOf(report, "client-n1", "client", measured, kind); d.Queries != asked || d.Responses != asked {
			t.Errorf("%s: the pod has %d queries and %d responses, want %d", kind, d.Queries, d.Responses, asked)
		}
		if d := dnsOf(report, "n1", "client", measured, kind); d.Queries != 0 || d.Responses != 0 {
			t.Errorf("%s: the node has %d queries and %d responses of its pod, want none", kind, d.Queries, d.Responses)
		}
		if d := dnsOf(report, "n1", "client", other, kind); d.Queries == 0 || d.Queries > asked || d.Responses != d.Queries {
			t.Errorf("%s: the node has %d queries and %d responses of a pod that is not measured, want up to %d", kind, d.Queries, d.Responses, asked)
		}
	}
	if t.Failed() {
		t.Logf("%+v\n%s", report.DNS, m.stderr.String())
	}
	wantNothingLeft(t)
}

// TestDNSWithoutAnswers stops CoreDNS: queries time out, an expectation fails, and
// events tell of it, as of the name that was not there before.
func TestDNSWithoutAnswers(t *testing.T) {
	s := openShop(t, "")
	client := s.client["n1"]
	there, absent := "web."+s.namespace+".svc.cluster.local", "absent."+s.namespace+".svc.cluster.local"
	events := start(t, "metrics", "events", "-n", s.namespace, "--collector-namespace", collectorNamespace, "--kinds", "dns", "-o", "json")
	events.waitFor(t, "watching")
	s.resolve(t, client, absent+".", 1)

	// Long enough that, on a busy machine too, queries begin in it and time out in it.
	snapshot := start(t, "metrics", "snapshot", "pod/client-n1", "-n", s.namespace, "--collector-namespace", collectorNamespace, "--duration", "30s",
		"--expect", "dns.timeouts == 0", "--expect", "dns.queries > 0", "--expect", `dns.timeouts{name="`+there+`"} > 1`)
	measurement{snapshot}.waitReady(t, 1)
	stopCoreDNS(t)
	s.background(t, client, "http-get", "--url", "http://"+there+"./", "--count", "1")
	r := snapshot.wait(t)
	r.wantCode(t, 4)
	for _, want := range []string{"FAILED", "dns.timeouts == 0", "pod " + s.namespace + "/client-n1 " + there} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("%q is not in:\n%s", want, r.stdout)
		}
	}
	if !strings.Contains(r.stderr, "error: 1 of 3 expectations do not hold\n") {
		t.Errorf("stderr:\n%s", r.stderr)
	}
	seen := func() map[string]bool {
		all := map[string]bool{}
		for line := range strings.Lines(events.stdout.String()) {
			var e struct {
				Kind, Node, Reason, Detail string
				Target                     metrics.Party
			}
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			if e.Kind != "dns" || e.Target.Name != "client-n1" || e.Node != "n1" {
				t.Errorf("event %s", line)
			}
			all[e.Reason+" "+e.Detail] = true
		}
		return all
	}
	eventually(t, 20*time.Second, func() error {
		text := fmt.Sprint(seen())
		for _, want := range []string{"NXDOMAIN", absent, "TIMEOUT", there} {
			if !strings.Contains(strings.ToUpper(text), strings.ToUpper(want)) {
				return fmt.Errorf("no event with %s: %s", want, text)
			}
		}
		return nil
	})
	interrupt(t, events)
	wantNothingLeft(t)
}

// stopCoreDNS suspends CoreDNS on all nodes until the test ends: it takes queries and
// does not answer.
func stopCoreDNS(t testing.TB) {
	t.Helper()
	signal := func(name string) {
		for _, node := range the.Nodes {
			onNode(t, node.Name, "sh", "-c", `for p in /proc/[0-9]*; do case $(readlink $p/exe) in */coredns) kill -`+name+` ${p#/proc/};; esac; done; true`)
		}
	}
	signal("STOP")
	t.Cleanup(func() {
		signal("CONT")
		eventually(t, time.Minute, func() error {
			slices, err := the.client.DiscoveryV1().EndpointSlices("kube-system").List(context.Background(), metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=kube-dns"})
			if err != nil {
				return err
			}
			for _, slice := range slices.Items {
				for _, endpoint := range slice.Endpoints {
					if endpoint.Conditions.Ready == nil || !*endpoint.Conditions.Ready {
						return fmt.Errorf("CoreDNS at %v is not ready again", endpoint.Addresses)
					}
				}
			}
			return nil
		})
	})
}
