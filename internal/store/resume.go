package store

import (
	"errors"
	"fmt"
	"io"
	"net/http"
)

// resuming reads an object, and opens it anew where a connection breaks.
type resuming struct {
	open    func(offset int64) (io.ReadCloser, error)
	stat    func() (Object, error)
	explain func(error) error
	offset  int64
	tries   int // without a byte, before the reader gives up

	body   io.ReadCloser
	failed int // since the last byte
}

// openResuming opens r. An offset beyond the end is an error; at the end there is
// nothing to read.
func openResuming(r resuming) (io.ReadCloser, error) {
	if r.offset < 0 {
		return nil, r.explain(fmt.Errorf("offset %d is negative", r.offset))
	}
	body, err := r.open(r.offset)
	if status(err) == http.StatusRequestedRangeNotSatisfiable {
		return r.openEnd(err)
	}
	if err != nil {
		return nil, r.explain(err)
	}
	r.body = body
	return &r, nil
}

func (r *resuming) openEnd(refused error) (io.ReadCloser, error) {
	object, err := r.stat()
	switch {
	case err != nil:
		return nil, r.explain(err)
	case object.Bytes == r.offset:
		return http.NoBody, nil
	case object.Bytes < r.offset:
		return nil, r.explain(fmt.Errorf("the archive has %d bytes and cannot be read from %d on: it has been replaced", object.Bytes, r.offset))
	}
	return nil, r.explain(refused)
}

func (r *resuming) Read(p []byte) (int, error) {
	for {
		n, err := r.body.Read(p)
		r.offset += int64(n)
		if n > 0 {
			r.failed = 0
			return n, eof(err)
		}
		if err == nil || errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return n, err
		}
		if r.failed++; r.failed >= r.tries || !transient(err) {
			return 0, r.explain(err)
		}
		body, err := r.open(r.offset)
		if err != nil {
			return 0, r.explain(err)
		}
		_ = r.body.Close()
		r.body = body
	}
}

// eof drops all errors but io.EOF: the next Read meets them again.
func eof(err error) error {
	if err == io.EOF { //nolint:errorlint // a cut connection wraps it
		return err
	}
	return nil
}

func (r *resuming) Close() error { return r.body.Close() }

// status is that of the response that err stands for; 0: there was none.
func status(err error) int {
	var aws interface{ HTTPStatusCode() int }
	if errors.As(err, &aws) {
		return aws.HTTPStatusCode()
	}
	return azureStatus(err)
}
