//go:build !windows

package capture

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestNamedPipeWaitsForItsReader(t *testing.T) {
	unread, path := filepath.Join(t.TempDir(), "unread"), filepath.Join(t.TempDir(), "read")
	if err := errors.Join(syscall.Mkfifo(unread, 0o600), syscall.Mkfifo(path, 0o600)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := OpenOutput(ctx, unread, nil, Pcapng); !errors.Is(err, context.Canceled) {
		t.Fatalf("without a reader: %v", err)
	}
	read := make(chan string, 1)
	go func() {
		f, err := os.Open(path)
		if err != nil {
			read <- err.Error()
			return
		}
		defer f.Close()
		b, _ := io.ReadAll(f) // a failure shows in what was read
		read <- string(b)
	}()
	out, err := OpenOutput(t.Context(), path, nil, Pcapng)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.write([]byte("packets")); err != nil {
		t.Error(err)
	}
	if err := out.Close(); err != nil {
		t.Error(err)
	}
	if got := <-read; got != "packets" || out.undo != nil {
		t.Errorf("read %q; truncates %v", got, out.undo != nil)
	}
}
