package packetprint

import (
	"fmt"
	"unicode/utf8"

	"github.com/kubectl-retina/kubectl-retina/internal/oneline"
)

// Bounds of texts in lines, in bytes.
const (
	maxName = 340 // NAMESPACE/POD/IFNAME and a little
	maxText = 256 // of what a packet says
)

// clean makes text fit for a terminal, and cuts it.
func clean(text string, limit int) string {
	whole := len(text) <= limit
	if !whole {
		for limit > 0 && !utf8.RuneStart(text[limit]) {
			limit--
		}
		text = text[:limit]
	}
	for i := range len(text) { // the usual case needs no copy
		if text[i] < '!' || text[i] > '~' {
			text = oneline.Text(text)
			break
		}
	}
	if !whole {
		text += "…"
	}
	return text
}

// layer notes one header for the full dump. The text must be clean.
func (d *decoder) layer(name, format string, args ...any) {
	if d.full {
		d.layers = append(d.layers, fmt.Sprintf("%-9s ", name)+fmt.Sprintf(format, args...))
	}
}

const (
	dumpBytes = 16 // in a line
	dumpText  = 51 // where the text of a line begins
)

// appendDump appends the headers, and then data as tcpdump -XX does.
func appendDump(b []byte, layers []string, data []byte) []byte {
	for _, text := range layers {
		b = append(append(append(b, '\t'), text...), '\n')
	}
	for at := 0; at < len(data); at += dumpBytes {
		row := data[at:min(at+dumpBytes, len(data))]
		b = fmt.Appendf(b, "\t0x%04x:  ", at)
		start := len(b)
		for i, c := range row {
			b = append(b, hexDigits[c>>4], hexDigits[c&15])
			if i%2 == 1 {
				b = append(b, ' ')
			}
		}
		for len(b)-start < dumpText-10 {
			b = append(b, ' ')
		}
		for _, c := range row {
			if c <= ' ' || c > '~' {
				c = '.'
			}
			b = append(b, c)
		}
		b = append(b, '\n')
	}
	return b
}

const hexDigits = "0123456789abcdef"
