package pcapfilter

import (
	"fmt"
	"iter"
	"strings"
	"unicode/utf8"

	"github.com/agnivade/levenshtein"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

// Error is something wrong in an expression.
type Error struct {
	Expr   string // the whole expression
	Offset int    // of the wrong part, in bytes
	Length int    // of the wrong part, in bytes; 0 at the end of the expression
	Msg    string // what is wrong, without the place
	Hint   string // what to do about it, or ""
}

// Error is one line: what is wrong and where.
func (e *Error) Error() string {
	return fmt.Sprintf("filter: %s (column %d)", e.Msg, e.column()+1)
}

// Caret is two lines: the expression, and marks below the wrong part. Tabs and
// line ends in the expression become spaces.
func (e *Error) Caret() string {
	expr := strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, e.Expr)
	marks := max(1, utf8.RuneCountInString(e.Expr[e.Offset:e.Offset+e.Length]))
	return expr + "\n" + strings.Repeat(" ", e.column()) + strings.Repeat("^", marks)
}

// column counts characters before the wrong part.
func (e *Error) column() int { return utf8.RuneCountInString(e.Expr[:e.Offset]) }

// place is a part of an expression. Trees that were combined have several
// expressions.
type place struct {
	expr           string
	offset, length int
}

// to is the part from p to the end of q.
func (p place) to(q place) place {
	return place{p.expr, p.offset, q.offset + q.length - p.offset}
}

func (p place) text() string { return p.expr[p.offset : p.offset+p.length] }

// failure carries an error out of the recursion over a tree; recovered in
// catch, so it never leaves the package.
type failure struct{ err error }

// fail ends the work on an expression.
func (p place) fail(hintText, format string, args ...any) {
	err := &Error{Expr: p.expr, Offset: p.offset, Length: p.length, Msg: fmt.Sprintf(format, args...), Hint: hintText}
	panic(failure{hint.Wrap(err, hintText)})
}

// catch makes an error of a failure.
func catch(err *error) {
	switch r := recover().(type) {
	case nil:
	case failure:
		*err = r.err
	default:
		panic(r)
	}
}

// nearest returns the candidate that is most like word, or "" when none is like
// it: about one letter in three may be wrong. Two letters in the wrong order are
// one mistake.
func nearest(word string, candidates iter.Seq[string]) string {
	word = strings.ToLower(word)
	best, distance := "", len(word)/3+1
	if len(word) < 2 {
		return ""
	}
	for candidate := range candidates {
		d := levenshtein.ComputeDistance(word, candidate)
		if d == 2 && swapped(word, candidate) {
			d = 1
		}
		if d < distance || d == distance && best != "" && candidate < best {
			best, distance = candidate, d
		}
	}
	return best
}

// swapped reports whether two letters next to each other are in the other order.
func swapped(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) - 1 {
		if a[i] != b[i] {
			return a[i] == b[i+1] && a[i+1] == b[i] && a[i+2:] == b[i+2:]
		}
	}
	return false
}

// didYouMean is a hint, or "" without a near candidate.
func didYouMean(word string, candidates iter.Seq[string]) string {
	if best := nearest(word, candidates); best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return ""
}
