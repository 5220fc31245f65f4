//go:build linux

package collector

import (
	"context"
	"encoding/hex"
	"hash"
	"io"

	"github.com/kubectl-retina/kubectl-retina/internal/store"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// A frameWriter sends what is written to it as KindData frames, but for the
// first bytes, which the command has already.
type frameWriter struct {
	send  *sender
	skip  int64 // bytes still to be left out
	buf   []byte
	hash  hash.Hash // of everything
	total int64
}

func (w *frameWriter) Write(b []byte) (int, error) {
	n := len(b)
	w.hash.Write(b)
	w.total += int64(n)
	left := min(w.skip, int64(n))
	w.skip -= left
	for b = b[left:]; len(b) > 0; {
		part := min(cap(w.buf)-len(w.buf), len(b))
		w.buf = append(w.buf, b[:part]...)
		b = b[part:]
		if len(w.buf) == cap(w.buf) {
			if err := w.flush(); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

func (w *frameWriter) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	err := w.send.frame(wire.KindData, w.buf)
	w.buf = w.buf[:0]
	return err
}

func (w *frameWriter) sum() string { return hex.EncodeToString(w.hash.Sum(nil)) }

// copyFrom sends a file of a store, all of which is read, for its checksum.
func (w *frameWriter) copyFrom(ctx context.Context, s store.Store, name string) error {
	file, err := s.Open(ctx, name, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.Copy(w, file)
	return err
}
