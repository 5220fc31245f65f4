package shell

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/term"
	"k8s.io/client-go/tools/remotecommand"

	"github.com/kubectl-retina/kubectl-retina/internal/session"
)

// sizePeriod is how often the terminal is asked how large it is. Not every system
// tells of a change.
const sizePeriod = 250 * time.Millisecond

// terminal returns the user's end. If input and output are a terminal, every key
// is the shell's, also Ctrl-C, until restore is called.
func (o *options) terminal(ctx context.Context) (t session.Terminal, restore func(), err error) {
	t = session.Terminal{In: o.streams.In, Out: o.streams.Out, Err: o.streams.ErrOut}
	in, isFile := o.streams.In.(*os.File)
	out, outIsFile := o.streams.Out.(*os.File)
	if !isFile || !outIsFile || !term.IsTerminal(int(in.Fd())) || !term.IsTerminal(int(out.Fd())) {
		return t, func() {}, nil
	}
	before, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return t, nil, fmt.Errorf("terminal: %w", err)
	}
	t.Sizes = &sizes{ctx: ctx, terminal: out}
	return t, func() { _ = term.Restore(int(in.Fd()), before) }, nil
}

// sizes tells the terminal's size, and again when it has changed.
type sizes struct {
	ctx      context.Context
	terminal *os.File
	last     remotecommand.TerminalSize
}

var _ remotecommand.TerminalSizeQueue = (*sizes)(nil)

// Next waits for the next size; nil: there is none any more.
func (s *sizes) Next() *remotecommand.TerminalSize {
	for {
		width, height, err := term.GetSize(int(s.terminal.Fd()))
		if now := (remotecommand.TerminalSize{Width: uint16(width), Height: uint16(height)}); err == nil && now != s.last {
			s.last = now
			return &now
		}
		select {
		case <-s.ctx.Done():
			return nil
		case <-time.After(sizePeriod):
		}
	}
}
