package top

import (
	"fmt"
	"strings"
	"time"
)

// Attributes of text, as numbers of the terminal's SGR sequence.
const (
	bold    = "1"
	dim     = "2"
	reverse = "7"
	red     = "1;31"
	yellow  = "1;33"
	cyan    = "1;36"
)

// paint gives text an attribute, on a terminal that has them.
func (s *screen) paint(text, attribute string) string {
	if !s.color || attribute == "" || text == "" {
		return text
	}
	return "\x1b[" + attribute + "m" + text + "\x1b[0m"
}

// Lines of the screen beside the table, and how high it must be for each.
const (
	crumbFrom  = 6
	headerFrom = 4
	footerFrom = 7
)

// above is how many lines are above what scrolls.
func (s *screen) above() int {
	lines := 0
	if s.height >= headerFrom || s.warning() == "" {
		lines++ // the title
	}
	if s.height >= crumbFrom {
		lines++
	}
	if s.warning() != "" {
		lines++
	}
	return lines
}

func (s *screen) below() int {
	if s.height >= footerFrom || s.typing && s.height > 1 {
		return 1
	}
	return 0
}

// overlayHeight is how many lines an overlay has, bodyLines how many the table has
// without its header.
func (s *screen) overlayHeight() int { return max(0, s.height-s.above()-s.below()) }

func (s *screen) bodyLines() int {
	if s.height >= headerFrom {
		return max(0, s.overlayHeight()-1)
	}
	return s.overlayHeight()
}

// render draws the screen: height lines of at most width columns.
func (s *screen) render() string {
	if s.width <= 0 || s.height <= 0 {
		return ""
	}
	var lines []string
	if s.height >= headerFrom || s.warning() == "" {
		lines = append(lines, s.titleLine())
	}
	if s.height >= crumbFrom {
		lines = append(lines, s.crumbLine())
	}
	if w := s.warning(); w != "" {
		lines = append(lines, s.paint(cut(w, s.width), yellow))
	}
	lines = append(lines, s.middle()...)
	for len(lines) < s.height-s.below() {
		lines = append(lines, "")
	}
	if s.below() > 0 {
		lines = append(lines[:s.height-1], s.footer())
	}
	return strings.Join(lines[:s.height], "\n")
}

// middle is what scrolls: the table or an overlay.
func (s *screen) middle() []string {
	if s.overlay.kind != noOverlay {
		all := s.overlayLines()
		from := min(s.overlay.offset, len(all))
		shown := all[from:min(len(all), from+s.overlayHeight())]
		lines := make([]string, len(shown))
		for i := range shown {
			lines[i] = cut(shown[i], s.width)
		}
		return lines
	}
	var lines []string
	if s.height >= headerFrom {
		lines = append(lines, s.header())
	}
	if len(s.rows) == 0 {
		for _, line := range wrap("  ", s.whyEmpty(), s.width) {
			lines = append(lines, cut(line, s.width))
		}
		return lines[:min(len(lines), s.overlayHeight())]
	}
	for i := s.at.offset; i < min(len(s.rows), s.at.offset+s.bodyLines()); i++ {
		lines = append(lines, s.line(i))
	}
	return lines
}

func (s *screen) whyEmpty() string {
	if s.frozen != nil && s.shown() == nil {
		return "paused before there were numbers of " + s.table().noun() + ": space goes on"
	}
	return emptiness(s.shown(), s.table(), s.at.in, s.at.filter, len(s.base), s.now().Location())
}

// titleLine says what is watched, and how well.
func (s *screen) titleLine() string {
	state := ""
	if f := s.shown(); f != nil {
		nodes := tally(f.report, nil)
		state = fmt.Sprintf("nodes %d/%d  %s", nodes.able, nodes.all, clock(f.elapsed()))
	}
	if silent := s.silence(); silent > 0 {
		state += "  NO NUMBERS FOR " + silent.String()
	}
	name := "retina top"
	if s.title != "" {
		name += "  " + s.title
	}
	if s.frozen == nil {
		return s.paint(sides(name, state, s.width), bold)
	}
	paused := "PAUSED " + s.now().Sub(s.pausedAt).Round(time.Second).String()
	if state = strings.TrimLeft(state+"  "+paused, " "); width(state) > s.width {
		state = paused
	}
	return s.paint(sides(name, state, s.width), yellow)
}

// silence is for how long nothing was measured, when that is too long: then rates
// are not of now.
func (s *screen) silence() time.Duration {
	const most = 3 // intervals
	f := s.shown()
	if f == nil || s.frozen != nil {
		return 0
	}
	if silent := s.now().Sub(f.report.Ended); silent > most*s.interval+time.Second {
		return silent.Round(time.Second)
	}
	return 0
}

// sides puts right at the right end of a line, and as much of left before it as
// has room.
func sides(left, right string, columns int) string {
	right = cut(right, columns)
	left = cut(left, columns-width(right)-2)
	return left + strings.Repeat(" ", max(0, columns-width(left)-width(right))) + right
}

// crumbLine says where the user is, and what of it is shown.
func (s *screen) crumbLine() string {
	var left strings.Builder
	for _, p := range s.back {
		if p.in.whole() {
			left.WriteString(string(p.view) + " > ")
		}
	}
	if in := s.at.in; !in.whole() {
		left.WriteString(cutMiddle(clean(in.name), max(16, s.width/2)) + " > ")
	}
	left.WriteString(viewTabs(s.at.in.views(), s.at.view))
	right := fmt.Sprintf("%d %s", len(s.rows), s.table().noun())
	if len(s.rows) == 1 {
		right = strings.TrimSuffix(right, "s")
	}
	if s.at.filter != "" {
		right = fmt.Sprintf("%d of %d with %q", len(s.rows), len(s.base), clean(s.at.filter))
	}
	return s.paint(sides(left.String(), right, s.width), cyan)
}

// warning counts what makes the numbers less than whole; "" when nothing does.
func (s *screen) warning() string {
	f := s.shown()
	if f == nil {
		return ""
	}
	var titles, shorts []string
	for _, p := range problems(f.report) {
		if p.total > 0 {
			titles = append(titles, p.title+" "+count(float64(p.total)))
			shorts = append(shorts, p.short+" "+count(float64(p.total)))
		}
	}
	if len(titles) == 0 {
		return ""
	}
	text := strings.Join(titles, "  ")
	if long := text + "  (! lists them)"; width(long) <= s.width {
		return long
	}
	if width(text) > s.width {
		return strings.Join(shorts, " ")
	}
	return text
}

// footer tells the keys, or shows the filter while it is typed.
func (s *screen) footer() string {
	if s.typing {
		const prompt, most = "filter: ", 24
		end := "_   enter keeps it, esc clears it"
		if s.width < 2*most+len(prompt) {
			end = "_"
		}
		room := max(0, s.width-width(prompt)-width(end))
		return cut(prompt+tail(clean(s.at.filter)+trailing(s.at.filter), room)+end, s.width)
	}
	full := "p n f d s views  enter go in  / filter  <> sort  space pause  ! lost  ? help  q quit"
	switch {
	case s.overlay.kind != noOverlay:
		full = "up down scroll  esc back  q quit"
	case s.width >= width(full):
	case s.width >= 80:
		full = "enter go in  esc back  / filter  < > sort  space pause  ! lost  ? help  q quit"
	default:
		full = "? help  / filter  q quit"
	}
	return s.paint(cut(full, s.width), dim)
}

// trailing are the blanks at the end of a filter, which clean takes away.
func trailing(filter string) string {
	return filter[len(strings.TrimRight(filter, " ")):]
}
