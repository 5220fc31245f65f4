package store

import (
	"context"
	"errors"
	"io"
	"sync"
)

// blocksInMemory is how many blocks of an archive are in memory at any time:
// being filled or being sent.
const blocksInMemory = 4

// An upload cuts content into blocks and sends them, several at the same time.
// Its memory is blocksInMemory blocks, whatever the size of the content.
type upload struct {
	// size is how many bytes block i has; only the last one may have less.
	size func(i int) int
	// send sends block i. It is called by several goroutines, and block is not its own
	// any more when it has returned.
	send func(ctx context.Context, i int, block []byte) error
	// progress may be nil.
	progress func(bytes int64)
}

// do uploads content and returns how many blocks it had. The first failure
// ends it: that of send as it is, that of content as a contentError. Blocks that
// are on their way then may still arrive, and when do returns none is: whoever
// cleans up can be sure of that.
func (u upload) do(ctx context.Context, content Content) (int, error) {
	going, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	w := &blockWriter{upload: u, ctx: ctx, going: going, stop: stop, free: make(chan []byte, blocksInMemory)}
	for range blocksInMemory {
		w.free <- nil
	}
	if err := content(w); err != nil {
		stop(contentError{err})
	} else {
		w.flush()
	}
	w.sending.Wait()
	return w.count, context.Cause(going)
}

// A contentError is a failure of the caller's own Content.
type contentError struct{ err error }

func (e contentError) Error() string { return e.err.Error() }
func (e contentError) Unwrap() error { return e.err }

// measure runs content, and returns the error of w or ctx as it is and that of
// content as a contentError.
func measure(ctx context.Context, content Content, w io.Writer) error {
	var failed error
	err := content(writerFunc(func(p []byte) (n int, err error) {
		if failed == nil {
			failed = context.Cause(ctx)
		}
		if failed == nil {
			n, failed = w.Write(p)
		}
		return n, failed
	}))
	switch {
	case failed != nil:
		return failed
	case err != nil:
		return contentError{err}
	}
	return nil
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

type blockWriter struct {
	upload
	ctx     context.Context // of the sending
	going   context.Context // until the first failure
	stop    context.CancelCauseFunc
	free    chan []byte // blocksInMemory of them, nil when never used
	block   []byte      // being filled; nil: none
	count   int         // blocks on their way or sent
	sending sync.WaitGroup

	mu   sync.Mutex
	sent int64 // bytes
}

// errNotWritten is for a content that goes on writing after an error.
var errNotWritten = errors.New("upload has ended")

func (w *blockWriter) Write(p []byte) (int, error) {
	for n := 0; ; {
		if w.going.Err() != nil {
			return n, errors.Join(errNotWritten, context.Cause(w.going))
		}
		if n == len(p) {
			return n, nil
		}
		if w.block == nil && !w.begin() {
			continue
		}
		part := copy(w.block[len(w.block):cap(w.block)], p[n:])
		w.block, n = w.block[:len(w.block)+part], n+part
		if len(w.block) == cap(w.block) {
			w.flush()
		}
	}
}

// begin waits for a free block; false: the upload has failed.
func (w *blockWriter) begin() bool {
	select {
	case block := <-w.free:
		if size := w.size(w.count); cap(block) < size {
			block = make([]byte, 0, size)
		}
		w.block = block[:0]
		return true
	case <-w.going.Done():
		return false
	}
}

// flush sends what the current block has.
func (w *blockWriter) flush() {
	block, i := w.block, w.count
	if len(block) == 0 {
		return
	}
	w.block = nil
	w.count++
	w.sending.Go(func() {
		err := w.send(w.ctx, i, block)
		if err != nil {
			w.stop(err)
		} else {
			w.report(len(block))
		}
		w.free <- block
	})
}

func (w *blockWriter) report(bytes int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent += int64(bytes)
	if w.progress != nil {
		w.progress(w.sent)
	}
}
