// Package oneline makes text of unknown origin fit for one line of a terminal.
package oneline

import (
	"strings"
	"unicode"
)

// Text returns text as one line of valid UTF-8 that cannot move the cursor, set
// colours or change what stands beside it: its lines are joined with "; ", other
// space is one blank, and what cannot be printed is left out.
func Text(text string) string {
	var lines []string
	for line := range strings.FieldsFuncSeq(strings.ToValidUTF8(text, "\uFFFD"), func(r rune) bool { return r == '\n' || r == '\r' }) {
		line = strings.Map(func(r rune) rune {
			switch {
			case unicode.IsSpace(r):
				return ' '
			case unicode.IsPrint(r):
				return r
			}
			return -1
		}, line)
		if words := strings.Fields(line); len(words) > 0 {
			lines = append(lines, strings.Join(words, " "))
		}
	}
	return strings.Join(lines, "; ")
}
