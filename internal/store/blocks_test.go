package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
)

func TestUploadCutsContentIntoBlocks(t *testing.T) {
	for _, length := range []int64{0, 1, 9, 10, 11, 99, 100, 101, 1000} {
		var mu sync.Mutex
		blocks := map[int][]byte{}
		var seen []int64
		u := upload{
			size:     func(i int) int { return 10 + i/3 }, // they grow
			progress: func(bytes int64) { seen = append(seen, bytes) },
			send: func(_ context.Context, i int, block []byte) error {
				mu.Lock()
				defer mu.Unlock()
				blocks[i] = bytes.Clone(block)
				return nil
			},
		}
		want := whole(t, generated(length, 1))
		count, err := u.do(t.Context(), func(w io.Writer) error {
			// In pieces of any length.
			for rest := want; len(rest) > 0; {
				n := min(len(rest), 7)
				if _, err := w.Write(rest[:n]); err != nil {
					return err
				}
				rest = rest[n:]
			}
			return nil
		})
		var got []byte
		for i := range count {
			if size := len(blocks[i]); size != 10+i/3 && i != count-1 || size == 0 {
				t.Errorf("%d bytes: block %d of %d has %d", length, i, count, size)
			}
			got = append(got, blocks[i]...)
		}
		if err != nil || !bytes.Equal(got, want) || len(blocks) != count {
			t.Errorf("%d bytes: %d blocks of %d bytes, %v", length, count, len(got), err)
		}
		if count > 0 && (len(seen) != count || seen[count-1] != length) {
			t.Errorf("%d bytes: progress %v", length, seen)
		}
	}
}

// There are blocksInMemory buffers, and as many blocks are sent at the same time.
func TestUploadIsBounded(t *testing.T) {
	var mu sync.Mutex
	buffers := map[*byte]bool{}
	var begun sync.WaitGroup
	begun.Add(blocksInMemory)
	u := upload{size: func(int) int { return 8 }, send: func(_ context.Context, i int, block []byte) error {
		mu.Lock()
		buffers[&block[0]] = true
		mu.Unlock()
		if i < blocksInMemory {
			begun.Done()
			begun.Wait() // for all of them
		}
		return nil
	}}
	count, err := u.do(t.Context(), generated(8000, 1))
	if err != nil || count != 1000 || len(buffers) != blocksInMemory {
		t.Errorf("%d blocks in %d buffers, want %d: %v", count, len(buffers), blocksInMemory, err)
	}
}

func TestUploadEndsWithTheFirstFailure(t *testing.T) {
	refused, broken := errors.New("refused"), errors.New("broken disk")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	tests := map[string]struct {
		ctx     context.Context
		content Content
		send    error
		want    error
		own     bool
	}{
		"send":    {t.Context(), generated(1<<20, 1), refused, refused, false},
		"content": {t.Context(), func(w io.Writer) error { _, _ = w.Write(make([]byte, 100)); return broken }, nil, broken, true},
		"both": {t.Context(), func(w io.Writer) error {
			for {
				if _, err := w.Write(make([]byte, 10)); err != nil {
					return fmt.Errorf("%w: %w", broken, err)
				}
			}
		}, refused, refused, false},
		"canceled": {ctx, generated(1<<20, 1), nil, context.Canceled, false},
		"deaf":     {ctx, func(w io.Writer) error { _, _ = w.Write(nil); return nil }, nil, context.Canceled, false},
	}
	for name, test := range tests {
		u := upload{size: func(int) int { return 16 }, send: func(context.Context, int, []byte) error { return test.send }}
		_, err := u.do(test.ctx, test.content)
		var own contentError
		if !errors.Is(err, test.want) || errors.As(err, &own) != test.own {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMeasureTellsWhoFailed(t *testing.T) {
	full := errors.New("disk full")
	var own contentError
	err := measure(t.Context(), func(w io.Writer) error {
		_, err := w.Write([]byte("x"))
		return fmt.Errorf("gzip: %w", err)
	}, writerFunc(func([]byte) (int, error) { return 0, full }))
	if err != full { // not wrapped
		t.Errorf("%v", err)
	}
	if err := measure(t.Context(), func(io.Writer) error { return full }, io.Discard); !errors.As(err, &own) || !errors.Is(err, full) {
		t.Errorf("%v", err)
	}
}
