package main

import (
	"bytes"
	"cmp"
	"fmt"
	"html"
	"strings"
)

// Sizes in pixels, and the screen's own colours.
const (
	cellWidth  = 8
	cellHeight = 18
	margin     = 12
	baseline   = 13    // in a cell
	fontSize   = 13.29 // DejaVu Sans Mono is 0.602 of it wide
	ownText    = "#d0d4dc"
	ownGround  = "#15181e"
)

// draw makes the SVG. Each run says how long it is, so that columns stay columns in
// whatever font there is.
func draw(lines [][]run) []byte {
	columns := 0
	for _, line := range lines {
		n := 0
		for _, r := range line {
			n += width(r.chars)
		}
		columns = max(columns, n)
	}
	w, h := columns*cellWidth+2*margin, len(lines)*cellHeight+2*margin
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%[1]d" height="%[2]d" viewBox="0 0 %[1]d %[2]d" font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="%[3]v" fill="%[4]s" xml:space="preserve">`+"\n",
		w, h, fontSize, ownText)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" rx="8" fill="%s"/>`+"\n", w, h, ownGround)
	for row, line := range lines {
		x := margin
		for _, r := range line {
			r.draw(&b, x, margin+row*cellHeight)
			x += width(r.chars) * cellWidth
		}
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// draw draws a run whose first cell has its upper left corner at x and y.
func (r run) draw(b *bytes.Buffer, x, y int) {
	text, ground, length := r.text, r.ground, width(r.chars)*cellWidth
	if r.reverse {
		text, ground = cmp.Or(ground, ownGround), cmp.Or(text, ownText)
	}
	if ground != "" {
		fmt.Fprintf(b, `<rect x="%d" y="%d" width="%d" height="%d" fill="%s"/>`+"\n", x, y, length, cellHeight, ground)
	}
	if strings.TrimSpace(r.chars) == "" {
		return
	}
	fmt.Fprintf(b, `<text x="%d" y="%d" textLength="%d"`, x, y+baseline, length)
	if text != "" {
		fmt.Fprintf(b, ` fill="%s"`, text)
	}
	if r.bold {
		b.WriteString(` font-weight="bold"`)
	}
	if r.dim {
		b.WriteString(` opacity="0.65"`)
	}
	if r.line {
		b.WriteString(` text-decoration="underline"`)
	}
	// Blanks at the ends would be dropped, and with them the columns.
	fmt.Fprintf(b, ">%s</text>\n", strings.ReplaceAll(html.EscapeString(r.chars), " ", "\u00a0"))
}
