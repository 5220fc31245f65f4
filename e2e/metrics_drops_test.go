//go:build linux && !unit

package e2e

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
)

// nodeRule inserts a rule into a chain of a node, and deletes it at the end.
func nodeRule(t testing.TB, node, program, chain string, rule ...string) {
	t.Helper()
	onNode(t, node, append([]string{program, "-w", "-I", chain}, rule...)...)
	t.Cleanup(func() { onNode(t, node, append([]string{program, "-w", "-D", chain}, rule...)...) })
}

// A wantDrop is what a report must say about the packets to one port.
type wantDrop struct {
	target, reason, hook, direction, on, node string
	protocol                                  string
	source, destination                       string // names of pods
	port                                      uint16
	packets, bytes                            uint64
}

// check fails unless the report has the drops of these packets once.
func (w wantDrop) check(t *testing.T, r *metrics.Report) *metrics.Drop {
	t.Helper()
	found := dropsTo(r, w.port)
	var packets, bytes uint64
	for i := range found {
		got := wantDrop{target: found[i].Target.Name, reason: found[i].Reason, hook: found[i].Hook, direction: found[i].Direction, on: found[i].On,
			node: found[i].Node, protocol: found[i].Protocol, source: found[i].Source.Party.Name, destination: found[i].Destination.Party.Name,
			port: w.port, packets: w.packets, bytes: w.bytes}
		if got != w {
			t.Errorf("drop %+v\n got %+v\nwant %+v", found[i], got, w)
		}
		packets += found[i].Packets
		bytes += found[i].Bytes
	}
	if len(found) == 0 || packets != w.packets || bytes != w.bytes {
		t.Errorf("%d packets with %d bytes were dropped on their way to port %d, want %d with %d: %+v", packets, bytes, w.port, w.packets, w.bytes, r.Drops)
		return nil
	}
	return &found[0]
}

// dropsTo are the drops of packets to a port.
func dropsTo(r *metrics.Report, port uint16) []metrics.Drop {
	return slices.DeleteFunc(slices.Clone(r.Drops), func(d metrics.Drop) bool {
		return d.Source == nil || d.Destination == nil || d.Destination.Port != port
	})
}

// sendTo sends count datagrams with 100 bytes of payload to a port.
func (s *shop) sendTo(t testing.TB, from *corev1.Pod, to string, port uint16, count int) {
	t.Helper()
	out := s.traffic(t, from, "udp-send", "--to", net.JoinHostPort(to, strconv.Itoa(int(port))), "--count", strconv.Itoa(count), "--size", "100", "--rate", "1000")
	if out != fmt.Sprintf("sent %d\n", count) {
		t.Fatalf("udp-send: %s", out)
	}
}

const (
	droppedV4 = 20 + 8 + 100 // bytes of a datagram of sendTo
	droppedV6 = 40 + 8 + 100
)

