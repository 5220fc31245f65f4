//go:build linux

package main

import (
	"fmt"
	"slices"
	"strconv"
)

// A sample is what one quantity was, a value a round.
type sample []float64

// median is 0 when nothing was measured.
func (s sample) median() float64 {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// percentile is the smallest value that so many percent of all do not exceed; 0
// when nothing was measured.
func (s sample) percentile(percent int) float64 {
	if len(s) == 0 {
		return 0
	}
	rank := (len(s)*percent + 99) / 100 // rounded up, from 1
	return slices.Sorted(slices.Values(s))[max(rank, 1)-1]
}

// text is the median, and the extremes when there are several values.
func (s sample) text(unit string) string {
	switch len(s) {
	case 0:
		return ""
	case 1:
		return format(s[0], unit)
	}
	return fmt.Sprintf("%s (%s-%s)", format(s.median(), unit), number(slices.Min(s)), number(slices.Max(s)))
}

// each returns f of the values of every round.
func each(f func(a, b float64) float64, a, b sample) sample {
	out := make(sample, min(len(a), len(b)))
	for i := range out {
		out[i] = f(a[i], b[i])
	}
	return out
}

// over is a/b round by round.
func over(a, b sample) sample {
	return each(func(a, b float64) float64 { return a / b }, a, b)
}

func format(v float64, unit string) string { return number(v) + " " + unit }

// number has about three digits.
func number(v float64) string {
	digits := 2
	switch {
	case v >= 100 || v == 0:
		digits = 0
	case v >= 10:
		digits = 1
	case v < 0.1:
		digits = 3
	}
	return strconv.FormatFloat(v, 'f', digits, 64)
}
