package top

import (
	"maps"
	"slices"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
)

// A screen is all that the user sees and may do, without a terminal. It is used
// by one goroutine.
type screen struct {
	title    string
	color    bool
	now      func() time.Time
	interval time.Duration // between two reports
	tables   map[View]*table
	orders   map[View]order

	width, height int

	at   position
	back []position // where the user came from, the last one last

	frames map[metrics.By]*frame // the newest ones
	// frozen are those of the moment when the user paused; nil: not paused.
	frozen   map[metrics.By]*frame
	pausedAt time.Time

	typing  bool // the filter
	overlay overlay

	base   []row // of baseOf, unsorted
	baseOf origin
	rows   []row // those of base that pass the filter, sorted, as rowsAs
	placed []placed
	rowsAs arrangement
}

// A position is where the user is.
type position struct {
	view   View
	in     scope
	filter string
	// selected is the key of the selected row; "" is the first one, whichever it is.
	selected string
	index    int // of selected among the rows
	offset   int // of the first row on the screen
}

// An origin is what rows were made of.
type origin struct {
	frame *frame
	view  View
	in    scope
}

// An arrangement is how rows are shown.
type arrangement struct {
	of     origin
	by     order
	filter string
	width  int
}

func newScreen(o Options) *screen {
	s := &screen{
		title:    clean(o.Title),
		color:    o.Color,
		now:      o.Now,
		interval: o.Interval,
		tables:   map[View]*table{},
		orders:   map[View]order{},
		width:    o.Width,
		height:   o.Height,
		at:       position{view: o.View, filter: o.Filter},
		frames:   map[metrics.By]*frame{},
	}
	for _, name := range Views() {
		t := tableOf(View(name))
		s.tables[t.view] = t
		s.orders[t.view] = order{column: t.column(t.sortBy)}
	}
	if o.SortBy != "" {
		s.orders[o.View] = order{column: s.table().column(o.SortBy)}
	}
	s.refresh()
	return s
}

func (s *screen) table() *table { return s.tables[s.at.view] }

// by is which reports the screen needs.
func (s *screen) by() metrics.By { return s.table().by }

// shown is the frame on the screen, or nil.
func (s *screen) shown() *frame {
	if s.frozen != nil {
		return s.frozen[s.by()]
	}
	return s.frames[s.by()]
}

// arrive takes the newest frame.
func (s *screen) arrive(by metrics.By, f *frame) {
	if f == nil {
		return
	}
	s.frames[by] = f
	s.refresh()
}

// resize takes the terminal's new size.
func (s *screen) resize(columns, lines int) {
	s.width, s.height = columns, lines
	s.refresh()
}

// pause freezes the screen, or lets it go on.
func (s *screen) pause() {
	if s.frozen != nil {
		s.frozen = nil
		return
	}
	s.frozen, s.pausedAt = maps.Clone(s.frames), s.now()
}

// refresh makes the rows again after anything has changed.
func (s *screen) refresh() {
	t, f := s.table(), s.shown()
	from := origin{f, s.at.view, s.at.in}
	if from != s.baseOf {
		s.base, s.baseOf = nil, from
		if f != nil {
			s.base = t.rows(f, s.at.in)
		}
	}
	by := s.orders[s.at.view]
	if as := (arrangement{from, by, s.at.filter, s.width}); as != s.rowsAs {
		s.rowsAs = as
		s.placed = place(t, by.column, s.width)
		s.rows = filter(slices.Clone(s.base), s.at.filter, readable(t, s.placed))
		t.sort(s.rows, by)
		grow(t, s.placed, s.rows, s.width)
	}
	s.reselect()
}

// readable are the columns with text that a user can see and search for.
func readable(t *table, shown []placed) []int {
	var columns []int
	for _, p := range shown {
		if t.columns[p.column].kind != spark {
			columns = append(columns, p.column)
		}
	}
	return columns
}

// reselect finds the selected row again. Where it is gone, its neighbour is
// selected.
func (s *screen) reselect() {
	p := &s.at
	if p.selected == "" {
		p.index = 0
	} else if i := slices.IndexFunc(s.rows, func(r row) bool { return r.key == p.selected }); i >= 0 {
		p.index = i
	} else if len(s.rows) > 0 {
		p.index = min(p.index, len(s.rows)-1)
		p.selected = s.rows[p.index].key
	}
	s.scroll()
}

// scroll brings the selected row onto the screen.
func (s *screen) scroll() {
	p, lines := &s.at, max(1, s.bodyLines())
	p.offset = min(p.offset, p.index)
	p.offset = max(p.offset, p.index-lines+1)
	p.offset = max(0, min(p.offset, len(s.rows)-lines))
}

// move selects another row.
func (s *screen) move(by int) {
	if len(s.rows) == 0 {
		return
	}
	s.jump(s.at.index + by)
}

// jump selects the row at the index, or the nearest. At the top the selection
// stays at the top; elsewhere it follows its row.
func (s *screen) jump(index int) {
	p := &s.at
	p.index = max(0, min(index, len(s.rows)-1))
	p.selected = ""
	if p.index > 0 {
		p.selected = s.rows[p.index].key
	}
	s.scroll()
}

// selected is the selected row, or nil.
func (s *screen) selected() *row {
	if s.at.index < len(s.rows) {
		return &s.rows[s.at.index]
	}
	return nil
}
