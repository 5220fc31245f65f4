package follow

import (
	"cmp"
	"slices"
)

// A claim is somebody who says that something is selected.
type claim any

// record is what a ledger can hold.
type record interface {
	id() string   // metadata.uid
	sort() string // what takes sorts by
}

// A ledger knows what is selected, and what of it was told. The difference is
// the next change, so nothing is lost or told twice however slow the receiver.
type ledger[R record] struct {
	entries map[string]*entry[R]
	open    map[string]bool // entries that may differ from what was told, by ID
}

type entry[R record] struct {
	record  R
	claims  []claim
	told    bool // as added
	changed bool // since it was told
}

func newLedger[R record]() *ledger[R] {
	return &ledger[R]{entries: make(map[string]*entry[R]), open: make(map[string]bool)}
}

// Claims that are not those of a source.
const (
	claimFirst = "first" // it was resolved before anything was watched
	claimGrace = "grace" // the source that had it has ended, and another may have it
)

// seed enters what was told before. It is held by claimFirst.
func (l *ledger[R]) seed(r R) {
	l.entries[r.id()] = &entry[R]{record: r, claims: []claim{claimFirst}, told: true}
}

// held returns what is known of an ID while somebody claims it.
func (l *ledger[R]) held(id string) (R, bool) {
	e, ok := l.entries[id]
	if !ok || len(e.claims) == 0 {
		var none R
		return none, false
	}
	return e.record, true
}

// hold adds or updates a claim to r. Changed says that r differs in a way that
// must be told.
func (l *ledger[R]) hold(r R, by claim, changed bool) {
	id := r.id()
	e, ok := l.entries[id]
	if !ok {
		e = &entry[R]{}
		l.entries[id] = e
	}
	e.record = r
	e.changed = e.changed || changed
	if !slices.Contains(e.claims, by) {
		e.claims = append(e.claims, by)
	}
	if !e.told || e.changed {
		l.open[id] = true
	}
}

// release takes claims back.
func (l *ledger[R]) release(id string, by ...claim) {
	e, ok := l.entries[id]
	if !ok {
		return
	}
	e.claims = slices.DeleteFunc(e.claims, func(c claim) bool { return slices.Contains(by, c) })
	if len(e.claims) == 0 {
		l.open[id] = true
	}
}

// releaseAll takes a claim to anything back.
func (l *ledger[R]) releaseAll(by claim) {
	for id := range l.entries {
		l.release(id, by)
	}
}

// pass turns a claim into claimGrace.
func (l *ledger[R]) pass(id string, by claim) {
	if e, ok := l.entries[id]; ok && slices.Contains(e.claims, by) {
		e.claims = append(e.claims, claimGrace)
		l.release(id, by)
	}
}

// take returns what must be told, sorted, and takes it as told.
func (l *ledger[R]) take() (added, changed, ended []R) {
	for id := range l.open {
		e := l.entries[id]
		switch selected := len(e.claims) > 0; {
		case selected && !e.told:
			added = append(added, e.record)
			e.told = true
		case selected && e.changed:
			changed = append(changed, e.record)
		case !selected && e.told:
			ended = append(ended, e.record)
		}
		e.changed = false
		if len(e.claims) == 0 {
			delete(l.entries, id)
		}
	}
	clear(l.open)
	for _, list := range [][]R{added, changed, ended} {
		slices.SortFunc(list, func(a, b R) int {
			return cmp.Or(cmp.Compare(a.sort(), b.sort()), cmp.Compare(a.id(), b.id()))
		})
	}
	return added, changed, ended
}
