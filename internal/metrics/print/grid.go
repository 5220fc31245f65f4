package print

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/kubectl-retina/kubectl-retina/internal/oneline"
)

const (
	gap         = 3  // blanks between two columns, as kubectl has
	narrowest   = 12 // to what a column is cut at most
	lineEllipse = "…"
)

// A Grid is a table in the manner of kubectl: columns of text, the first row in
// upper case, no borders.
type Grid struct {
	header []string
	rows   [][]string
	hidden string // a line below the rows
}

// NewGrid returns a grid with titles.
func NewGrid(header ...string) *Grid { return &Grid{header: header} }

// Add adds a row. Its cells are made fit for a terminal; those that are empty show
// as "-".
func (g *Grid) Add(cells ...string) {
	row := make([]string, len(g.header))
	for i := range row {
		if i < len(cells) {
			row[i] = oneline.Text(cells[i])
		}
		if row[i] == "" {
			row[i] = "-"
		}
	}
	g.rows = append(g.rows, row)
}

// Hidden adds a line below the rows: how many more there are, and how to see them.
func (g *Grid) Hidden(count int, how string) {
	if count > 0 {
		g.hidden = fmt.Sprintf("(%d more%s)", count, how)
	}
}

// Empty tells whether there are no rows.
func (g *Grid) Empty() bool { return len(g.rows) == 0 }

// Print writes the grid. Where it is wider than width, its widest columns are cut;
// a width of 0 is as wide as it gets.
func (g *Grid) Print(to io.Writer, width int) error {
	lines := append([][]string{g.header}, g.rows...)
	widths := g.widths(lines, width)
	out := bufio.NewWriter(to)
	for _, line := range lines {
		var b strings.Builder
		for i, cell := range line {
			cell = cut(cell, widths[i])
			b.WriteString(cell)
			if i < len(line)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]+gap-utf8.RuneCountInString(cell)))
			}
		}
		out.WriteString(strings.TrimRight(b.String(), " "))
		out.WriteByte('\n')
	}
	if g.hidden != "" {
		out.WriteString(g.hidden + "\n")
	}
	return out.Flush()
}

func (g *Grid) widths(lines [][]string, width int) []int {
	widths := make([]int, len(g.header))
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	total := gap * (len(widths) - 1)
	for _, w := range widths {
		total += w
	}
	for width > 0 && total > width {
		widest := slices.Index(widths, slices.Max(widths))
		if widths[widest] <= narrowest {
			break
		}
		widths[widest]--
		total--
	}
	return widths
}

func cut(cell string, width int) string {
	if utf8.RuneCountInString(cell) <= width {
		return cell
	}
	runes := []rune(cell)
	return string(runes[:width-1]) + lineEllipse
}
