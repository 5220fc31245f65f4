//go:build linux

package main

import (
	"strings"
	"testing"
)

func TestMedian(t *testing.T) {
	tests := []struct {
		sample sample
		want   float64
		text   string
	}{
		{nil, 0, ""},
		{sample{2}, 2, "2.00 s"},
		{sample{9, 1, 2}, 2, "2.00 s (1.00-9.00)"},
		{sample{400, 0.05, 2, 4}, 3, "3.00 s (0.050-400)"},
	}
	for _, test := range tests {
		if got := test.sample.median(); got != test.want {
			t.Errorf("median of %v: %v, want %v", test.sample, got, test.want)
		}
		if got := test.sample.text("s"); got != test.text {
			t.Errorf("text of %v: %q, want %q", test.sample, got, test.text)
		}
	}
}

func TestJudge(t *testing.T) {
	tests := []struct {
		name string
		row  row
		want string
	}{
		{"nothing wanted", row{Ours: sample{1}}, ""},
		{"just met", row{Ours: sample{13}, Target: atMost(13, "s")}, "met"},
		{"over", row{Ours: sample{13.5}, Target: atMost(13, "s")}, "missed by 0.50 s"},
		{"ratio below", row{Ours: sample{1}, Ratio: sample{2, 3, 2.5}, Target: ratioAtLeast(3)}, "missed by 0.50 x"},
		{"ratio above", row{Ours: sample{1}, Ratio: sample{3.5}, Target: ratioAtLeast(3)}, "met"},
		{"ratio over", row{Ours: sample{1}, Ratio: sample{2.75}, Target: ratioAtMost(1.5)}, "missed by 1.25 x"},
	}
	for _, test := range tests {
		if got := test.row.judge(); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

// A ratio is of values that stood side by side, not of the medians.
func TestOver(t *testing.T) {
	if got := over(sample{1, 20, 6}, sample{1, 10, 2}).median(); got != 2 {
		t.Errorf("median of the ratios: %v, want 2", got)
	}
}

func TestWriteTable(t *testing.T) {
	r := report{Machine: []string{"a machine"}, Rounds: 2, Rows: []row{
		{Part: "merge", What: "packets", Unit: "s", Ours: sample{1, 1}, Against: sample{3, 4}, Whose: "mergecap", Ratio: sample{3, 4}, Target: ratioAtLeast(3)},
		{Part: "static", What: "image", Unit: "MB", Ours: sample{2}},
	}}
	var out strings.Builder
	if err := r.writeTable(&out); err != nil {
		t.Fatal(err)
	}
	const want = `a machine

part    what     ours                against                      ratio               target     verdict
merge   packets  1.00 s (1.00-1.00)  3.50 s (3.00-4.00) mergecap  3.50 x (3.00-4.00)  >= 3.00 x  met
static  image    2.00 MB

Median (min-max). What is compared took turns, in 2 rounds; a ratio is of what stood side by side in each round.
`
	if out.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", out.String(), want)
	}
}
