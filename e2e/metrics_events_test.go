//go:build linux && !unit

package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
)

// startEvents starts metrics events for drops and waits until it watches.
func startEvents(t *testing.T, args ...string) measurement {
	t.Helper()
	m := measurement{start(t, append([]string{"metrics", "events", "--collector-namespace", collectorNamespace}, args...)...)}
	m.waitFor(t, "watching ")
	time.Sleep(500 * time.Millisecond) // go is on its way
	return m
}

// An event is a line of metrics events -o json.
type event struct {
	Time                       time.Time
	Node, Kind, Reason, Detail string
	Protocol, Direction        string
	Target                     metrics.Party
	Source, Destination        *metrics.Side
	From, To                   netip.AddrPort
	Suppressed                 uint64
}

func eventsOf(t *testing.T, text string) []event {
	t.Helper()
	var all []event
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatalf("%v: %s", err, lines.Text())
		}
		all = append(all, e)
	}
	return all
}

// TestMetricsDropEvents prints each of a few drops, for people and for programs.
func TestMetricsDropEvents(t *testing.T) {
	s := openShop(t, "")
	client, web := s.client["n1"], s.web["n2"]
	inPod(t, web, "iptables", "-w", "-A", "INPUT", "-p", "udp", "--dport", "7001", "-j", "DROP")
	only := []string{"-n", s.namespace, "--kinds", "drop"}
	people, programs := startEvents(t, only...), startEvents(t, append(only, "-o", "json")...)
	then := time.Now()
	s.sendTo(t, client, web.Status.PodIP, 7001, 5)
	s.sendTo(t, client, web.Status.PodIP, 7006, 4)
	time.Sleep(time.Second)
	lines, encoded := people.output(t), programs.output(t)
	arrow := fmt.Sprintf("%[1]s/client-n1:%%s -> %[1]s/web-n2:%%d  UDP  ", s.namespace)
	_, from, _ := strings.Cut(lines, "client-n1:")
	from, _, _ = strings.Cut(from, " ")
	if got := strings.Count(lines, fmt.Sprintf(arrow, from, 7001)+"NETFILTER_DROP"); got != 5 || !strings.Contains(lines, "(INPUT)") {
		t.Errorf("%d lines of the rule's drops, want 5:\n%s", got, lines)
	}
	if got := strings.Count(lines, "web-n2:7006  UDP  NO_SOCKET"); got != 4 {
		t.Errorf("%d lines of the closed port, want 4:\n%s", got, lines)
	}
	count := map[string]int{}
	for _, e := range eventsOf(t, encoded) {
		count[e.Reason]++
		if e.Kind != "drop" || e.Node != "n2" || e.Protocol != "UDP" || e.Direction != "ingress" || e.Target.Name != web.Name ||
			e.Source.Party.Name != client.Name || e.Destination.Party.Name != web.Name || e.To.Addr().String() != web.Status.PodIP ||
			e.Time.Before(then.Add(-time.Second)) || e.Time.After(time.Now()) {
			t.Errorf("event %+v", e)
		}
	}
	if count["NETFILTER_DROP"] != 5 || count["NO_SOCKET"] != 4 || len(count) != 2 {
		t.Errorf("events by reason: %v:\n%s", count, encoded)
	}
	wantNothingLeft(t)
}

// TestMetricsEventsSuppressed drops more than --rate allows: what is printed and
// what is suppressed are all of it.
func TestMetricsEventsSuppressed(t *testing.T) {
	s := openShop(t, "")
	client, web := s.client["n1"], s.web["n2"]
	inPod(t, web, "iptables", "-w", "-A", "INPUT", "-p", "udp", "--dport", "7001", "-j", "DROP")
	m := startEvents(t, "pod/web-n2", "-n", s.namespace, "--plugins", "dropreason", "--rate", "10", "-o", "json")
	then := time.Now()
	s.sendTo(t, client, web.Status.PodIP, 7001, 2000) // in 2 s
	took := time.Since(then)
	time.Sleep(500 * time.Millisecond)
	text := m.output(t)
	var printed, suppressed uint64
	for _, e := range eventsOf(t, text) {
		if e.Suppressed > 0 {
			suppressed += e.Suppressed
		} else {
			printed++
		}
	}
	// A bucket for each CPU, full at first, and what the seconds add to it.
	most := uint64(10 * (took.Seconds() + 2))
	if printed+suppressed != 2000 || printed == 0 || printed > most {
		t.Errorf("%d events and %d suppressed, want 2000 together and %d events at most:\n%s", printed, suppressed, most, text)
	}
	if said := m.stderr.String(); strings.Contains(said, "error") {
		t.Errorf("stderr: %s", said)
	}
	wantNothingLeft(t)
}
