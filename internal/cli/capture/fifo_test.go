//go:build !windows

package capture

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
)

// canceler is a user who interrupts as soon as something is said.
type canceler struct {
	said   bytes.Buffer
	cancel context.CancelFunc
}

func (c *canceler) Write(b []byte) (int, error) {
	defer c.cancel()
	return c.said.Write(b)
}

func TestPipeWithoutReaderCanBeInterrupted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	o := options(t, "pod/x", "--write", path)
	ctx, cancel := context.WithCancel(t.Context())
	user := &canceler{cancel: cancel}
	o.streams.ErrOut = user
	c, err := o.complete()
	if err != nil {
		t.Fatal(err)
	}
	_, err = newRun(o, c).open(ctx)
	if !errors.Is(err, context.Canceled) || exit.Code(interrupted(ctx, err)) != exit.Interrupted {
		t.Errorf("error %v, exit code %d", err, exit.Code(interrupted(ctx, err)))
	}
	if got, want := user.said.String(), "waiting for a reader of "+path+"\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
