package print

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
)

// Number writes a number as people read it: "12.3k", "1.2MiB", "850µs", "0.4%".
// Counts below 10,000 are exact.
func Number(value float64, unit metrics.Unit) string {
	if math.IsNaN(value) || math.IsInf(value, 0) {
		return "-"
	}
	switch unit {
	case metrics.UnitBytes:
		if value < 0 {
			return "-" + Number(-value, unit)
		}
		if value >= math.MaxUint64 {
			return "16EiB"
		}
		return strings.ReplaceAll(humanize.IBytes(uint64(value)), " ", "")
	case metrics.UnitTime:
		return duration(value)
	case metrics.UnitRatio:
		return significant(100*value) + "%"
	}
	if math.Abs(value) < 10_000 {
		if value == math.Trunc(value) {
			return strconv.FormatFloat(value, 'f', 0, 64)
		}
		return significant(value)
	}
	return strings.ReplaceAll(humanize.SIWithDigits(value, 1, ""), " ", "")
}

// duration writes µs with three digits.
func duration(us float64) string {
	switch {
	case us < 0:
		return "-" + duration(-us)
	case us < 999.5:
		return significant(us) + "µs"
	case us < 999.5e3:
		return significant(us/1e3) + "ms"
	case us < 60e6:
		return significant(us/1e6) + "s"
	case us > math.MaxInt64/1e3:
		return ">290y"
	}
	return time.Duration(us * 1e3).Round(time.Second).String()
}

// significant writes a number with three digits, or more when it is larger.
func significant(value float64) string {
	digits := 0
	for limit := 100.0; digits < 2 && math.Abs(value) < limit; limit /= 10 {
		digits++
	}
	text := strconv.FormatFloat(value, 'f', digits, 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	if text == "0" && value != 0 {
		return fmt.Sprintf("%.0e", value) // not nothing
	}
	return text
}

// Percent writes a relative change: "+12%".
func Percent(relative float64) string {
	text := significant(100 * relative)
	if relative > 0 {
		text = "+" + text
	}
	return text + "%"
}
