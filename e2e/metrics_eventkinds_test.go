//go:build linux && !unit

package e2e

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
)

// wantEvents is what has happened at one port, or to one name, as one pod sees it.
type wantEvents struct {
	kind, reason, target, node, direction string
	to                                    string // the name, port and protocol of whom a client talks to
	count                                 int
}

// at is the other fields of e, so that equal events can be counted.
func at(e *event) wantEvents {
	w := wantEvents{kind: e.Kind, reason: e.Reason, target: e.Target.Name, node: e.Node, direction: e.Direction}
	if e.Source == nil || e.Destination == nil {
		return w
	}
	to := e.Destination
	if e.Kind == "reset" { // goes the other way
		to = e.Source
	}
	w.to = fmt.Sprintf("%s:%d/%s", to.Party.Name, to.Port, e.Protocol)
	if e.Kind == "dns" {
		w.to += " " + e.Detail
	}
	return w
}

// TestMetricsEventKinds has connections reset, refused and not answered, a segment
// sent again and names not resolved, and counts the lines of each.
func TestMetricsEventKinds(t *testing.T) {
	s := openShop(t, "")
	client, web := s.client["n1"], s.web["n2"]
	apply(t, podYAML(s.namespace, "asker", "n1", "app: asker", fmt.Sprintf(
		`dnsPolicy: None
  dnsConfig: {nameservers: ["%s"], options: [{name: attempts, value: "1"}, {name: timeout, value: "1"}]}`, web.Status.PodIP)))
	asker := runningPod(t, s.namespace, "asker")
	rule := func(port string, more ...string) {
		inPod(t, web, append([]string{"iptables", "-w", "-A", "INPUT", "-p", "tcp", "--dport", port, "--syn"}, more...)...)
	}
	rule("7008", "-j", "REJECT", "--reject-with", "tcp-reset")
	rule("7009", "-j", "DROP")
	rule("9091", "-m", "statistic", "--mode", "nth", "--every", "2", "--packet", "0", "-j", "DROP") // the first SYN of two
	connect := func(port, count string, want string) {
		if out := s.traffic(t, client, "tcp-connect", "--to", net.JoinHostPort(web.Status.PodIP, port), "--count", count, "--timeout", "3500ms"); out != want {
			t.Errorf("connecting to port %s: %s", port, out)
		}
	}
	absent := "absent." + s.namespace + ".svc.cluster.local"
	m := startEvents(t, "-n", s.namespace, "--kinds", "reset,retransmit,dns,connect", "-o", "json")
	s.resolve(t, asker, "nobody.answers.", 1)
	connect("7007", "3", "opened 0, refused 3, unanswered 0\n") // nothing listens there
	connect("7008", "2", "opened 0, refused 2, unanswered 0\n")
	connect("9091", "1", "opened 1, refused 0, unanswered 0\n")
	connect("7009", "1", "opened 0, refused 0, unanswered 1\n")
	s.resolve(t, client, absent+".", 2)
	wants := []wantEvents{
		{"dns", "NXDOMAIN", "client-n1", "n1", "egress", "kube-dns:53/UDP A " + absent, 2},
		{"dns", "NXDOMAIN", "client-n1", "n1", "egress", "kube-dns:53/UDP AAAA " + absent, 2},
		{"dns", "timeout", "asker", "n1", "egress", "web-n2:53/UDP A nobody.answers", 1},
		{"dns", "timeout", "asker", "n1", "egress", "web-n2:53/UDP AAAA nobody.answers", 1},
		{"retransmit", "SYN", "client-n1", "n1", "egress", "web-n2:9091/TCP", 1},
		{"connect", "timeout", "client-n1", "n1", "egress", "web-n2:7009/TCP", 1},
		{"connect", "timeout", "web-n2", "n2", "ingress", "web-n2:7009/TCP", 1},
		{"reset", "sent", "web-n2", "n2", "egress", "web-n2:7007/TCP", 3}, // of 7008 it was the rule that sent them
	}
	for port, count := range map[int]int{7007: 3, 7008: 2} {
		to := "web-n2:" + strconv.Itoa(port) + "/TCP"
		wants = append(wants, wantEvents{"connect", "refused", "client-n1", "n1", "egress", to, count}, wantEvents{"reset", "received", "client-n1", "n1", "ingress", to, count},
			wantEvents{"connect", "refused", "web-n2", "n2", "ingress", to, count})
	}
	time.Sleep(6 * time.Second) // until what has no answer is known to have none
	text := m.output(t)
	got := map[wantEvents]int{}
	all := eventsOf(t, text)
	for i := range all {
		got[at(&all[i])]++
	}
	for _, want := range wants {
		count := want.count
		want.count = 0
		if got[want] != count {
			t.Errorf("%d events %+v, want %d", got[want], want, count)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
	if said := m.stderr.String(); strings.Contains(said, "error") {
		t.Errorf("stderr: %s", said)
	}
	wantNothingLeft(t)
}
