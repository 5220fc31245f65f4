//go:build linux && !unit

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
)

// A measurement is a metrics command that runs.
type measurement struct {
	*process
}

// startMeasuring starts metrics snapshot -o json with args, for as long as it
// takes, and waits until all nodes measure.
func startMeasuring(t *testing.T, nodes int, args ...string) measurement {
	t.Helper()
	args = append([]string{"metrics", "snapshot", "--collector-namespace", collectorNamespace, "--duration", "3m", "-o", "json"}, args...)
	m := measurement{start(t, args...)}
	m.waitReady(t, nodes)
	return m
}

// waitReady waits until the collectors of all nodes count.
func (m measurement) waitReady(t *testing.T, nodes int) {
	t.Helper()
	eventually(t, 90*time.Second, func() error {
		if said := m.stderr.String(); strings.Count(said, ": ready in ") < nodes {
			return fmt.Errorf("not all of %d nodes are ready:\n%s", nodes, said)
		}
		return nil
	})
	// They are told to go when the names of all addresses are known too, and a pipe
	// is not told when. report looks whether it was in time.
	time.Sleep(1500 * time.Millisecond)
}

// report ends the measuring and returns the report; it must have begun by then.
func (m measurement) report(t *testing.T, then time.Time) *metrics.Report {
	t.Helper()
	r := m.read(t)
	if r.Began.After(then) {
		t.Fatalf("measuring began at %s, the traffic at %s: %s", r.Began, then, m.stderr.String())
	}
	for _, l := range r.Lost {
		t.Errorf("lost: %+v", l)
	}
	for _, n := range r.Nodes {
		if n.Error != "" || n.Samples == 0 {
			t.Errorf("node %+v", n)
		}
	}
	return r
}

// read ends the measuring and returns the report, whatever is in it.
func (m measurement) read(t *testing.T) *metrics.Report {
	t.Helper()
	text := m.output(t)
	r, err := metrics.Read(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v:\n%s\n%s", err, text, m.stderr.String())
	}
	return r
}

// output interrupts the command, as Ctrl-C does, and returns its stdout.
func (m measurement) output(t *testing.T) string {
	t.Helper()
	m.signal(t, syscall.SIGINT)
	r := m.wait(t)
	r.wantCode(t, 130)
	if t.Failed() {
		t.Log(r)
	}
	return r.stdout
}

// rowOf is the row of one pod or node.
func rowOf(t *testing.T, r *metrics.Report, name string) *metrics.Row {
	t.Helper()
	i := slices.IndexFunc(r.Rows, func(row metrics.Row) bool { return row.Name == name })
	if i < 0 {
		t.Fatalf("no row of %s in %+v", name, r.Rows)
	}
	return &r.Rows[i]
}

// A wantFlow is a flow that a report must have, exactly once.
type wantFlow struct {
	local, remote string // names; of a service its name
	kind          string // of the remote party
	address       string // of it
	protocol      string
	port          uint16
	role          string
	counts
}

func (w wantFlow) check(t *testing.T, r *metrics.Report) *metrics.Flow {
	t.Helper()
	var found []metrics.Flow
	for _, f := range r.Flows {
		if f.Local.Name == w.local && f.Protocol == w.protocol && f.Port == w.port && f.Role == w.role &&
			len(f.Remote.Addresses) == 1 && f.Remote.Addresses[0].String() == w.address {
			found = append(found, f)
		}
	}
	if len(found) != 1 {
		t.Errorf("%d flows, want one like %+v:\n%s", len(found), w, describeFlows(r))
		return nil
	}
	f := &found[0]
	got := counts{f.PacketsIn, f.PacketsOut, f.BytesIn, f.BytesOut}
	if got != w.counts || f.Remote.Name != w.remote || f.Remote.Kind != w.kind {
		t.Errorf("flow %s -> %s (%s): %+v, want %+v", f.Local.Name, f.Remote.Name, f.Remote.Kind, got, w)
	}
	return f
}

func describeFlows(r *metrics.Report) string {
	var text strings.Builder
	for _, f := range r.Flows {
		fmt.Fprintf(&text, "%s -> %s %s %v, %s %d, %s: %d/%d packets, %d/%d bytes\n", f.Local.Name, f.Remote.Kind, f.Remote.Name, f.Remote.Addresses,
			f.Protocol, f.Port, f.Role, f.PacketsIn, f.PacketsOut, f.BytesIn, f.BytesOut)
	}
	return text.String()
}
