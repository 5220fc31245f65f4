package oneline

import "testing"

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"":                              "",
		" as  it\tis ":                  "as it is",
		"one\n\n two\r\nthree\n":        "one; two; three",
		"a\x1b[2Jb\x00\u009bc":          "a[2Jbc",
		"pod \u202eneves\u200b is zwei": "pod neves is zwei",
		"caf\xe9 für":                   "caf\uFFFD für",
	} {
		if got := Text(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
