//go:build linux && !unit

package e2e

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"sigs.k8s.io/yaml"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
)

// TestMetricsSortTopCompare prints the busiest first, and what has changed since.
func TestMetricsSortTopCompare(t *testing.T) {
	s := openShop(t, "")
	client, web := s.client["n1"], s.web["n2"]
	only := []string{"-n", s.namespace, "--plugins", "packetforward,packetparser", "--by", "flow"}
	m := startMeasuring(t, 2, append([]string{"--sort-by", "packets_out", "--top", "1"}, only...)...)
	then := time.Now()
	s.send(t, client, web.Status.PodIP, 20)
	s.send(t, client, v6(web), 200)
	s.send(t, s.client["n2"], web.Status.PodIP, 10)
	m.process.signal(t, syscall.SIGINT)
	first := m.wait(t)
	first.wantCode(t, 130)
	r, err := metrics.Read(strings.NewReader(first.stdout))
	if err != nil || r.Began.After(then) {
		t.Fatal(err, first)
	}
	if len(r.Rows) != 1 || r.Rows[0].PacketsOut != 200 || r.Rows[0].Name != client.Name {
		t.Errorf("the busiest flow is %+v", r.Rows)
	}
	before := filepath.Join(t.TempDir(), "before.json")
	if err := os.WriteFile(before, []byte(first.stdout), 0o600); err != nil {
		t.Fatal(err)
	}
	m = startMeasuring(t, 2, append([]string{"--compare", before}, only...)...)
	s.get(t, client, web, "/", 5)
	text := m.output(t)
	var changes []metrics.Change
	if err := json.Unmarshal([]byte(text), &changes); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	t.Log(text)
	wantChanges(t, changes)
	wantNothingLeft(t)
}

// wantChanges looks for the flow that was there before only, and for that which is
// new.
func wantChanges(t *testing.T, changes []metrics.Change) {
	t.Helper()
	var gone, fresh bool
	for _, c := range changes {
		gone = gone || c.Gone && strings.Contains(c.What, "UDP 9090") && c.Before > 0 && c.After == 0
		fresh = fresh || c.New && strings.Contains(c.What, "TCP 8080") && c.Before == 0 && c.After > 0
	}
	if !gone || !fresh {
		t.Errorf("a flow that is gone: %v, one that is new: %v", gone, fresh)
	}
}

// TestMetricsFormats prints one measurement in every format for programs, and
// reads it as they do.
func TestMetricsFormats(t *testing.T) {
	s := openShop(t, "")
	client, web := s.client["n1"], s.web["n2"]
	running := map[string]*process{}
	for _, format := range []string{"yaml", "csv", "prometheus", "wide"} {
		running[format] = start(t, "metrics", "snapshot", "--collector-namespace", collectorNamespace, "--duration", "3m", "-n", s.namespace,
			"-o", format, "--plugins", "packetforward,packetparser", "pod/client-n1", "pod/web-n2")
	}
	for _, p := range running {
		measurement{p}.waitReady(t, 2)
	}
	s.send(t, client, web.Status.PodIP, 300, "--size", "100")
	out := map[string]string{}
	for format, p := range running {
		out[format] = measurement{p}.output(t)
	}
	encoded, err := yaml.YAMLToJSON([]byte(out["yaml"]))
	if err != nil {
		t.Fatalf("%v:\n%s", err, out["yaml"])
	}
	r, err := metrics.Read(bytes.NewReader(encoded))
	if err != nil {
		t.Fatalf("%v:\n%s", err, encoded)
	}
	for _, w := range pair(client, web, client.Status.PodIP, web.Status.PodIP, 300, 100) {
		w.check(t, r)
	}
	if sent := csvNumber(t, out["csv"], client.Name, "packets_out"); sent < 300 || sent > 330 {
		t.Errorf("by CSV the client has sent %d packets, want 300 and little else:\n%s", sent, out["csv"])
	}
	wantExposition(t, out["prometheus"], client.Name)
	if !strings.Contains(out["wide"], client.Name) || !strings.Contains(out["wide"], web.Name) {
		t.Errorf("wide:\n%s", out["wide"])
	}
	wantNothingLeft(t)
}

// csvNumber is the number in a column of a pod's row.
func csvNumber(t *testing.T, text, pod, column string) (number uint64) {
	t.Helper()
	records, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil || len(records) != 3 {
		t.Fatalf("want a header and two rows: %v:\n%s", err, text)
	}
	at := slices.Index(records[0], column)
	row := slices.IndexFunc(records, func(record []string) bool { return slices.Contains(record, pod) })
	if at < 0 || row < 0 {
		t.Fatalf("no %s of %s:\n%s", column, pod, text)
	}
	if number, err = strconv.ParseUint(records[row][at], 10, 64); err != nil {
		t.Fatal(err)
	}
	return number
}

// wantExposition checks the text that Prometheus reads.
func wantExposition(t *testing.T, text, pod string) {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	for _, m := range families["networkobservability_adv_forward_count_total"].GetMetric() {
		labels := map[string]string{}
		for _, l := range m.GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		if sent := m.GetCounter().GetValue(); labels["podname"] == pod && labels["direction"] == "egress" && sent >= 300 && sent <= 330 {
			return
		}
	}
	t.Errorf("no counter of what %s has sent:\n%s", pod, text)
}
