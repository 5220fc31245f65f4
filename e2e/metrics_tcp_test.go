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
)

// tcpCounter is one of the kernel's TCP counters of a pod's netns, as in
// /proc/net/snmp.
func tcpCounter(t testing.TB, pod *corev1.Pod, name string) uint64 {
	t.Helper()
	var names []string
	for line := range strings.Lines(inPod(t, pod, "cat", "/proc/net/snmp")) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0 || fields[0] != "Tcp:":
		case names == nil:
			names = fields
		default:
			if i := slices.Index(names, name); i > 0 && i < len(fields) {
				n, err := strconv.ParseUint(fields[i], 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				return n
			}
		}
	}
	t.Fatalf("no TCP counter %s", name)
	return 0
}

// within tells whether got is want, give or take a part of it.
func within(got, want uint64, part float64) bool {
	return float64(max(got, want)-min(got, want)) <= part*float64(want)
}

// TestMetricsRetransmits loses packets at random, in both directions, while much
// is sent: what the kernel counts as retransmitted is what the report has.
func TestMetricsRetransmits(t *testing.T) {
	s := openShop(t, "")
	client, web := s.client["n1"], s.web["n2"]
	for pod, match := range map[*corev1.Pod]string{web: "--dport", client: "--sport"} {
		inPod(t, pod, "iptables", "-w", "-A", "INPUT", "-p", "tcp", match, "9091", "-m", "statistic", "--mode", "random", "--probability", "0.05", "-j", "DROP")
	}
	lost := map[string]func() (packets, bytes uint64){}
	for _, pod := range []*corev1.Pod{web, client} {
		lost[pod.Name] = ruleCounts(t, pod, "iptables", "INPUT", 1)
	}
	before := map[string]uint64{client.Name: tcpCounter(t, client, "RetransSegs"), web.Name: tcpCounter(t, web, "RetransSegs")}
	m := startMeasuring(t, 2, "-n", s.namespace)
	then := time.Now()
	const size = 16 << 20 // of which the kernel makes some hundred large packets, each of them one to the rule
	if out := s.traffic(t, client, "tcp-echo", "--to", net.JoinHostPort(web.Status.PodIP, "9091"), "--bytes", strconv.Itoa(size)); out != fmt.Sprintf("echoed %d\n", size) {
		t.Fatal(out)
	}
	time.Sleep(500 * time.Millisecond) // the end of the connection may have to be sent again
	r := m.report(t, then)
	for _, pod := range []*corev1.Pod{client, web} {
		row := rowOf(t, r, pod.Name)
		want := tcpCounter(t, pod, "RetransSegs") - before[pod.Name]
		if want == 0 || !within(row.Retransmits, want, 0.01) {
			t.Errorf("%s: %d retransmits, the kernel has %d, want some and the same", pod.Name, row.Retransmits, want)
		}
		var flows uint64
		for _, f := range r.Flows {
			if f.Local.Name == pod.Name && f.Port == 9091 {
				flows += f.Retransmits
			}
		}
		if flows != row.Retransmits {
			t.Errorf("%s: flows have %d retransmits, the row %d", pod.Name, flows, row.Retransmits)
		}
		packets, bytes := lost[pod.Name]()
		// TCP drops segments too: those that it has got twice.
		var drops, dropped uint64
		for _, d := range r.Drops {
			if d.Target.Name == pod.Name && d.Reason == "NETFILTER_DROP" {
				drops += d.Packets
				dropped += d.Bytes
			} else if d.Target.Name == pod.Name {
				t.Logf("%s: %d drops of %d bytes by %s in %s, %s", pod.Name, d.Packets, d.Bytes, d.Reason, d.Function, d.Direction)
			}
		}
		if packets == 0 || drops != packets || dropped != bytes {
			t.Errorf("%s: %d drops of %d bytes, the rule has %d of %d", pod.Name, drops, dropped, packets, bytes)
		}
		t.Logf("%s: %d retransmits, the kernel's %d; %d of %d segments; %d drops", pod.Name, row.Retransmits, want, row.Retransmits, row.SegmentsOut, row.Drops)
	}
	wantNothingLeft(t)
}

