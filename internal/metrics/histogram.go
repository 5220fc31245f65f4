package metrics

import (
	"math"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// Count returns how many times are in h.
func Count(h wire.Histogram) uint64 {
	var n uint64
	for _, c := range buckets(h) {
		n = plus(n, c)
	}
	return n
}

// Mean returns the mean of h in µs; false when h is empty.
func Mean(h wire.Histogram) (float64, bool) {
	n := Count(h)
	if n == 0 {
		return 0, false
	}
	return float64(h.Sum) / float64(n), true
}

// Quantile returns the time, in µs, below which the part q (0 to 1) of the times
// in h are; false when h is empty. Within a bucket the times are taken to be
// spread evenly, so the answer is at most a quarter off.
func Quantile(h wire.Histogram, q float64) (float64, bool) {
	n := Count(h)
	if n == 0 {
		return 0, false
	}
	rank := min(max(q, 0), 1) * float64(n)
	var below float64
	last := 0.0
	for i, c := range buckets(h) {
		if c == 0 {
			continue
		}
		lower, upper := float64(wire.BucketMin(i)), float64(wire.BucketMin(i+1))
		if below+float64(c) >= rank {
			return lower + (upper-lower)*(rank-below)/float64(c), true
		}
		below += float64(c)
		last = upper
	}
	return last, true // only by rounding
}

// Merge returns what is in a or in b. It shares nothing with them.
func Merge(a, b wire.Histogram) wire.Histogram {
	x, y := buckets(a), buckets(b)
	if len(x) < len(y) {
		x, y = y, x
	}
	if len(x) == 0 {
		return wire.Histogram{Sum: plus(a.Sum, b.Sum)}
	}
	sum := append([]uint64(nil), x...)
	for i, c := range y {
		sum[i] = plus(sum[i], c)
	}
	return wire.Histogram{Sum: plus(a.Sum, b.Sum), Buckets: sum}
}

// subtract returns what has come to before since; false when that is not how
// after came about, because a bucket has fewer than before.
func subtract(after, before wire.Histogram) (wire.Histogram, bool) {
	x, y := buckets(after), buckets(before)
	if after.Sum < before.Sum || len(x) < len(y) {
		return after, false
	}
	rest := wire.Histogram{Sum: after.Sum - before.Sum, Buckets: append([]uint64(nil), x...)}
	for i, c := range y {
		if c > x[i] {
			return after, false
		}
		rest.Buckets[i] -= c
	}
	for len(rest.Buckets) > 0 && rest.Buckets[len(rest.Buckets)-1] == 0 {
		rest.Buckets = rest.Buckets[:len(rest.Buckets)-1]
	}
	if len(rest.Buckets) == 0 {
		rest.Buckets = nil
	}
	return rest, true
}

// buckets returns those that a histogram may have: a file may say anything.
func buckets(h wire.Histogram) []uint64 {
	return h.Buckets[:min(len(h.Buckets), wire.NumBuckets)]
}

// plus adds, up to the largest number: a sum that wrapped would be a lie.
func plus(a, b uint64) uint64 {
	if a > math.MaxUint64-b {
		return math.MaxUint64
	}
	return a + b
}
