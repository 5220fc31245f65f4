package capture

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/oneline"
	"github.com/kubectl-retina/kubectl-retina/internal/pcapfilter"
)

// A merging prints the packets of several files in the order of time, as long as each
// file has that order. One file at a time has its turn, so that a reader needs no lock:
// it prints the packet that it has been granted, and reads on up to its next one.
type merging struct {
	names   []string // of the files
	readers []*captureReader
	most    uint64 // packets of all together; 0: all
	asks    chan turn
	grants  []chan bool // false: end
}

// A turn is what a file asks for, or how it has ended.
type turn struct {
	file int
	at   time.Time // of its next packet; zero: it has not begun
	over bool
	err  error
}

// runSeveral reads the files at paths together.
func (o *readOptions) runSeveral(ctx context.Context, paths []string) error {
	m := &merging{most: o.packets, asks: make(chan turn)}
	out, grace := bufio.NewWriterSize(o.streams.Out, readBufferBytes), fileGrace
	for i, path := range paths {
		in, name := o.streams.In, "standard input"
		if path == "-" {
			grace = pipeGrace
		} else {
			file, err := openCapture(path)
			if err != nil {
				return err
			}
			defer file.Close()
			in, name = file, path
		}
		r := o.reader(out)
		r.most = 0
		r.in.Reset(in)
		if path != "-" {
			r.stopped = ctx.Done()
		}
		if o.filter != "" {
			var err error
			if r.filter, err = newFileFilter(ctx, o.filter, &r.names, o.streams.ErrOut); err != nil {
				return err
			}
		}
		grant := make(chan bool)
		r.turn = func(at time.Time) error {
			m.asks <- turn{file: i, at: at}
			if !<-grant {
				return errReadEnough
			}
			return nil
		}
		m.names, m.readers, m.grants = append(m.names, name), append(m.readers, r), append(m.grants, grant)
	}
	return awaitReader(ctx, grace, func() error { return m.result(m.run(), o.streams.ErrOut) })
}

// run returns how each file has ended.
func (m *merging) run() []error {
	var reading sync.WaitGroup
	for i, r := range m.readers {
		reading.Go(func() {
			err := r.turn(time.Time{})
			if err == nil {
				err = r.read()
			}
			m.asks <- turn{file: i, over: true, err: err}
		})
	}
	errs, next, busy, enough := make([]error, len(m.readers)), make(map[int]time.Time), len(m.readers), false
	for busy+len(next) > 0 {
		if busy == 0 {
			i := earliest(next)
			delete(next, i)
			busy++
			m.grants[i] <- !enough
			continue
		}
		t := <-m.asks
		busy--
		if t.over {
			errs[t.file] = t.err
			enough = enough || t.err != nil && !m.readers[t.file].begun || errors.Is(t.err, errReadStopped) || m.readers[t.file].written != nil
		} else {
			next[t.file] = t.at
		}
		enough = enough || m.most > 0 && m.printed() >= m.most
	}
	reading.Wait()
	return errs
}

// earliest is the file with the next packet, the first of several.
func earliest(next map[int]time.Time) int {
	best := -1
	for i, at := range next {
		if best < 0 || at.Before(next[best]) || at.Equal(next[best]) && i < best {
			best = i
		}
	}
	return best
}

func (m *merging) printed() (all uint64) {
	for _, r := range m.readers {
		all += r.packets
	}
	return all
}

// result makes one error of those of the files. An object that a filter names need not
// have an address in each of them.
func (m *merging) result(errs []error, errOut io.Writer) error {
	var all, unknown []error
	for i, err := range errs {
		switch {
		case errors.Is(err, errReadStopped):
			return exit.With(exit.Interrupted, exit.ErrSilent)
		case errors.Is(err, errNotInFile):
			unknown = append(unknown, hint.Wrap(fmt.Errorf("%s: %w", m.names[i], err), hint.Of(err)))
		default:
			if err = m.readers[i].explain(m.names[i], err); err != nil {
				all = append(all, err)
			}
		}
	}
	if len(unknown) == len(errs) {
		return unknown[0]
	}
	for _, err := range unknown {
		fmt.Fprintln(errOut, "warning:", oneline.Text(err.Error()))
	}
	return errors.Join(all...)
}

// openCapture opens a capture file.
func openCapture(path string) (*os.File, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		if filter, wrong := pcapfilter.Parse(path); wrong == nil && !filter.Empty() {
			return nil, hint.Wrap(err, fmt.Sprintf("if it is a filter, write --filter '%s'", oneline.Text(path)))
		}
	}
	if err != nil {
		return nil, err
	}
	if info, err := file.Stat(); err == nil && info.IsDir() {
		_ = file.Close() // it was not read
		return nil, hint.Wrap(fmt.Errorf("%s is a directory", path), "name the files in it")
	}
	return file, nil
}