// TestMetricsDrops drops known packets in every place where rules do.
func TestMetricsDrops(t *testing.T) {
	s := openShop(t, "")
	client, web := s.client["n1"], s.web["n2"]
	inPod(t, web, "iptables", "-w", "-A", "INPUT", "-p", "udp", "--dport", "7001", "-j", "DROP")
	inPod(t, web, "ip6tables", "-w", "-A", "INPUT", "-p", "udp", "--dport", "7002", "-j", "DROP")
	nodeRule(t, "n1", "iptables", "FORWARD", "-s", client.Status.PodIP, "-p", "udp", "--dport", "7003", "-j", "DROP")
	nodeRule(t, "n2", "iptables", "FORWARD", "-d", web.Status.PodIP, "-p", "udp", "--dport", "7004", "-j", "DROP")
	nodeRule(t, "n2", "ip6tables", "FORWARD", "-d", v6(web), "-p", "udp", "--dport", "7005", "-j", "DROP")
	m := startMeasuring(t, 2, "-n", s.namespace)
	then := time.Now()
	s.sendTo(t, client, web.Status.PodIP, 7001, 41)
	s.sendTo(t, client, v6(web), 7002, 42)
	s.sendTo(t, client, web.Status.PodIP, 7003, 43)
	s.sendTo(t, client, web.Status.PodIP, 7004, 44)
	s.sendTo(t, client, v6(web), 7005, 45)
	s.sendTo(t, client, web.Status.PodIP, 7006, 46) // nothing listens there
	s.sendTo(t, client, v6(web), 7006, 4)
	if out := s.traffic(t, client, "tcp-connect", "--to", net.JoinHostPort(web.Status.PodIP, "7007"), "--count", "12"); out != "opened 0, refused 12, unanswered 0\n" {
		t.Errorf("connections to a closed port: %s", out)
	}
	r := m.report(t, then)
	in := wantDrop{target: web.Name, node: "n2", direction: "ingress", protocol: "UDP", source: client.Name, destination: web.Name, reason: "NETFILTER_DROP"}
	tests := []struct {
		hook, on      string
		port          uint16
		packets, size uint64
	}{
		{"INPUT", "pod", 7001, 41, droppedV4},
		{"INPUT", "pod", 7002, 42, droppedV6},
		{"FORWARD", "node", 7004, 44, droppedV4},
		{"FORWARD", "node", 7005, 45, droppedV6},
	}
	sum := uint64(46 + 4 + 12)
	for _, test := range tests {
		w := in
		w.hook, w.on, w.port, w.packets, w.bytes = test.hook, test.on, test.port, test.packets, test.packets*test.size
		w.check(t, r)
		sum += w.packets
	}
	out := in
	out.target, out.node, out.direction, out.hook, out.on, out.port, out.packets, out.bytes = client.Name, "n1", "egress", "FORWARD", "node", 7003, 43, 43*droppedV4
	out.check(t, r)
	closed := in
	closed.reason, closed.on, closed.port, closed.packets, closed.bytes = "NO_SOCKET", "pod", 7006, 50, 46*droppedV4+4*droppedV6
	if d := closed.check(t, r); d != nil && d.Hint != "nothing listens there" {
		t.Errorf("hint of a closed port: %q", d.Hint)
	}
	wantClosedTCP(t, r, closed)
	if row := rowOf(t, r, web.Name); row.Drops != sum {
		t.Errorf("the server's row has %d drops, want %d", row.Drops, sum)
	}
	if row := rowOf(t, r, client.Name); row.Drops != 43 || row.Refused != 12 || row.ResetsIn != 12 {
		t.Errorf("the client's row has %d drops, %d refused, %d resets", row.Drops, row.Refused, row.ResetsIn)
	}
	wantNothingLeft(t)
}

// wantClosedTCP checks the SYNs to a port where nothing listens.
func wantClosedTCP(t *testing.T, r *metrics.Report, like wantDrop) {
	t.Helper()
	like.protocol, like.port, like.packets, like.bytes = "TCP", 7007, 12, 0
	for _, d := range dropsTo(r, like.port) {
		like.bytes += d.Bytes // whose options are the kernel's choice
	}
	if like.bytes < 12*(20+20) || like.bytes > 12*(20+60) {
		t.Errorf("12 SYNs of %d bytes", like.bytes)
	}
	like.check(t, r)
}

