package top

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
)

// A table is how one view is built.
type table struct {
	view    View
	by      metrics.By // the reports that it needs
	columns []column
	// sortBy and then are titles: the view's own order, and the one among rows that
	// are equal in the column that was chosen.
	sortBy, then string
	// rows makes the rows of what is in scope.
	rows func(f *frame, in scope) []row
	// details are all that is known of a row.
	details func(f *frame, r *row) []field
	// enter is where the enter key leads from a row; nil where that is its details.
	enter func(f *frame, r *row) (View, scope)
	// plugins are those that the rows come from, any of them; none: from all.
	plugins []string
}

// A column is one of a table.
type column struct {
	title string
	help  string // what the number is
	// width is the least; only text grows, as far as there is room.
	width int
	// rank says in which order columns are dropped where there is no room: the highest
	// first.
	rank  int
	kind  columnKind
	alarm bool // what is not zero is marked
	tail  bool // shortened in the middle: the end matters
}

type columnKind int

const (
	number columnKind = iota
	text
	spark
)

// name is the column's title in one word.
func (c *column) name() string { return strings.ReplaceAll(c.title, " ", "-") }

// A cell is one field of a row.
type cell struct {
	text   string
	value  float64 // NaN: not known
	format func(float64) string
}

// A row is one line of a table.
type row struct {
	key   string
	index int    // of the entry in the report
	cells []cell // as the table's columns
}

// A field is a line of details.
type field struct{ name, text string }

func unknown() float64 { return math.NaN() }

func textCell(s string) cell { return cell{text: s, value: math.NaN()} }

func numberCell(v float64, format func(float64) string) cell { return cell{value: v, format: format} }

// counted is a cell of a number that is known only if measured.
func counted(n uint64, measured bool, format func(float64) string) cell {
	if !measured {
		return numberCell(unknown(), format)
	}
	return numberCell(float64(n), format)
}

// rated is a cell of a rate that is known only if measured.
func (f *frame) rated(change uint64, measured bool) cell {
	if !measured {
		return numberCell(unknown(), rate)
	}
	return numberCell(f.perSecond(change), rate)
}

// String is the cell as it is shown where there is room.
func (c *cell) String() string {
	switch {
	case c.format == nil:
		return clean(c.text)
	case math.IsNaN(c.value):
		return nothing
	}
	return c.format(c.value)
}

// column returns the index of the column that a user names, or -1. Case, and what
// is neither letter nor digit, do not count.
func (t *table) column(name string) int {
	letters := func(s string) string {
		return strings.Map(func(r rune) rune {
			if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
				return r
			}
			return -1
		}, strings.ToLower(s))
	}
	wanted := letters(name)
	return slices.IndexFunc(t.columns, func(c column) bool { return wanted != "" && letters(c.title) == wanted })
}

// An order is how rows are sorted.
type order struct {
	column  int
	reverse bool // not what the column begins with: text up, numbers down
}

// ascending reports whether the smallest comes first.
func (t *table) ascending(o order) bool { return (t.columns[o.column].kind == text) != o.reverse }

// sort sorts rows. Those that are equal keep a place of their own: first by the
// table's second column, then by key.
func (t *table) sort(rows []row, o order) {
	up, then := t.ascending(o), t.column(t.then)
	slices.SortFunc(rows, func(a, b row) int {
		if c := compareCells(&a.cells[o.column], &b.cells[o.column], up); c != 0 {
			return c
		}
		if c := compareCells(&a.cells[then], &b.cells[then], t.columns[then].kind == text); c != 0 {
			return c
		}
		return strings.Compare(a.key, b.key)
	})
}

// compareCells puts what is not known last, whichever way.
func compareCells(a, b *cell, up bool) int {
	if a.format == nil {
		if a.text == "" || b.text == "" {
			return -cmp.Compare(min(len(a.text), 1), min(len(b.text), 1))
		}
		if up {
			return strings.Compare(a.text, b.text)
		}
		return strings.Compare(b.text, a.text)
	}
	x, y := a.value, b.value
	switch {
	case math.IsNaN(x) && math.IsNaN(y):
		return 0
	case math.IsNaN(x):
		return 1
	case math.IsNaN(y):
		return -1
	case up:
		return cmp.Compare(x, y)
	}
	return cmp.Compare(y, x)
}

// filter returns the rows with a field, among the columns shown, that contains
// word in any case.
func filter(rows []row, word string, shown []int) []row {
	word = strings.ToLower(word)
	if word == "" {
		return rows
	}
	var kept []row
	for _, r := range rows {
		if slices.ContainsFunc(shown, func(i int) bool {
			return strings.Contains(strings.ToLower(r.cells[i].String()), word)
		}) {
			kept = append(kept, r)
		}
	}
	return kept
}

// tableOf returns the table of a view that exists.
func tableOf(view View) *table {
	switch view {
	case Nodes:
		return nodesTable()
	case Flows:
		return flowsTable()
	case Drops:
		return dropsTable()
	case DNS:
		return dnsTable()
	}
	return podsTable()
}
