// Package top is the live view of what collectors measure: a full screen on a
// terminal ([Run]), lines elsewhere ([Print]).
//
// It polls reports from a [Source] and shows the difference of the last two: what
// ends in "/s" is of the last interval, every other number is since the report
// began, except where the help says otherwise. The screen is a value that takes
// keys and gives text; only run.go knows that there is a terminal.
package top

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/agnivade/levenshtein"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
)

// View is what the rows of the screen stand for.
type View string

// The views.
const (
	Pods  View = "pods"
	Nodes View = "nodes"
	Flows View = "flows"
	Drops View = "drops"
	DNS   View = "dns"
)

// Views returns the names of all views, in the order in which the tab key shows
// them.
func Views() []string {
	return []string{string(Pods), string(Nodes), string(Flows), string(Drops), string(DNS)}
}

// ParseView returns the view of a name in any case, in plural or singular. Its
// error suggests the name that was meant.
func ParseView(name string) (View, error) {
	lower := strings.ToLower(name)
	for _, view := range Views() {
		if lower == view || lower == strings.TrimSuffix(view, "s") && view != string(DNS) {
			return View(view), nil
		}
	}
	return "", hint.Wrap(fmt.Errorf("unknown view %q", name), suggest(lower, Views()))
}

// Source gives the present state of what is measured. It is asked once an
// interval, from any goroutine, and must answer without waiting. A report that it
// has given is not changed any more. nil means that there is nothing yet.
type Source interface {
	Report(by metrics.By) *metrics.Report
}

// Options say what to show and where.
type Options struct {
	Source Source
	View   View // the first one; "" is [Pods]
	// Interval is the time between two reports; 0 is a second.
	Interval time.Duration
	In       io.Reader // keys; only for Run
	Out      io.Writer // the terminal; only for Run
	// Color allows attributes of text. Without it no line has an escape sequence
	// inside, and marks say all that colours would.
	Color bool
	// SortBy is a column of View, in any case; "" is the view's own.
	SortBy string
	// Filter keeps the rows with a field that contains it, in any case.
	Filter string
	// Title says which cluster and what of it, in one line.
	Title string
	// Width and Height are the size of a screen that cannot be asked for it.
	Width, Height int
	// Now is the clock; its location is that of times on the screen. nil is time.Now.
	Now func() time.Time
}

const defaultInterval = time.Second

// Validate returns why the options cannot be used, before anything is measured.
// [Run] and [Print] call it too.
func (o *Options) Validate() error {
	if o.Source == nil {
		return errors.New("live view without a source")
	}
	if o.Interval < 0 {
		return fmt.Errorf("interval %s is negative", o.Interval)
	}
	view := o.View
	if view == "" {
		view = Pods
	}
	if !slices.Contains(Views(), string(view)) {
		_, err := ParseView(string(view))
		return err
	}
	if o.SortBy == "" {
		return nil
	}
	t := tableOf(view)
	if t.column(o.SortBy) < 0 {
		var names []string
		for i := range t.columns {
			names = append(names, t.columns[i].name())
		}
		return hint.Wrap(fmt.Errorf("%s have no column %q", view, o.SortBy), "sort by one of "+strings.Join(names, ", "))
	}
	return nil
}

// withDefaults is o with its empty fields filled.
func (o Options) withDefaults() Options {
	if o.View == "" {
		o.View = Pods
	}
	if o.Interval == 0 {
		o.Interval = defaultInterval
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// suggest returns the hint for a word that is none of names.
func suggest(word string, names []string) string {
	best, distance := "", (len(word)+2)/3+1
	for _, name := range names {
		if d := levenshtein.ComputeDistance(word, name); d < distance {
			best, distance = name, d
		}
	}
	if best != "" {
		return "did you mean " + best + "?"
	}
	return "use one of " + strings.Join(names, ", ")
}
