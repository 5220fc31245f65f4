// Package exit gives errors the exit code that they end the command with.
package exit

import (
	"errors"
	"fmt"
)

// Exit codes of every command.
const (
	Done        = 0   // done
	Failed      = 1   // failed
	Usage       = 2   // the command line is wrong; nothing was done
	Partial     = 3   // done in part: what there is, is named
	Expectation = 4   // an assertion did not hold
	Interrupted = 130 // interrupted, results are kept
)

type coded struct {
	code int
	err  error
}

func (c *coded) Error() string { return c.err.Error() }
func (c *coded) Unwrap() error { return c.err }

// With returns err with an exit code. With of nil is nil.
func With(code int, err error) error {
	if err == nil {
		return nil
	}
	return &coded{code: code, err: err}
}

// Usagef returns a mistake of the command line.
func Usagef(format string, args ...any) error {
	return With(Usage, fmt.Errorf(format, args...))
}

// Code returns the exit code of err: the one nearest to its surface, else
// Failed, or Done for nil.
func Code(err error) int {
	var c *coded
	switch {
	case err == nil:
		return Done
	case errors.As(err, &c):
		return c.code
	}
	return Failed
}

// ErrSilent ends a command whose user has been told everything.
var ErrSilent = errors.New("already said")
