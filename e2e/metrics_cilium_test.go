//go:build linux && !unit

package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// ciliumKey is struct metrics_key, and ciliumCount struct metrics_value, of
// Cilium's bpf/lib/common.h.
type ciliumKey struct {
	Reason, Direction uint8
	Rest              [6]uint8
}

type ciliumCount struct{ Packets, Bytes uint64 }

// pinCiliumMap pins a map like Cilium's counters where its agent does on a node.
func pinCiliumMap(t *testing.T, node string) *ebpf.Map {
	t.Helper()
	m, err := the.Node(node)
	if err != nil {
		t.Fatal(err)
	}
	counters, err := ebpf.NewMap(&ebpf.MapSpec{Name: "cilium_metrics", Type: ebpf.PerCPUHash, KeySize: 8, ValueSize: 16, MaxEntries: 64})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { counters.Close() })
	bpffs := fmt.Sprintf("/proc/%d/root/sys/fs/bpf", m.Init.PID)
	dir := filepath.Join(bpffs, "tc", "globals")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := errors.Join(counters.Unpin(), os.Remove(dir), os.Remove(filepath.Dir(dir)))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	})
	if err := counters.Pin(filepath.Join(dir, "cilium_metrics")); err != nil {
		t.Fatal(err)
	}
	return counters
}

// count makes the counters of one key those of packets of 100 bytes, on two CPUs
// where there are as many.
func countCilium(t *testing.T, counters *ebpf.Map, key ciliumKey, packets uint64) {
	t.Helper()
	values := make([]ciliumCount, ebpf.MustPossibleCPU())
	values[0] = ciliumCount{packets - 2, 100 * (packets - 2)}
	values[len(values)-1].Packets += 2
	values[len(values)-1].Bytes += 200
	if err := counters.Put(key, values); err != nil {
		t.Fatal(err)
	}
}

// TestMetricsCiliumDrops has Cilium's counters on one node.
func TestMetricsCiliumDrops(t *testing.T) {
	s := openShop(t, "")
	counters := pinCiliumMap(t, "n1")
	denied, forwarded := ciliumKey{Reason: 133, Direction: 1}, ciliumKey{Reason: 0, Direction: 2}
	elsewhere := ciliumKey{Reason: 133, Direction: 1, Rest: [6]uint8{1, 2}} // another line of the source
	invalid := ciliumKey{Reason: 132, Direction: 2}
	countCilium(t, counters, denied, 1000) // before
	countCilium(t, counters, forwarded, 1000)
	m := startMeasuring(t, 2, "node/n1", "node/n2")
	pods := startMeasuring(t, 1, "-n", s.namespace, "pod/web-n1")
	then := time.Now()
	countCilium(t, counters, denied, 1012)
	countCilium(t, counters, elsewhere, 30)
	countCilium(t, counters, invalid, 7)
	countCilium(t, counters, forwarded, 2000)
	r := m.report(t, then)
	var got []string
	for _, d := range r.Drops {
		if strings.HasPrefix(d.Reason, "CILIUM_") {
			got = append(got, fmt.Sprintf("%s %s %s %s %d packets %d bytes", d.Node, d.Target.Name, d.Reason, d.Direction, d.Packets, d.Bytes))
		}
	}
	slices.Sort(got)
	want := []string{"n1 n1 CILIUM_INVALID_SOURCE_IP egress 7 packets 700 bytes", "n1 n1 CILIUM_POLICY_DENIED ingress 42 packets 4200 bytes"}
	if !slices.Equal(got, want) {
		t.Errorf("drops\n%q, want\n%q", got, want)
	}
	r = pods.report(t, then)
	if len(r.Nodes) != 1 || !slices.ContainsFunc(r.Nodes[0].Unsupported, func(e wire.PluginError) bool {
		return e.Plugin == "dropreason" && e.Partial && strings.Contains(e.Cause, "the node is no target") && e.Hint == "add node/NAME to see them"
	}) {
		t.Errorf("without the node as a target: %+v", r.Nodes)
	}
	wantNothingLeft(t)
}
