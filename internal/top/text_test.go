package top

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestNumbers(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.01: "<0.1", 0.5: "0.5", 9.94: "9.9", 9.96: "10", 999: "999", 999.6: "1.0k", 12_345: "12k", 999_600: "1.0M", 4.2e9: "4.2G"} {
		if got := rate(v); got != want {
			t.Errorf("rate %v: %s, want %s", v, got, want)
		}
	}
	for v, want := range map[float64]string{0: "0", 7: "7", 99_999: "99999", 100_000: "100k", 1.8e19: "18E", 5e21: "5000E"} {
		if got := count(v); got != want {
			t.Errorf("count %v: %s, want %s", v, got, want)
		}
	}
	for v, want := range map[float64]string{0: "0µs", 999: "999µs", 999.7: "1.0ms", 9_960: "10ms", 999_600: "1.0s", 4.3e9: "4300s"} {
		if got := micros(v); got != want {
			t.Errorf("%v µs: %s, want %s", v, got, want)
		}
	}
	if got := clock(100*time.Hour + 61*time.Second); got != "100:01:01" {
		t.Error(got)
	}
}

func TestCut(t *testing.T) {
	for _, test := range []struct {
		text        string
		most        int
		end, middle string
	}{
		{"short", 5, "short", "short"},
		{"web-7d9c5b8f6-aaaaa", 12, "web-7d9c5b8…", "web-7…-aaaaa"},
		{"web-7d9c5b8f6-aaaaa", 5, "web-…", "web-…"},
		{"漢字漢字漢字", 9, "漢字漢字…", "漢字…漢字"},
		{"漢字漢字漢字", 8, "漢字漢…", "漢…漢字"},
		{"abc", 1, "…", "…"},
		{"abc", 0, "", ""},
		{"abc", -3, "", ""},
	} {
		if got := cut(test.text, test.most); got != test.end {
			t.Errorf("%q in %d: %q, want %q", test.text, test.most, got, test.end)
		}
		if got := cutMiddle(test.text, test.most); got != test.middle {
			t.Errorf("%q in %d, middle: %q, want %q", test.text, test.most, got, test.middle)
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add("web-7d9c5b8f6-aaaaa", 12)
	f.Add("漢字 e\u0301\x1b[2J\n", 3)
	f.Fuzz(func(t *testing.T, raw string, columns int) {
		columns = columns % 200
		text := clean(raw)
		if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) || !utf8.ValidString(text) {
			t.Errorf("%q is not clean", text)
		}
		for _, short := range []string{cut(text, columns), cutMiddle(text, columns), head(text, columns), tail(text, columns)} {
			if width(short) > max(0, columns) {
				t.Errorf("%q has %d columns, want at most %d", short, width(short), columns)
			}
		}
		const prefix = "name "
		lines := wrap(prefix, text, columns)
		for _, line := range lines {
			if columns >= 12 && width(line) > columns {
				t.Errorf("%q has %d columns, want at most %d", line, width(line), columns)
			}
		}
		bare := func(s string) string { return strings.ReplaceAll(s, " ", "") }
		if got := bare(strings.Join(lines, "")); got != bare(prefix+text) {
			t.Errorf("wrapped: %q, want %q", got, bare(prefix+text))
		}
	})
}

func TestSparkline(t *testing.T) {
	begin := time.Unix(1_800_000_000, 0) // a multiple of all bars' lengths
	var tr track
	if got := tr.sparkline(12); got != strings.Repeat(" ", 12) {
		t.Errorf("nothing yet: %q", got)
	}
	for s := range 60 {
		v := 0.0
		if s >= 30 {
			v = 700
		}
		tr.add(v, begin.Add(time.Duration(s)*time.Second), 1)
	}
	if got, want := tr.sparkline(12), "▁▁▁▁▁▁██████"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := tr.sparkline(100), strings.Repeat("▁", 30)+strings.Repeat("█", 30); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	// Bars that are over stay as they are while time goes on.
	tr.add(350, begin.Add(60*time.Second), 1)
	if got, want := tr.sparkline(12), "▁▁▁▁▁██████▅"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	// A long interval fills its seconds, and what is older than a minute is forgotten.
	tr.add(70, begin.Add(200*time.Second), 140)
	if got, want := tr.sparkline(12), strings.Repeat("█", 12); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := tr.sparkline(0); got != "" {
		t.Errorf("%q", got)
	}
}

func TestParseView(t *testing.T) {
	for name, want := range map[string]View{"pods": Pods, "Pod": Pods, "node": Nodes, "FLOWS": Flows, "drop": Drops, "dns": DNS} {
		if got, err := ParseView(name); got != want || err != nil {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
}
