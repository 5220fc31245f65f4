//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// A report is everything that one run has measured.
type report struct {
	Machine []string `json:"machine"` // a line each
	Rounds  int      `json:"rounds"`
	Rows    []row    `json:"rows"`
}

// A row is one number.
type row struct {
	Part    string  `json:"part"`
	What    string  `json:"what"`
	Unit    string  `json:"unit"`
	Ours    sample  `json:"ours"`
	Against sample  `json:"against,omitempty"`
	Whose   string  `json:"whose,omitempty"` // what Against is of
	Ratio   sample  `json:"ratio,omitempty"` // round by round
	Target  *target `json:"target,omitempty"`
	Verdict string  `json:"verdict,omitempty"` // "met" or "missed by …"
}

// A target bounds a row's median.
type target struct {
	Of    string  `json:"of"`    // "ours" or "ratio"
	Bound string  `json:"bound"` // "<=" or ">="
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	Text  string  `json:"text,omitempty"` // said instead of Value
}

func atMost(value float64, unit string) *target {
	return &target{Of: "ours", Bound: "<=", Value: value, Unit: unit}
}

func ratioAtMost(value float64) *target {
	return &target{Of: "ratio", Bound: "<=", Value: value, Unit: "x"}
}

func ratioAtLeast(value float64) *target {
	return &target{Of: "ratio", Bound: ">=", Value: value, Unit: "x"}
}

func (t target) String() string {
	if t.Text != "" {
		return t.Bound + " " + t.Text
	}
	return t.Bound + " " + format(t.Value, t.Unit)
}

// judge says whether r has met its target, or by how much it has not.
func (r row) judge() string {
	if r.Target == nil {
		return ""
	}
	value := r.Ours.median()
	if r.Target.Of == "ratio" {
		value = r.Ratio.median()
	}
	over := value - r.Target.Value
	if r.Target.Bound == ">=" {
		over = -over
	}
	if over <= 0 {
		return "met"
	}
	return "missed by " + format(over, r.Target.Unit)
}

func (r report) writeJSON(w io.Writer) error {
	for i := range r.Rows {
		r.Rows[i].Verdict = r.Rows[i].judge()
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(r)
}

// writeTable prints a line for each row, and what the columns mean.
func (r report) writeTable(w io.Writer) error {
	for _, line := range r.Machine {
		fmt.Fprintln(w, line)
	}
	fmt.Fprintln(w)
	var aligned strings.Builder
	table := tabwriter.NewWriter(&aligned, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "part\twhat\tours\tagainst\tratio\ttarget\tverdict")
	for _, row := range r.Rows {
		against := row.Against.text(row.Unit)
		if row.Whose != "" {
			against += " " + row.Whose
		}
		wanted, verdict := "", row.judge()
		if row.Target != nil {
			wanted = row.Target.String()
		}
		fmt.Fprintln(table, strings.Join([]string{
			row.Part, row.What, row.Ours.text(row.Unit), strings.TrimSpace(against), row.Ratio.text("x"), wanted, verdict,
		}, "\t"))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(aligned.String()) {
		fmt.Fprintln(w, strings.TrimRight(line, " \n"))
	}
	_, err := fmt.Fprintf(w, "\nMedian (min-max). What is compared took turns, in %d rounds; a ratio is of what stood side by side in each round.\n", r.Rounds)
	return err
}
