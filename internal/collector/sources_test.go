//go:build linux

package collector

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kubectl-retina/kubectl-retina/internal/plugin/scope"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// brittle is a plugin whose methods fail when they are told to.
type brittle struct {
	attach, sample error
	samples        int
}

func (b *brittle) Attach([]scope.Interface) error { return b.attach }
func (b *brittle) Detach([]uint32)                {}
func (b *brittle) Start() error                   { return nil }
func (b *brittle) Missing() []wire.PluginError    { return nil }
func (b *brittle) Close() error                   { return nil }
func (b *brittle) Sample(*wire.Sample) error {
	b.samples++
	return b.sample
}

func metricsOf(sources map[string]source) (*metrics, *bytes.Buffer) {
	var out bytes.Buffer
	m := &metrics{run: &run{send: newSender(&out)}, unattached: map[string]uint64{}, failed: map[string]uint64{}, inRow: map[string]int{}}
	for name, s := range sources {
		m.names, m.sources = append(m.names, name), append(m.sources, s)
	}
	return m, &out
}

// lastSample is the last one in out.
func lastSample(t *testing.T, out *bytes.Buffer) (last wire.Sample) {
	t.Helper()
	r := wire.NewReader(bytes.NewReader(out.Bytes()))
	for {
		_, payload, err := r.ReadFrame(nil)
		if err != nil {
			return last
		}
		last = wire.Sample{}
		if err := json.Unmarshal(payload, &last); err != nil {
			t.Fatal(err)
		}
	}
}

// TestOnePluginsFailureIsNotTheOthers has a plugin fail now and then, and then for
// good.
func TestOnePluginsFailureIsNotTheOthers(t *testing.T) {
	bad, good := &brittle{}, &brittle{}
	m, out := metricsOf(map[string]source{"bad": bad, "good": good})
	for n := range 3 * maxFailures {
		bad.sample = nil
		if n%maxFailures != 0 {
			bad.sample = errors.New("busy")
		}
		if err := m.sample(); err != nil {
			t.Fatalf("sample %d: %v", n, err)
		}
	}
	if good.samples != 3*maxFailures {
		t.Errorf("the other plugin was asked %d times", good.samples)
	}
	want := wire.LostSample{Plugin: "bad", What: "samples: not taken", Count: 3 * (maxFailures - 1)}
	if s := lastSample(t, out); len(s.Lost) != 1 || s.Lost[0] != want {
		t.Errorf("lost %+v, want %+v", s.Lost, want)
	}
	if err := m.sample(); err == nil {
		t.Error("a plugin that fails for good is kept")
	}
}

// A pod that ends while its node's collector starts takes nothing from the others.
func TestInterfacesThatVanishAreNotLost(t *testing.T) {
	gone := scope.Explain(fmt.Errorf("attach to eth0: %w", unix.ENODEV))
	m, out := metricsOf(map[string]source{"dns": &brittle{attach: errors.Join(gone)}, "packetparser": &brittle{attach: errors.Join(errors.New("eth1"), gone)}})
	wrong := m.attach(make([]scope.Interface, 3))
	if len(wrong["dns"]) != 0 || len(wrong["packetparser"]) != 1 {
		t.Errorf("wrong: %v", wrong)
	}
	if err := m.sample(); err != nil {
		t.Fatal(err)
	}
	if s := lastSample(t, out); len(s.Lost) != 1 || s.Lost[0].Plugin != "packetparser" || s.Lost[0].Count != 1 {
		t.Errorf("lost: %+v", s.Lost)
	}
}

func TestInterfacesThatAreNotAttachedAreLost(t *testing.T) {
	m, out := metricsOf(map[string]source{"dns": &brittle{attach: errors.Join(errors.New("eth0"), errors.New("eth1"))}})
	wrong := m.attach(make([]scope.Interface, 3))
	if len(wrong["dns"]) != 2 {
		t.Errorf("wrong: %v", wrong)
	}
	if err := m.sample(); err != nil {
		t.Fatal(err)
	}
	want := wire.LostSample{Plugin: "dns", What: "interfaces: not attached", Count: 2}
	if s := lastSample(t, out); len(s.Lost) != 1 || s.Lost[0] != want {
		t.Errorf("lost %+v, want %+v", s.Lost, want)
	}
}
