package expect

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
	"github.com/kubectl-retina/kubectl-retina/internal/metrics/print"
)

// maxWorst is how many parts a verdict names, and maxCauses how many causes.
const (
	maxWorst  = 3
	maxCauses = 3
)

// A Verdict is what became of an expectation.
type Verdict struct {
	Expectation *Expectation `json:"expectation"`
	// Held is whether it was measured and is so.
	Held bool `json:"held"`
	// Measured is whether the numbers prove one or the other.
	Measured bool `json:"measured"`
	// Value is the number that was compared, in Unit: µs, bytes, a count, 1 for all
	// of a ratio; per second when PerSecond is set. 0 when there is none.
	Value     float64      `json:"value"`
	Unit      metrics.Unit `json:"unit"`
	PerSecond bool         `json:"perSecond,omitempty"`
	// Text says in one line why.
	Text string `json:"text"`
	// Worst are the parts that the value comes from most, or, where more is wanted,
	// least.
	Worst []Part `json:"worst,omitempty"`
}

// A Part is what one pod, reason or name contributes to a verdict.
type Part struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
}

// Evaluate judges a report by e. It should be by pod: other rows do not tell all
// labels, and an expectation with one that is not told counts as not measured.
func Evaluate(e *Expectation, r *metrics.Report) Verdict {
	v := Verdict{Expectation: e, Unit: e.metric.unit, PerSecond: e.rate}
	state := e.state(r)
	if why := e.unselected(r); why != "" {
		v.Text = why
		return v
	}
	if !state.measured {
		v.Text = causes(state.gaps, "no node was measured")
		return v
	}
	parts := e.collect(r)
	var total amount
	for _, p := range parts {
		total.add(p.amount)
	}
	value, ok := e.value(total, r)
	if !ok {
		v.Text = e.nothing(r)
		return v
	}
	v.Value, v.Worst = value, e.worst(parts, r)
	v.Held = e.holds(value)
	v.Measured = len(state.gaps) == 0 || e.proven(value)
	if !v.Measured {
		v.Held = false
		v.Text = fmt.Sprintf("%s at least: %s", v.number(), causes(state.gaps, ""))
		if !e.metric.counter() {
			v.Text = fmt.Sprintf("%s of what was counted: %s", v.number(), causes(state.gaps, ""))
		}
		return v
	}
	v.Text = v.explain(state)
	return v
}

// EvaluateAll judges a report by all.
func EvaluateAll(all []*Expectation, r *metrics.Report) []Verdict {
	verdicts := make([]Verdict, len(all))
	for i, e := range all {
		verdicts[i] = Evaluate(e, r)
	}
	return verdicts
}

func (e *Expectation) value(total amount, r *metrics.Report) (float64, bool) {
	value, ok := e.metric.value(total)
	if !ok || !e.rate {
		return value, ok
	}
	if r.Seconds() <= 0 {
		return 0, false
	}
	return value / r.Seconds(), true
}

func (e *Expectation) holds(value float64) bool {
	switch e.compare {
	case "==":
		return value == e.bound
	case "!=":
		return value != e.bound
	case "<":
		return value < e.bound
	case "<=":
		return value <= e.bound
	case ">":
		return value > e.bound
	}
	return value >= e.bound
}

// proven tells whether value, when it is a lower bound, decides. Only counters
// are one.
func (e *Expectation) proven(value float64) bool {
	if !e.metric.counter() {
		return false
	}
	switch e.compare {
	case "<", "<=":
		return !e.holds(value)
	case ">", ">=":
		return e.holds(value)
	}
	return value > e.bound
}

// nothing says why there is no value.
func (e *Expectation) nothing(r *metrics.Report) string {
	switch {
	case e.rate:
		return "the report covers no time"
	case e.metric.source == fromDNS && e.metric.unit == metrics.UnitRatio:
		return "there were no answers"
	case e.metric.source == fromDNS && !e.asks("role") && slices.ContainsFunc(r.DNS, func(d metrics.DNS) bool { return d.Role == "server" }):
		return `nothing was asked; what targets answered has role="server"`
	case e.metric.source == fromDNS:
		return "nothing was asked and answered"
	case e.metric.unit == metrics.UnitRatio:
		return "no TCP segments were sent"
	}
	return "no time was measured"
}

// worst returns the parts that matter most, those of the same name together.
func (e *Expectation) worst(parts []part, r *metrics.Report) []Part {
	var order []string
	sums := make(map[string]amount)
	for _, p := range parts {
		sum, known := sums[p.name]
		if !known {
			order = append(order, p.name)
		}
		sum.add(p.amount)
		sums[p.name] = sum
	}
	more := e.compare == ">" || e.compare == ">="
	var worst []Part
	for _, name := range order {
		value, ok := e.value(sums[name], r)
		if ok && (value > 0 || more) {
			worst = append(worst, Part{name, value})
		}
	}
	slices.SortStableFunc(worst, func(a, b Part) int {
		byValue := cmp.Compare(b.Value, a.Value)
		if more {
			byValue = -byValue
		}
		return cmp.Or(byValue, strings.Compare(a.Name, b.Name))
	})
	return worst[:min(len(worst), maxWorst)]
}

// number is the value as people read it.
func (v *Verdict) number() string {
	text := print.Number(v.Value, v.Unit)
	if v.PerSecond {
		text += "/s"
	}
	return text
}

func (v *Verdict) explain(s state) string {
	text := v.number()
	if !v.Held {
		var parts []string
		for _, p := range v.Worst {
			parts = append(parts, fmt.Sprintf("%s %s", print.Number(p.Value, v.Unit), p.Name))
		}
		if len(parts) > 0 {
			text += ": " + strings.Join(parts, ", ")
		}
	}
	if len(s.notes) > 0 {
		text += " (" + causes(s.notes, "") + ")"
	}
	return text
}

// causes joins the first of many.
func causes(all []string, none string) string {
	slices.Sort(all)
	all = slices.Compact(all)
	if len(all) == 0 {
		return none
	}
	text := strings.Join(all[:min(len(all), maxCauses)], "; ")
	if more := len(all) - maxCauses; more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return text
}
