package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"testing/iotest"
)

// A cut at any byte, and again after any number of bytes, is not seen.
func TestResumingReader(t *testing.T) {
	want := whole(t, generated(1000, 3))
	for _, every := range []int{1, 7, 100, 999, 1000, 5000} {
		var opened []int64
		body, err := openResuming(resuming{
			offset: 10, tries: 2, explain: func(err error) error { return err },
			open: func(offset int64) (io.ReadCloser, error) {
				opened = append(opened, offset)
				rest := want[offset:]
				if len(rest) <= every {
					return io.NopCloser(bytes.NewReader(rest)), nil
				}
				return io.NopCloser(io.MultiReader(bytes.NewReader(rest[:every]), iotest.ErrReader(io.ErrUnexpectedEOF))), nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(body)
		if err != nil || !bytes.Equal(got, want[10:]) || len(opened) != (990+every-1)/every {
			t.Errorf("cut every %d bytes: %d bytes, opened %d times: %v", every, len(got), len(opened), err)
		}
	}
}

func TestResumingReaderGivesUp(t *testing.T) {
	refused := errors.New("refused")
	for name, test := range map[string]struct {
		reopen error
		read   error
		want   error
		opened int
	}{
		"no byte":    {nil, io.ErrUnexpectedEOF, io.ErrUnexpectedEOF, 3},
		"refused":    {refused, io.ErrUnexpectedEOF, refused, 2},
		"canceled":   {nil, context.Canceled, context.Canceled, 1},
		"whole body": {nil, io.EOF, nil, 1},
	} {
		opened := 0
		body, err := openResuming(resuming{
			tries: 3, explain: func(err error) error { return fmt.Errorf("explained: %w", err) },
			open: func(int64) (io.ReadCloser, error) {
				if opened++; opened > 1 && test.reopen != nil {
					return nil, test.reopen
				}
				return io.NopCloser(iotest.ErrReader(test.read)), nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(body); !errors.Is(err, test.want) || opened != test.opened {
			t.Errorf("%s: opened %d times, want %d: %v", name, opened, test.opened, err)
		}
	}
}

type answered int

func (a answered) Error() string       { return http.StatusText(int(a)) }
func (a answered) HTTPStatusCode() int { return int(a) }

func TestOffsetAtTheEnd(t *testing.T) {
	for offset, ok := range map[int64]bool{100: true, 101: false, 99: false, -1: false} {
		body, err := openResuming(resuming{
			offset: offset, tries: 1, explain: func(err error) error { return err },
			open: func(int64) (io.ReadCloser, error) { return nil, answered(http.StatusRequestedRangeNotSatisfiable) },
			stat: func() (Object, error) { return Object{Bytes: 100}, nil },
		})
		if (err == nil) != ok {
			t.Errorf("offset %d of 100: %v", offset, err)
		}
		if err == nil {
			if rest, err := io.ReadAll(body); len(rest) != 0 || err != nil {
				t.Errorf("offset %d of 100: %d bytes, %v", offset, len(rest), err)
			}
		}
	}
}
