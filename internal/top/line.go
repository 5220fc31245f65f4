package top

import "strings"

// header has the titles of the columns, and a mark at the one that rows are sorted
// by.
func (s *screen) header() string {
	t, o := s.table(), s.orders[s.at.view]
	var line strings.Builder
	line.WriteString(strings.Repeat(" ", markWidth))
	for i, p := range s.placed {
		c := &t.columns[p.column]
		title := c.title
		if p.column == o.column && t.ascending(o) {
			title += "▲"
		} else if p.column == o.column {
			title += "▼"
		}
		if i > 0 {
			line.WriteByte(' ')
		}
		line.WriteString(pad(cut(title, p.width), p.width, c.kind == number))
	}
	return s.paint(cut(strings.TrimRight(line.String(), " "), s.width), bold)
}

// line is one row.
func (s *screen) line(index int) string {
	r, chosen := &s.rows[index], index == s.at.index
	var line strings.Builder
	mark := "  "
	if chosen {
		mark = "> "
	}
	line.WriteString(mark)
	if s.width <= markWidth {
		return cut(mark, s.width)
	}
	for i, p := range s.placed {
		if i > 0 {
			line.WriteByte(' ')
		}
		text := s.field(r, p)
		if !chosen {
			text = s.paint(text, s.attribute(r, p.column))
		}
		line.WriteString(text)
	}
	if chosen {
		return s.paint(pad(cut(line.String(), s.width), s.width, false), reverse)
	}
	return strings.TrimRight(line.String(), " ")
}

// field is one cell, as wide as its column.
func (s *screen) field(r *row, p placed) string {
	c := &s.table().columns[p.column]
	text := r.cells[p.column].String()
	switch {
	case c.kind == spark:
		t := s.shown().tracks[r.key]
		text = t.sparkline(p.width)
	case c.tail:
		text = cutMiddle(text, p.width)
	default:
		text = cut(text, p.width)
	}
	return pad(text, p.width, c.kind == number)
}

// attribute marks what went wrong, and takes back what is nothing.
func (s *screen) attribute(r *row, column int) string {
	c, v := &s.table().columns[column], r.cells[column].value
	switch {
	case c.kind != number:
		return ""
	case c.alarm && v > 0:
		return red
	case v > 0:
		return ""
	}
	return dim
}
