package top

import (
	"slices"
	"strings"
)

// A key is one that was pressed.
type key struct {
	// name is as in "a", "enter", "ctrl+c", "pgup", " ".
	name string
	// typed is the text of a key that gives some, or that was pasted.
	typed string
}

// An action is what a key asks of the program around the screen.
type action int

const (
	stay action = iota
	quit
	suspend
	redraw
)

// press takes a key.
func (s *screen) press(k key) action {
	did := s.anywhere(k)
	if did == stay {
		switch {
		case s.typing:
			s.typeFilter(k)
		case k.name == "q":
			return quit
		case k.name == " ":
			s.pause()
		case s.overlay.kind != noOverlay:
			s.inOverlay(k)
		default:
			s.inTable(k)
		}
		s.refresh()
	}
	return did
}

// anywhere is what keys do that always mean the same.
func (s *screen) anywhere(k key) action {
	switch k.name {
	case "ctrl+c":
		return quit
	case "ctrl+z":
		return suspend
	case "ctrl+l":
		return redraw
	}
	return stay
}

// inTable takes a key while the table has the screen.
func (s *screen) inTable(k key) {
	switch k.name {
	case "/":
		s.typing = true
	case "enter":
		s.enter()
	case "i":
		s.openDetails()
	case "esc":
		if s.at.filter != "" {
			s.at.filter = ""
			return
		}
		s.goBack()
	case "backspace":
		s.goBack()
	case "?":
		s.overlay = overlay{kind: helpOverlay}
	case "!":
		s.overlay = overlay{kind: problemsOverlay}
	case "tab":
		s.turn(1)
	case "shift+tab":
		s.turn(-1)
	default:
		if !s.moveKey(k.name, s.bodyLines(), s.move, s.jump, len(s.rows)-1) {
			s.sortKey(k.name)
			s.viewKey(k.name)
		}
	}
}

// moveKey takes a key that scrolls over lines 0..last, by move or jump.
func (s *screen) moveKey(name string, page int, move, jump func(int), last int) bool {
	page = max(1, page-1)
	switch name {
	case "up", "k":
		move(-1)
	case "down", "j":
		move(1)
	case "pgup", "ctrl+b":
		move(-page)
	case "pgdown", "ctrl+f":
		move(page)
	case "home", "g":
		jump(0)
	case "end", "G":
		jump(last)
	default:
		return false
	}
	return true
}

// sortKey takes a key that changes the order.
func (s *screen) sortKey(name string) {
	o, columns := s.orders[s.at.view], len(s.table().columns)
	switch {
	case name == "<":
		o = order{column: (o.column + columns - 1) % columns}
	case name == ">":
		o = order{column: (o.column + 1) % columns}
	case name == "r":
		o.reverse = !o.reverse
	case len(name) == 1 && name >= "1" && name <= "9":
		n := int(name[0] - '1')
		if n >= len(s.placed) {
			return
		}
		o = order{column: s.placed[n].column}
	default:
		return
	}
	s.orders[s.at.view] = o
}

// letter is the key of a view.
func letter(view View) string {
	if view == DNS {
		return "s" // "d" is of drops
	}
	return string(view[:1])
}

// viewKey takes a key that changes the view.
func (s *screen) viewKey(name string) {
	for _, view := range Views() {
		if name == letter(View(view)) {
			s.show(View(view))
		}
	}
}

// views are those that can show what is in a scope.
func (s scope) views() []View {
	switch {
	case s.whole():
		return []View{Pods, Nodes, Flows, Drops, DNS}
	case s.target == "":
		return []View{Pods, Flows, Drops, DNS}
	}
	return []View{Flows, Drops, DNS}
}

// turn shows the next view of the scope, or the one before.
func (s *screen) turn(by int) {
	views := s.at.in.views()
	i := slices.Index(views, s.at.view) + by
	s.show(views[(i+len(views))%len(views)])
}

// show changes the view, within the scope where it can.
func (s *screen) show(view View) {
	if view == s.at.view {
		return
	}
	in := s.at.in
	if !slices.Contains(in.views(), view) {
		in, s.back = scope{}, nil
	}
	s.at = position{view: view, in: in}
}

// enter goes into the selected row.
func (s *screen) enter() {
	t, r, f := s.table(), s.selected(), s.shown()
	switch {
	case r == nil || f == nil:
	case t.enter == nil:
		s.openDetails()
	default:
		s.back = append(s.back, s.at)
		view, in := t.enter(f, r)
		s.at = position{view: view, in: in}
	}
}

// goBack returns to where the user came from.
func (s *screen) goBack() {
	if n := len(s.back); n > 0 {
		s.at, s.back = s.back[n-1], s.back[:n-1]
	}
}

// typeFilter takes a key while the user types the filter.
func (s *screen) typeFilter(k key) {
	switch k.name {
	case "enter":
		s.typing = false
	case "esc":
		s.typing = false
		s.at.filter = ""
	case "backspace":
		if runes := []rune(s.at.filter); len(runes) > 0 {
			s.at.filter = string(runes[:len(runes)-1])
		} else {
			s.typing = false
		}
	case "ctrl+u":
		s.at.filter = ""
	case "up":
		s.move(-1)
	case "down":
		s.move(1)
	default:
		s.at.filter = s.at.filter + printable(k.typed)
	}
}

// printable is what may stand in a filter.
func printable(typed string) string {
	if strings.Trim(typed, " ") == "" {
		return typed // blanks: one may follow a word
	}
	return clean(typed)
}
