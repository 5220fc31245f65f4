// Package hint lets an error carry the one sentence that tells its reader what
// to do about it, separately from what went wrong.
package hint

import "errors"

type hinted struct {
	err  error
	text string
}

func (h *hinted) Error() string { return h.err.Error() }
func (h *hinted) Unwrap() error { return h.err }

// Wrap returns err with text as its hint: an imperative sentence without a
// full stop. Wrap of nil is nil, and without a text it is err.
func Wrap(err error, text string) error {
	if err == nil || text == "" {
		return err
	}
	return &hinted{err: err, text: text}
}

// Of returns the hint nearest to the surface of err, or "".
func Of(err error) string {
	var h *hinted
	if errors.As(err, &h) {
		return h.text
	}
	return ""
}