// TestMetricsFailedConnects has connections that are refused, and some that are
// never answered, as numbers and as events.
func TestMetricsFailedConnects(t *testing.T) {
	s := openShop(t, "")
	client, web := s.client["n1"], s.web["n2"]
	nodeRule(t, "n1", "iptables", "FORWARD", "-s", client.Status.PodIP, "-p", "tcp", "--dport", "7005", "-j", "DROP")
	events := startEvents(t, "-n", s.namespace, "--kinds", "connect", "-o", "json")
	m := startMeasuring(t, 2, "-n", s.namespace)
	then := time.Now()
	for _, test := range []struct{ port, count, want string }{
		{"7004", "7", "opened 0, refused 7, unanswered 0\n"},
		{"7005", "6", "opened 0, refused 0, unanswered 6\n"},
		{"9091", "5", "opened 5, refused 0, unanswered 0\n"},
	} {
		out := s.traffic(t, client, "tcp-connect", "--to", net.JoinHostPort(web.Status.PodIP, test.port), "--count", test.count, "--timeout", "5s")
		if out != test.want {
			t.Errorf("port %s: %s", test.port, out)
		}
	}
	time.Sleep(time.Second)
	r := m.report(t, then)
	if row := rowOf(t, r, client.Name); row.Refused != 7 || row.Unanswered != 6 || row.Opened != 5 {
		t.Errorf("the client's row has %d refused, %d unanswered, %d opened", row.Refused, row.Unanswered, row.Opened)
	}
	if row := rowOf(t, r, web.Name); row.Refused != 7 || row.Unanswered != 0 || row.Opened != 5 {
		t.Errorf("the server's row has %d refused, %d unanswered, %d opened", row.Refused, row.Unanswered, row.Opened)
	}
	count := map[string]int{}
	for _, e := range eventsOf(t, events.output(t)) {
		if e.Kind != "connect" || e.Source == nil || e.Source.Party.Name != client.Name || e.Destination.Party.Name != web.Name {
			t.Errorf("event %+v", e)
			continue
		}
		count[fmt.Sprintf("%s %s %d", e.Target.Name, e.Reason, e.Destination.Port)]++
	}
	want := map[string]int{"client-n1 refused 7004": 7, "web-n2 refused 7004": 7, "client-n1 timeout 7005": 6}
	if fmt.Sprint(count) != fmt.Sprint(want) {
		t.Errorf("events %v, want %v", count, want)
	}
	wantNothingLeft(t)
}

// TestMetricsHealthyTrafficHasNoDrops closes connections with much on its way: the
// kernel frees what arrives then in the way of a drop, though it has used it.
func TestMetricsHealthyTrafficHasNoDrops(t *testing.T) {
	s := openShop(t, "")
	client, web := s.client["n1"], s.web["n2"]
	sentAgain := func() uint64 { return tcpCounter(t, client, "RetransSegs") + tcpCounter(t, web, "RetransSegs") }
	before := sentAgain()
	m := startMeasuring(t, 2, "-n", s.namespace)
	then := time.Now()
	const size = 8 << 20
	for range 3 {
		s.traffic(t, client, "tcp-echo", "--to", net.JoinHostPort(web.Status.PodIP, "9091"), "--bytes", strconv.Itoa(size))
		s.traffic(t, client, "tcp-echo", "--to", net.JoinHostPort(v6(web), "9091"), "--bytes", strconv.Itoa(size))
	}
	s.get(t, client, web, "/", 20)
	time.Sleep(300 * time.Millisecond)
	r := m.report(t, then)
	if row := rowOf(t, r, web.Name); row.Opened != 26 || row.BytesOut < 6*size {
		t.Errorf("the server's row: %d connections, %d bytes", row.Opened, row.BytesOut)
	}
	var again uint64
	for _, d := range r.Drops {
		switch d.Reason {
		// A segment that was sent again, as a probe for loss or because the machine is
		// busy, is one that TCP has twice. One that found no room is sent again.
		case "TCP_OLD_DATA", "TCP_OLD_SEQUENCE", "TCP_OFOMERGE", "SOCKET_BACKLOG":
			again += d.Packets
		default:
			t.Errorf("%s: %d drops of %d bytes by %s in %s, %s", d.Target.Name, d.Packets, d.Bytes, d.Reason, d.Function, d.Direction)
		}
	}
	const probes = 10 // of windows, say, which the kernel does not count as sent again
	if most := sentAgain() - before + probes; again > most {
		t.Errorf("%d drops of what TCP had twice or had no room for, want %d at most", again, most)
	}
	wantNothingLeft(t)
}
