package wire_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// TestBuckets checks that buckets join without a gap and hold what they say.
func TestBuckets(t *testing.T) {
	for n := range wire.NumBuckets {
		low := wire.BucketMin(n)
		if wire.Bucket(low) != n {
			t.Errorf("%d µs is in bucket %d, want %d", low, wire.Bucket(low), n)
		}
		if n > 0 && wire.Bucket(low-1) != n-1 {
			t.Errorf("%d µs is in bucket %d, want %d", low-1, wire.Bucket(low-1), n-1)
		}
		if high := wire.BucketMin(n + 1); n >= 4 && float64(high-low) > float64(low)/4+1 {
			t.Errorf("bucket %d is from %d to %d µs: wider than a quarter", n, low, high)
		}
	}
	for us, want := range map[uint64]int{1<<32 - 1: wire.NumBuckets - 1, 1 << 32: wire.NumBuckets - 1, 1<<64 - 1: wire.NumBuckets - 1} {
		if got := wire.Bucket(us); got != want {
			t.Errorf("%d µs is in bucket %d, want %d", us, got, want)
		}
	}
}

func TestObserve(t *testing.T) {
	var h wire.Histogram
	for _, d := range []time.Duration{-time.Second, 3 * time.Microsecond, 3999 * time.Nanosecond, 9 * time.Microsecond} {
		h.Observe(d)
	}
	if want := []uint64{1, 0, 0, 2, 0, 0, 0, 0, 1}; h.Sum != 15 || !slices.Equal(h.Buckets, want) {
		t.Errorf("histogram %+v, want sum 15 and %v", h, want)
	}
}

func TestMetricsSpecValidate(t *testing.T) {
	good := func() *wire.Spec {
		return &wire.Spec{Version: wire.Version, RunID: "a1", MaxSeconds: 10, Metrics: &wire.MetricsSpec{
			Plugins: []string{"dns"}, IntervalMS: 1000, TableEntries: 1024,
		}}
	}
	if err := good().Validate(); err != nil {
		t.Fatalf("a good spec: %v", err)
	}
	for want, spoil := range map[string]func(*wire.Spec){
		"no plugin":         func(s *wire.Spec) { s.Metrics.Plugins = nil },
		"interval 100ms":    func(s *wire.Spec) { s.Metrics.IntervalMS = 100 },
		"interval 1m1s":     func(s *wire.Spec) { s.Metrics.IntervalMS = 61_000 },
		"tables of 1 ":      func(s *wire.Spec) { s.Metrics.TableEntries = 1 },
		"17 API servers":    func(s *wire.Spec) { s.Metrics.APIServers = make([]netip.AddrPort, 17) },
		"unknown kind":      func(s *wire.Spec) { s.Metrics.EventKinds = []string{wire.EventDrop, "drops"} },
		"unknown hook":      func(s *wire.Spec) { s.Metrics.Hook = "xdp" },
		"used twice":        func(s *wire.Spec) { s.Metrics.Targets = []wire.Target{{Node: true}, {Node: true}} },
		"a pod or a node":   func(s *wire.Spec) { s.Metrics.Targets = []wire.Target{{}} },
		"1025 targets":      func(s *wire.Spec) { s.Metrics.Targets = make([]wire.Target, 1025) },
		"for packets":       func(s *wire.Spec) { s.Packets = &wire.PacketsSpec{} },
		"files and for som": func(s *wire.Spec) { s.Files = &wire.FilesSpec{} },
	} {
		s := good()
		spoil(s)
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error with %q, got %v", want, err)
		}
	}
}
