package top

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// onceLooks is how many intervals one table waits for its first numbers.
const onceLooks = 5

// Print writes the view as lines of plain text, for files and programs: a header,
// and then each interval one line for each row, with the time first. Between two
// columns are at least two blanks. Lines that begin with "#" say what is lost or
// not supported, and why there are no rows, when that changes. It ends with ctx,
// which is no error, or when w does.
//
// With once it waits until something was measured, which takes an interval or two,
// prints one table, without times, and returns. Where nothing comes it gives up.
func Print(ctx context.Context, w io.Writer, o Options, once bool) error {
	if err := o.Validate(); err != nil {
		return err
	}
	o = o.withDefaults()
	p := newPrinter(w, o, !once)
	feed := newFeed(o.Source)
	feed.next(p.table.by)
	timer := time.NewTicker(o.Interval)
	defer timer.Stop()
	for looks := 1; ; looks++ {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		f := feed.next(p.table.by)
		if once && (f == nil || f.delta == nil) && looks < onceLooks {
			continue // no rate can be told yet
		}
		if err := p.print(f); err != nil {
			return fmt.Errorf("print %s: %w", p.table.view, err)
		}
		if once {
			return nil
		}
	}
}

// A printer writes tables below each other, with columns that stay as wide as
// they have been.
type printer struct {
	w       io.Writer
	now     func() time.Time
	table   *table
	order   order
	filter  string
	times   bool  // the first column is the time
	columns []int // of the table, that are printed
	widths  []int // with that of the time
	headed  bool  // the header is printed
	notes   []string
}

func newPrinter(w io.Writer, o Options, times bool) *printer {
	p := &printer{w: w, now: o.Now, table: tableOf(o.View), filter: o.Filter, times: times}
	sortBy := o.SortBy
	if sortBy == "" {
		sortBy = p.table.sortBy
	}
	p.order = order{column: p.table.column(sortBy)}
	for i := range p.table.columns {
		if p.table.columns[i].kind != spark {
			p.columns = append(p.columns, i)
		}
	}
	p.widths = make([]int, len(p.columns)+1)
	return p
}

// print writes what has changed of the notes, and all rows.
func (p *printer) print(f *frame) error {
	var rows []row
	unfiltered := 0
	if f != nil {
		all := p.table.rows(f, scope{})
		unfiltered = len(all)
		rows = filter(all, p.filter, p.columns)
		p.table.sort(rows, p.order)
	}
	var text strings.Builder
	p.note(&text, f, rows, unfiltered)
	var lines [][]string
	if !p.headed && len(rows) > 0 {
		p.headed = true
		lines = append(lines, p.header())
	}
	for i := range rows {
		lines = append(lines, p.cells(&rows[i]))
	}
	for _, cells := range lines {
		for i := range cells {
			p.widths[i] = max(p.widths[i], width(cells[i]))
		}
	}
	for _, cells := range lines {
		p.line(&text, cells)
	}
	_, err := io.WriteString(p.w, text.String())
	return err
}

// note writes the notes that were not there before.
func (p *printer) note(text *strings.Builder, f *frame, rows []row, unfiltered int) {
	var notes []string
	if f != nil {
		for _, problem := range problems(f.report) {
			for _, line := range problem.lines {
				notes = append(notes, problem.title+" "+line)
			}
		}
	}
	if len(rows) == 0 {
		why := emptiness(f, p.table, scope{}, p.filter, unfiltered, p.now().Location())
		notes = append(notes, strings.ReplaceAll(why, ": ! says why", ""))
	}
	for _, note := range notes {
		if !slices.Contains(p.notes, note) {
			fmt.Fprintln(text, "# "+clean(note))
		}
	}
	p.notes = notes
}

func (p *printer) header() []string {
	cells := []string{"TIME"}
	for _, i := range p.columns {
		cells = append(cells, p.table.columns[i].name())
	}
	return cells
}

func (p *printer) cells(r *row) []string {
	cells := []string{p.now().Format(time.TimeOnly)}
	for _, i := range p.columns {
		cells = append(cells, orNothing(r.cells[i].String()))
	}
	return cells
}

// line writes one line. Only the last column is not filled up.
func (p *printer) line(text *strings.Builder, cells []string) {
	for i, cell := range cells {
		if i == 0 {
			if p.times {
				text.WriteString(pad(cell, p.widths[0], false) + "  ")
			}
			continue
		}
		right := p.table.columns[p.columns[i-1]].kind == number
		if i == len(cells)-1 && !right {
			text.WriteString(cell)
			break
		}
		text.WriteString(pad(cell, p.widths[i], right))
		if i < len(cells)-1 {
			text.WriteString("  ")
		}
	}
	text.WriteByte('\n')
}
