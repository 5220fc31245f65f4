package expect

import (
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
)

// units returns what a number of a metric may be followed by, with the factor to
// the metric's own unit.
func units(unit metrics.Unit) map[string]float64 {
	switch unit {
	case metrics.UnitTime:
		return map[string]float64{"us": 1, "µs": 1, "μs": 1, "ms": 1e3, "s": 1e6}
	case metrics.UnitRatio:
		return map[string]float64{"": 1, "%": 0.01}
	}
	factors := map[string]float64{"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}
	if unit == metrics.UnitBytes {
		for name, factor := range maps.Clone(factors) {
			factors[name+"B"] = factor
		}
	}
	return factors
}

// scale converts a number with a unit to the metric's.
func (p *parser) scale(e *Expectation, value float64, unit string, at int) (float64, error) {
	known := units(e.metric.unit)
	factor, ok := known[unit]
	switch {
	case ok:
	case unit == "" && value == 0:
		return 0, nil
	case unit == "":
		return 0, p.errorf(at, "write us, ms or s behind it", "a time needs a unit")
	default:
		names := slices.DeleteFunc(slices.Sorted(maps.Keys(known)), func(name string) bool { return name == "" })
		return 0, p.errorf(at, "there are "+strings.Join(names, ", "), "%s has no unit %q", e.metric.name, unit)
	}
	scaled := value * factor
	if factor == 0.01 {
		scaled = value / 100 // 1 % is exactly 0.01
	}
	if math.IsInf(scaled, 0) {
		return 0, p.errorf(at, "", "number is too large")
	}
	return scaled, nil
}
