// Package prompt asks the user before something that cannot be taken back, or
// that costs others.
package prompt

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"golang.org/x/term"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
)

// errDeclined ends a command whose user has said no.
var errDeclined = errors.New("nothing was done: not confirmed")

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 1 << 10

// Confirm asks question, which ends with a question mark, on standard error and
// returns nil if the answer on standard input is yes. Where nobody can be asked,
// because one of the two is no terminal, it asks nothing and returns refusal.
// An interrupt is a no, with the exit code of an interrupt.
func Confirm(streams genericiooptions.IOStreams, question string, refusal error) error {
	if !interactive(streams) {
		return refusal
	}
	// Nothing ends a read of a terminal, so it is left behind when the user
	// interrupts: the command is about to end.
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt)
	defer signal.Stop(interrupts)
	answered := make(chan error, 1)
	go func() { answered <- ask(streams.In, streams.ErrOut, question) }()
	select {
	case err := <-answered:
		return err
	case <-interrupts:
		fmt.Fprintln(streams.ErrOut)
		return exit.With(exit.Interrupted, errDeclined)
	}
}

func interactive(streams genericiooptions.IOStreams) bool {
	for _, stream := range []any{streams.In, streams.ErrOut} {
		f, ok := stream.(*os.File)
		if !ok || !term.IsTerminal(int(f.Fd())) {
			return false
		}
	}
	return true
}

// ask reads one line: anything but y or yes is a no.
func ask(in io.Reader, out io.Writer, question string) error {
	fmt.Fprint(out, question, " [y/N] ")
	line, err := bufio.NewReader(io.LimitReader(in, maxAnswer)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read answer: %w", err)
	}
	if !strings.HasSuffix(line, "\n") {
		fmt.Fprintln(out) // end of file: the cursor is still behind the question
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	}
	return exit.With(exit.Failed, errDeclined)
}
