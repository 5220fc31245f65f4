package metrics

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

func histogramOf(us ...uint64) wire.Histogram {
	var h wire.Histogram
	for _, v := range us {
		n := wire.Bucket(v)
		if n >= len(h.Buckets) {
			h.Buckets = append(h.Buckets, make([]uint64, n+1-len(h.Buckets))...)
		}
		h.Buckets[n]++
		h.Sum += v
	}
	return h
}

func TestQuantile(t *testing.T) {
	for _, test := range []struct {
		name string
		h    wire.Histogram
		q    float64
		want float64
		ok   bool
	}{
		{"empty", wire.Histogram{}, 0.5, 0, false},
		{"zeros only", wire.Histogram{Buckets: make([]uint64, 9)}, 0.5, 0, false},
		{"one", histogramOf(4), 0.5, 4.5, true},
		{"one, all", histogramOf(4), 1, 5, true},
		{"one, none", histogramOf(4), 0, 4, true},
		{"half of a bucket", histogramOf(8, 8, 9, 9), 0.5, 9, true},
		{"second of two", histogramOf(1, 16), 0.75, 18, true},
		{"border of two", histogramOf(1, 16), 0.5, 2, true},
		{"below 0", histogramOf(1, 16), -3, 1, true},
		{"over 1", histogramOf(1, 16), 3, 20, true},
		{"the largest", histogramOf(math.MaxUint64), 1, 1 << 32, true},
		{"too many buckets", wire.Histogram{Buckets: append(make([]uint64, wire.NumBuckets), 7)}, 0.5, 0, false},
		{"overflow", wire.Histogram{Buckets: []uint64{math.MaxUint64, math.MaxUint64}}, 0.5, 0.5, true},
	} {
		got, ok := Quantile(test.h, test.q)
		if ok != test.ok || math.Abs(got-test.want) > 1e-9 {
			t.Errorf("%s: %v, %v; want %v, %v", test.name, got, ok, test.want, test.ok)
		}
	}
}

// A quantile is off by no more than a quarter.
func TestQuantileIsNear(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var values []uint64
	for range 5000 {
		values = append(values, 1+uint64(math.Exp(r.Float64()*18)))
	}
	h := histogramOf(values...)
	slices.Sort(values)
	for _, q := range []float64{0.01, 0.1, 0.5, 0.9, 0.99, 0.999} {
		exact := float64(values[int(q*float64(len(values)))])
		if got, _ := Quantile(h, q); math.Abs(got-exact) > 1+exact/4 {
			t.Errorf("quantile %v is %v, exactly it is %v", q, got, exact)
		}
	}
	mean, _ := Mean(h)
	var sum uint64
	for _, v := range values {
		sum += v
	}
	if want := float64(sum) / float64(len(values)); mean != want {
		t.Errorf("mean is %v, want %v", mean, want)
	}
	if _, ok := Mean(wire.Histogram{}); ok {
		t.Error("nothing has a mean")
	}
}

func TestMergeAndSubtract(t *testing.T) {
	a, b := histogramOf(1, 2, 3), histogramOf(2, 100)
	sum := Merge(a, b)
	if diff := cmp.Diff(histogramOf(1, 2, 3, 2, 100), sum); diff != "" {
		t.Errorf("sum differs:\n%s", diff)
	}
	if a.Buckets[2] != 1 || b.Buckets[2] != 1 {
		t.Error("merging has changed what was merged")
	}
	if rest, grown := subtract(sum, b); !grown || !cmp.Equal(rest, a) {
		t.Errorf("rest is %+v, %v", rest, grown)
	}
	if rest, grown := subtract(sum, sum); !grown || !cmp.Equal(rest, wire.Histogram{}) {
		t.Errorf("rest of all is %+v, %v", rest, grown)
	}
	for _, before := range []wire.Histogram{histogramOf(1, 1), histogramOf(100000), {Sum: 1 << 40}} {
		if rest, grown := subtract(sum, before); grown || !cmp.Equal(rest, sum) {
			t.Errorf("%+v is no part of %+v, but leaves %+v", before, sum, rest)
		}
	}
	if plus(math.MaxUint64, 1) != math.MaxUint64 || plus(1, math.MaxUint64-1) != math.MaxUint64 || plus(2, 3) != 5 {
		t.Error("plus")
	}
}
