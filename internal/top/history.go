package top

import (
	"math"
	"strings"
	"time"
)

const (
	// minute is how many seconds a sparkline shows.
	minute = 60
	// kept is how many seconds are remembered: the oldest bar of a sparkline may begin
	// up to 11 seconds before the minute.
	kept = minute + 12
	// leastBars is the width of a sparkline at least, so a bar is 5 seconds at most.
	leastBars = 12
)

// bars are the heights of a sparkline.
const bars = "▁▂▃▄▅▆▇█"

// A track remembers what has been of one row.
type track struct {
	perSecond [kept]float32 // bytes; at second % kept
	// first and last are the seconds, since 1970, that perSecond has; equal to 0 when
	// it has none.
	first, last int64
	p99         held
}

// held is a value of the last interval that had one.
type held struct {
	value float64
	at    time.Time
}

// holdFor is how long a value is shown after its interval.
const holdFor = minute * time.Second

// get returns the value, or NaN when it is too old or was never known.
func (h held) get(now time.Time) float64 {
	if h.at.IsZero() || now.Sub(h.at) > holdFor {
		return math.NaN()
	}
	return h.value
}

// add remembers a rate that was measured in the seconds up to end.
func (t *track) add(perSecond float64, end time.Time, over float64) {
	second := end.Unix()
	from := second - int64(math.Round(over)) + 1
	if t.last == 0 {
		t.first = min(from, second)
	} else {
		from = max(from, t.last+1)
	}
	for s := min(max(from, second-kept+1), second); s <= second; s++ {
		t.perSecond[s%kept] = float32(perSecond)
	}
	t.last = second
}

// sparkline draws the last minute with one bar for each column, scaled to its own
// highest. A bar keeps its height while time goes on: bars begin at multiples of
// their length. What was before the first number is blank.
func (t *track) sparkline(columns int) string {
	if columns <= 0 {
		return ""
	}
	columns = min(columns, minute)
	length := int64((minute + columns - 1) / columns)
	values := make([]float64, columns)
	highest := 0.0
	for i := range values {
		bar := t.last/length - int64(columns-1-i)
		values[i] = t.mean(bar*length, bar*length+length-1)
		if values[i] > highest {
			highest = values[i]
		}
	}
	heights := []rune(bars)
	var line strings.Builder
	for _, v := range values {
		switch {
		case math.IsNaN(v):
			line.WriteByte(' ')
		case highest == 0:
			line.WriteRune(heights[0])
		default:
			line.WriteRune(heights[int(math.Round(v/highest*float64(len(heights)-1)))])
		}
	}
	return line.String()
}

// mean is the mean rate of the seconds from..to that are known, or NaN.
func (t *track) mean(from, to int64) float64 {
	from, to = max(from, t.first, t.last-kept+1), min(to, t.last)
	if t.last == 0 || from > to {
		return math.NaN()
	}
	sum := 0.0
	for s := from; s <= to; s++ {
		sum += float64(t.perSecond[s%kept])
	}
	return sum / float64(to-from+1)
}
