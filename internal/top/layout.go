package top

import (
	"cmp"
	"slices"
)

// A place for a column on the screen.
type placed struct {
	column int // index in the table
	width  int
}

const (
	markWidth = 2 // of the mark at the selected row
	gap       = 1 // between two columns
)

// sparkWidths are those with bars of whole seconds, after leastBars.
func sparkWidths() []int { return []int{minute / 4, minute / 3, minute / 2, minute} }

// place chooses the columns that have room in the width, by rank; the one that
// rows are sorted by comes first. They stand in the table's order, each as narrow
// as it may be.
func place(t *table, sorted, columns int) []placed {
	byRank := make([]int, len(t.columns))
	for i := range byRank {
		byRank[i] = i
	}
	rank := func(i int) int {
		if i == sorted {
			return 0
		}
		return t.columns[i].rank
	}
	slices.SortFunc(byRank, func(a, b int) int { return cmp.Compare(rank(a), rank(b)) })
	left := columns - markWidth + gap
	var chosen []placed
	for _, i := range byRank {
		wide := t.columns[i].width
		if i == sorted {
			wide = max(wide, width(t.columns[i].title)+1) // with the mark
		}
		if len(chosen) == 0 {
			wide = max(1, min(wide, left-gap))
		}
		if wide+gap <= left || len(chosen) == 0 {
			chosen = append(chosen, placed{i, wide})
			left -= wide + gap
		}
	}
	slices.SortFunc(chosen, func(a, b placed) int { return cmp.Compare(a.column, b.column) })
	return chosen
}

// grow gives room that is left to columns of text, by rank, as far as rows need it,
// and then to the sparkline.
func grow(t *table, chosen []placed, rows []row, columns int) {
	left := columns - markWidth + gap
	for _, p := range chosen {
		left -= p.width + gap
	}
	byRank := make([]*placed, len(chosen))
	for i := range chosen {
		byRank[i] = &chosen[i]
	}
	slices.SortFunc(byRank, func(a, b *placed) int {
		return cmp.Compare(t.columns[a.column].rank, t.columns[b.column].rank)
	})
	for _, p := range byRank {
		if left <= 0 {
			return
		}
		if t.columns[p.column].kind != text {
			continue
		}
		wanted := p.width
		for i := range rows {
			wanted = max(wanted, width(rows[i].cells[p.column].String()))
		}
		more := min(wanted-p.width, left)
		p.width += more
		left -= more
	}
	for _, p := range byRank {
		if t.columns[p.column].kind != spark {
			continue
		}
		before := p.width
		for _, wide := range sparkWidths() {
			if wide > p.width && wide-before <= left {
				p.width = wide
			}
		}
	}
}