// TestMetricsPolicyDrop has a NetworkPolicy, and rules on the node as a policy
// engine makes them for it: the hint names the policy.
func TestMetricsPolicyDrop(t *testing.T) {
	s := openShop(t, "")
	client, web, free := s.client["n1"], s.web["n2"], s.client["n2"]
	apply(t, fmt.Sprintf(`---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: no-strangers, namespace: %s}
spec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress], ingress: []}
`, s.namespace))
	const chain = "E2E-POD-FW"
	onNode(t, "n2", "iptables", "-w", "-N", chain)
	t.Cleanup(func() { onNode(t, "n2", "sh", "-c", "iptables -w -F "+chain+" && iptables -w -X "+chain) })
	onNode(t, "n2", "iptables", "-w", "-A", chain, "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "ACCEPT")
	onNode(t, "n2", "iptables", "-w", "-A", chain, "-m", "comment", "--comment", "default deny of "+s.namespace, "-j", "DROP")
	nodeRule(t, "n2", "iptables", "FORWARD", "-d", web.Status.PodIP, "-j", chain)
	nodeRule(t, "n2", "iptables", "FORWARD", "-d", free.Status.PodIP, "-p", "udp", "--dport", "7001", "-j", "DROP")
	m := startMeasuring(t, 2, "-n", s.namespace)
	then := time.Now()
	s.sendTo(t, client, web.Status.PodIP, 9090, 17)
	s.sendTo(t, client, free.Status.PodIP, 7001, 18)
	r := m.report(t, then)
	w := wantDrop{target: web.Name, node: "n2", direction: "ingress", protocol: "UDP", source: client.Name, destination: web.Name,
		reason: "NETFILTER_DROP", hook: "FORWARD", on: "node", port: 9090, packets: 17, bytes: 17 * droppedV4}
	want := fmt.Sprintf("pod %[1]s/%[2]s is selected by NetworkPolicy %[1]s/no-strangers, which may forbid this", s.namespace, web.Name)
	if d := w.check(t, r); d != nil && d.Hint != want {
		t.Errorf("hint %q, want %q", d.Hint, want)
	}
	w.target, w.destination, w.port, w.packets, w.bytes = free.Name, free.Name, 7001, 18, 18*droppedV4
	if d := w.check(t, r); d != nil && d.Hint != "" {
		t.Errorf("hint %q for a pod without policies", d.Hint)
	}
	if row := rowOf(t, r, web.Name); !slices.Equal(row.Policies, []string{"no-strangers"}) {
		t.Errorf("policies of the server: %v", row.Policies)
	}
	wantNothingLeft(t)
}

// TestMetricsNodesKeepTheirDrops measures one node alone while packets are dropped
// on both: the kernel is one, and what it tells of the other is not this node's.
func TestMetricsNodesKeepTheirDrops(t *testing.T) {
	s := openShop(t, "")
	for _, node := range []string{"n1", "n2"} {
		inPod(t, s.web[node], "iptables", "-w", "-A", "INPUT", "-p", "udp", "--dport", "7001", "-j", "DROP")
		nodeRule(t, node, "iptables", "FORWARD", "-d", s.client[node].Status.PodIP, "-p", "udp", "--dport", "7002", "-j", "DROP")
	}
	// One has the pods of a node and the node, the other one the node alone.
	first := startMeasuring(t, 1, "-n", s.namespace, "node/n1", "pod/web-n1", "pod/client-n1")
	second := startMeasuring(t, 1, "node/n2")
	then := time.Now()
	for port, pods := range map[uint16]map[string]*corev1.Pod{7001: s.web, 7002: s.client} {
		s.sendTo(t, s.client["n2"], pods["n1"].Status.PodIP, port, 21)
		s.sendTo(t, s.client["n1"], pods["n2"].Status.PodIP, port, 32)
	}
	n1, n2 := first.report(t, then), second.report(t, then)
	w := wantDrop{target: "web-n1", node: "n1", direction: "ingress", protocol: "UDP", source: "client-n2", destination: "web-n1",
		reason: "NETFILTER_DROP", hook: "INPUT", on: "pod", port: 7001, packets: 21, bytes: 21 * droppedV4}
	w.check(t, n1)
	w.target, w.destination, w.hook, w.on, w.port = "client-n1", "client-n1", "FORWARD", "node", 7002
	w.check(t, n1)
	w = wantDrop{target: "n2", node: "n2", direction: "forward", protocol: "UDP", source: "client-n1", destination: "client-n2",
		reason: "NETFILTER_DROP", hook: "FORWARD", on: "node", port: 7002, packets: 32, bytes: 32 * droppedV4}
	w.check(t, n2)
	t.Logf("n2, measured without its pods, has of what a pod drops: %+v", dropsTo(n2, 7001))
	for _, d := range slices.Concat(n1.Drops, n2.Drops) {
		if d.Destination != nil && d.Destination.Party.Node != "" && d.Destination.Port/10 == 700 && d.Destination.Party.Node != d.Node {
			t.Errorf("%s has a drop of another node: %+v", d.Node, d)
		}
	}
	wantNothingLeft(t)
}
