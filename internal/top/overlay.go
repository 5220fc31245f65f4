package top

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
)

// An overlay is text in the place of the table.
type overlay struct {
	kind   overlayKind
	key    string  // of the row whose details it shows
	fields []field // those of the row, as long as it was there
	offset int     // of the first line
}

type overlayKind int

const (
	noOverlay overlayKind = iota
	helpOverlay
	problemsOverlay
	detailsOverlay
)

func (s *screen) openDetails() {
	if r := s.selected(); r != nil {
		s.overlay = overlay{kind: detailsOverlay, key: r.key}
	}
}

// inOverlay takes a key while an overlay has the screen.
func (s *screen) inOverlay(k key) {
	last := max(0, len(s.overlayLines())-s.overlayHeight())
	jump := func(to int) { s.overlay.offset = max(0, min(to, last)) }
	move := func(by int) { jump(s.overlay.offset + by) }
	if s.moveKey(k.name, s.overlayHeight(), move, jump, last) {
		return
	}
	open := s.overlay.kind
	switch k.name {
	case "esc", "backspace", "enter", "i":
		s.overlay = overlay{}
	case "?":
		s.overlay = overlay{kind: helpOverlay}
	case "!":
		s.overlay = overlay{kind: problemsOverlay}
	}
	if s.overlay.kind == open && (k.name == "?" || k.name == "!") {
		s.overlay = overlay{} // the key that has opened it closes it
	}
}

// overlayLines is all text of the overlay.
func (s *screen) overlayLines() []string {
	switch s.overlay.kind {
	case helpOverlay:
		return s.help()
	case problemsOverlay:
		return s.problems()
	case detailsOverlay:
		return s.detailLines()
	}
	return nil
}

// detailLines are the fields of a row; of one that is gone, the last ones.
func (s *screen) detailLines() []string {
	var lines []string
	i := slices.IndexFunc(s.base, func(r row) bool { return r.key == s.overlay.key })
	if i >= 0 {
		s.overlay.fields = s.table().details(s.shown(), &s.base[i])
	} else {
		lines = append(lines, "This is no longer there. It was:", "")
	}
	const names = 19
	for _, f := range s.overlay.fields {
		value := clean(f.text)
		if value == "" || value == nothing {
			continue
		}
		lines = append(lines, wrap(pad(f.name, names, false)+" ", value, s.width)...)
	}
	return lines
}

// help lists the keys, and the columns of the view.
func (s *screen) help() []string {
	keys := []field{
		{"p n f d s", "pods, nodes, flows, drops, DNS; tab and shift+tab: the next and the one before"},
		{"up down j k", "select a row; pgup pgdown, home end (g G) go further"},
		{"enter", "go into the row: node, its pods; pod, its flows; flow, its drops; else all that is known of it"},
		{"i", "all that is known of the row, also what has no room in a column"},
		{"esc backspace", "go back; esc clears a filter first"},
		{"< >", "sort by the column to the left or right, also one that had no room"},
		{"1 to 9", "sort by that column on the screen"},
		{"r", "reverse the order"},
		{"/", "show rows that contain what you type in any column on the screen; enter keeps it, esc clears it"},
		{"space", "pause: the screen stands still, measuring goes on"},
		{"!", "what was lost, what a node cannot measure, and which nodes failed"},
		{"ctrl+l ctrl+z", "draw again; suspend"},
		{"q ctrl+c", "quit"},
	}
	lines := []string{"KEYS"}
	add := func(fields []field, names int) {
		for _, f := range fields {
			lines = append(lines, wrap("  "+pad(f.name, names, false)+" ", f.text, s.width)...)
		}
	}
	add(keys, 13)
	t := s.table()
	lines = append(lines, "", "COLUMNS OF "+strings.ToUpper(string(t.view)))
	var columns []field
	for i := range t.columns {
		columns = append(columns, field{t.columns[i].title, t.columns[i].help})
	}
	add(columns, 11)
	return append(lines, wrap("  ", "Numbers: k is 1000, M a million. "+nothing+" is not known or not measured.", s.width)...)
}

// problems lists what makes the numbers less than whole.
func (s *screen) problems() []string {
	f := s.shown()
	if f == nil {
		return []string{waiting}
	}
	var lines []string
	for _, group := range problems(f.report) {
		if len(group.lines) == 0 {
			continue
		}
		if len(lines) > 0 {
			lines = append(lines, "")
		}
		lines = append(lines, wrap("", group.title+": "+group.meaning, s.width)...)
		for _, line := range group.lines {
			lines = append(lines, wrap("  ", clean(line), s.width)...)
		}
	}
	if len(lines) == 0 {
		return wrap("", "Nothing was lost, every node reports, and each can measure all that was asked for.", s.width)
	}
	return lines
}

// A problem is one reason, at several places, why numbers are less than whole.
type problem struct {
	title, meaning string
	short          string // title where there is little room
	total          uint64
	lines          []string
}

// problems are all there are, also those with no lines.
func problems(r *metrics.Report) []problem {
	lost := problem{title: "LOST", short: "LOST", meaning: "not counted, so numbers are lower bounds"}
	unsupported := problem{title: "UNSUPPORTED", short: "UNSUP", meaning: "what a node's kernel cannot give"}
	failed := problem{title: "FAILED NODES", short: "FAIL", meaning: "their numbers are missing, or end early"}
	silent := problem{title: "WAITING FOR", short: "WAIT", meaning: "nodes that have not told anything yet"}
	skipped := problem{title: "NOT MEASURED", short: "SKIP", meaning: "selected, but not measured"}
	for _, l := range r.Lost {
		if l.Count > 0 {
			lost.total += l.Count
			lost.lines = append(lost.lines, fmt.Sprintf("node %s, %s: %s: %d", l.Node, l.Plugin, l.What, l.Count))
		}
	}
	for i := range r.Nodes {
		n := &r.Nodes[i]
		if n.Error != "" {
			failed.lines = append(failed.lines, fmt.Sprintf("node %s: %s", n.Name, n.Error))
		} else if n.Samples == 0 {
			silent.lines = append(silent.lines, "node "+n.Name)
		}
		for _, u := range n.Unsupported {
			line := fmt.Sprintf("node %s, %s: %s", n.Name, u.Plugin, u.Cause)
			if u.Partial {
				line += "; the rest of it is measured"
			}
			if u.Hint != "" {
				line += "; hint: " + u.Hint
			}
			unsupported.lines = append(unsupported.lines, line)
		}
	}
	for _, k := range r.Skipped {
		skipped.lines = append(skipped.lines, k.Target+": "+k.Reason)
	}
	for _, p := range []*problem{&unsupported, &failed, &silent, &skipped} {
		p.total = uint64(len(p.lines))
	}
	return []problem{lost, unsupported, failed, silent, skipped}
}
