// Package verdict is what the virtual machine tells the program that started it,
// as marked lines on a serial port. Whatever else is on the port is passed over.
package verdict

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Bounds of what is read and kept.
const (
	MaxLine   = 64 << 10 // bytes of a line
	MaxOutput = 8 << 10  // bytes of Test.Output
	MaxLines  = 50_000   // lines of one machine
)

// Results of a test.
const (
	Pass = "pass"
	Fail = "fail"
	Skip = "skip"
)

// Message is one line. One of its fields is set.
type Message struct {
	Boot  *Boot  `json:"boot,omitempty"`
	Test  *Test  `json:"test,omitempty"`
	Suite *Suite `json:"suite,omitempty"`
	Probe *Probe `json:"probe,omitempty"`
	Done  bool   `json:"done,omitempty"` // the last one
}

// Boot says that the machine runs.
type Boot struct {
	Release string `json:"release"` // as uname -r
}

// Test is the result of one test or subtest.
type Test struct {
	Suite  string `json:"suite"`
	Name   string `json:"name"`
	Result string `json:"result"`
	// Output is the last that it printed, unless it passed.
	Output string `json:"output,omitempty"`
}

// Suite is the end of one program of tests.
type Suite struct {
	Name  string `json:"name"`
	Error string `json:"error,omitempty"` // why it ended early, or ""
	// Left are BPF objects that were not there before.
	Left []string `json:"left,omitempty"`
}

// Probe is what the collector said when it was asked for one plugin.
type Probe struct {
	Plugin string `json:"plugin"`
	Forced string `json:"forced,omitempty"` // the hook that it was to use
	// Hook is the one that it used, of a capture.
	Hook string `json:"hook,omitempty"`
	// Refused is why it does not work at all, or "".
	Refused Reason `json:"refused,omitzero"`
	// Lacks is what does not work though the plugin does.
	Lacks []Reason `json:"lacks,omitempty"`
	// Error is what went wrong with asking, or "".
	Error string   `json:"error,omitempty"`
	Left  []string `json:"left,omitempty"` // as in Suite
}

// Reason is what a user is told.
type Reason struct {
	Cause string `json:"cause,omitempty"`
	Hint  string `json:"hint,omitempty"`
}

// Writer writes messages. It is for one goroutine.
type Writer struct {
	to   io.Writer
	mark string
}

// NewWriter returns a Writer whose lines begin with mark, a word that only the two
// sides know.
func NewWriter(to io.Writer, mark string) *Writer { return &Writer{to: to, mark: mark} }

// Send writes m as one line.
func (w *Writer) Send(m Message) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	// A line of its own, whatever has been written before.
	_, err = fmt.Fprintf(w.to, "\n%s %s\n", w.mark, text)
	return err
}

// Errors of Read.
var (
	ErrTooMuch = errors.New("the machine said more than it may")
	ErrCut     = errors.New("the machine ended before it was done")
)

// Read calls each with every message until the one that is Done. Lines without
// mark are passed over; a marked line that is no message is an error.
func Read(from io.Reader, mark string, each func(Message)) error {
	lines := bufio.NewScanner(from)
	lines.Buffer(make([]byte, 4096), MaxLine)
	prefix := []byte(mark + " ")
	for range MaxLines {
		if !lines.Scan() {
			if err := lines.Err(); err != nil {
				return errors.Join(ErrTooMuch, err)
			}
			return ErrCut
		}
		text, ok := bytes.CutPrefix(bytes.TrimSpace(lines.Bytes()), prefix)
		if !ok {
			continue
		}
		var m Message
		if err := json.Unmarshal(text, &m); err != nil {
			return fmt.Errorf("what the machine said: %w", err)
		}
		each(m)
		if m.Done {
			return nil
		}
	}
	return ErrTooMuch
}
