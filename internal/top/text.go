package top

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"time"

	"github.com/mattn/go-runewidth"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
	"github.com/kubectl-retina/kubectl-retina/internal/oneline"
)

// nothing stands for what is not known or not measured.
const nothing = "-"

const ellipsis = "…"

// clean returns text as it may be shown: in one line, without control characters.
func clean(text string) string {
	for i := range len(text) {
		if text[i] <= ' ' || text[i] > '~' {
			return oneline.Text(text)
		}
	}
	return text // as nearly all names are
}

// cellWidth is how many columns of a terminal a character takes. The locale's
// opinion is not asked: a screen looks the same everywhere.
func cellWidth(r rune) int {
	condition := runewidth.Condition{StrictEmojiNeutral: true}
	return condition.RuneWidth(r)
}

// width is how many columns of a terminal text takes.
func width(text string) int {
	total := 0
	for _, r := range text {
		if r < 0x80 {
			total++
		} else {
			total += cellWidth(r)
		}
	}
	return total
}

// head returns as much of text's beginning as has room in most columns, and tail
// of its end.
func head(text string, most int) string {
	for i, r := range text {
		if most -= cellWidth(r); most < 0 {
			return text[:i]
		}
	}
	return text
}

func tail(text string, most int) string {
	excess := width(text) - most
	for i, r := range text {
		if excess <= 0 {
			return text[i:]
		}
		excess -= cellWidth(r)
	}
	return ""
}

// cut shortens text to most columns with an ellipsis at its end.
func cut(text string, most int) string {
	switch {
	case width(text) <= most:
		return text
	case most <= 0:
		return ""
	}
	return head(text, most-1) + ellipsis
}

// cutMiddle shortens text to most columns and keeps its end, which is what tells
// the pods of one workload apart.
func cutMiddle(text string, most int) string {
	const least = 8
	if most < least || width(text) <= most {
		return cut(text, most)
	}
	end := most / 2
	return head(text, most-1-end) + ellipsis + tail(text, end)
}

// pad fills text with blanks up to the width, at its left for numbers.
func pad(text string, columns int, right bool) string {
	blanks := strings.Repeat(" ", max(0, columns-width(text)))
	if right {
		return blanks + text
	}
	return text + blanks
}

// wrap breaks text at blanks into lines of at most the width. The first one begins
// with prefix, the others as far to the right, or a third of the width.
func wrap(prefix, text string, columns int) []string {
	indent := strings.Repeat(" ", max(0, min(width(prefix), columns/3)))
	var lines []string
	line, empty := prefix, true // but for the prefix
	for word := range strings.FieldsSeq(text) {
		if !empty && width(line)+1+width(word) > columns {
			lines = append(lines, line)
			line, empty = indent, true
		}
		if !empty {
			line += " "
		}
		line, empty = line+word, false
		for {
			first := head(line, columns)
			if len(first) == len(line) || len(first) <= len(indent) {
				break // all has room, or not even one character
			}
			lines = append(lines, first)
			line = indent + line[len(first):]
		}
	}
	return append(lines, line)
}

// rate formats a number per second.
func rate(v float64) string {
	switch {
	case v <= 0:
		return "0"
	case v < 0.05:
		return "<0.1"
	case v < 9.95:
		return fmt.Sprintf("%.1f", v)
	}
	return scaled(v, 999.5)
}

// count formats a total.
func count(v float64) string { return scaled(v, 99999.5) }

// scaled formats a number with a decimal prefix from limit on.
func scaled(v, limit float64) string {
	if v < limit {
		return fmt.Sprintf("%.0f", v)
	}
	prefixes := "kMGTPE"
	v /= 1000
	for len(prefixes) > 1 && v >= 999.5 {
		v /= 1000
		prefixes = prefixes[1:]
	}
	if v < 9.95 {
		return fmt.Sprintf("%.1f%c", v, prefixes[0])
	}
	return fmt.Sprintf("%.0f%c", v, prefixes[0])
}

// plain formats a number that is a name, such as a port; 0 is none.
func plain(v float64) string {
	if v == 0 {
		return nothing
	}
	return fmt.Sprintf("%.0f", v)
}

// micros formats a time in µs.
func micros(v float64) string {
	switch {
	case v < 999.5:
		return fmt.Sprintf("%.0fµs", v)
	case v < 9950:
		return fmt.Sprintf("%.1fms", v/1e3)
	case v < 999500:
		return fmt.Sprintf("%.0fms", v/1e3)
	case v < 9.95e6:
		return fmt.Sprintf("%.1fs", v/1e6)
	}
	return fmt.Sprintf("%.0fs", v/1e6)
}

// clock formats a length of time as 01:02:03.
func clock(d time.Duration) string {
	s := int64(math.Round(max(0, d.Seconds())))
	return fmt.Sprintf("%02d:%02d:%02d", s/3600, s/60%60, s%60)
}

// sideText is the party and the port of one side of a packet.
func sideText(s *metrics.Side) string {
	if s == nil {
		return nothing
	}
	text := s.Party.String()
	if s.Port == 0 || text == "" {
		return orNothing(text)
	}
	if address, err := netip.ParseAddr(text); err == nil {
		return netip.AddrPortFrom(address, s.Port).String()
	}
	return fmt.Sprintf("%s:%d", text, s.Port)
}

func orNothing(text string) string {
	if text == "" {
		return nothing
	}
	return text
}

// partyID is equal for parties that are the same.
func partyID(p *metrics.Party) string {
	switch {
	case p.Name != "":
		return p.Kind + "\x00" + p.Namespace + "\x00" + p.Name
	case len(p.Addresses) > 0:
		return p.Addresses[0].String()
	}
	return p.Kind + "\x00" + p.Namespace + "\x00" + p.Node + "\x00" + p.Workload
}
