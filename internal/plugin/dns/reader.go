//go:build linux

package dns

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"
)

// visit is how often the reader comes to the ring if nobody wakes it.
const visit = 100 * time.Millisecond

// reader reads the ring into a decoder.
type reader struct {
	ring     *ringbuf.Reader
	requests chan func(*decoder) // to be done after a flush
	reading  sync.WaitGroup
	ended    chan struct{}
	err      error // why it has ended; after ended
}

// newReader starts reading. The decoder is the reader's from now on.
func newReader(ring *ebpf.Map, d *decoder) (*reader, error) {
	source, err := ringbuf.NewReader(ring)
	if err != nil {
		return nil, fmt.Errorf("read ring buffer: %w", err)
	}
	r := &reader{ring: source, requests: make(chan func(*decoder), 1), ended: make(chan struct{})}
	source.SetDeadline(time.Now().Add(visit))
	r.reading.Go(func() {
		defer close(r.ended)
		r.err = r.read(d)
	})
	return r, nil
}

// read reads until Close.
func (r *reader) read(d *decoder) error {
	var record ringbuf.Record
	for {
		err := r.ring.ReadInto(&record)
		switch {
		case err == nil:
			if err := d.record(record.RawSample); err != nil {
				return err
			}
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, ringbuf.ErrFlushed):
			if err := r.rest(d); err != nil {
				return err
			}
			if errors.Is(err, ringbuf.ErrFlushed) {
				(<-r.requests)(d) // there is one for each flush
			}
		default:
			return fmt.Errorf("read ring buffer: %w", err)
		}
	}
}

// rest does what is to be done when the ring has been found empty.
func (r *reader) rest(d *decoder) error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return fmt.Errorf("read clock: %w", err)
	}
	// What has arrived since is not read yet: one visit of grace.
	d.expire(uint64(now.Nano() - int64(visit)))
	r.ring.SetDeadline(time.Now().Add(visit))
	return nil
}

// sync calls f with all that is in the ring by now read. f does not run beside any
// other use of the decoder.
func (r *reader) sync(f func(*decoder)) error {
	done := make(chan struct{})
	request := func(d *decoder) {
		f(d)
		close(done)
	}
	select {
	case r.requests <- request:
	case <-r.ended:
		return r.err
	}
	if err := r.ring.Flush(); err != nil {
		return fmt.Errorf("flush ring buffer: %w", err)
	}
	select {
	case <-done:
		return nil
	case <-r.ended:
		return r.err
	}
}

// Close ends the reading.
func (r *reader) Close() error {
	err := r.ring.Close()
	r.reading.Wait()
	return err
}
