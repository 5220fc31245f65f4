package capture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

// ErrReaderClosed is returned when nobody reads the output any more, as when
// the next program of a pipeline has ended.
var ErrReaderClosed = errors.New("reader of the output has closed it")

// Stdout is the path that means standard output.
const Stdout = "-"

// A Format is a capture file format.
type Format string

// The formats. Pcap knows one link type, and neither interfaces, names nor
// statistics.
const (
	Pcapng Format = "pcapng"
	Pcap   Format = "pcap"
)

// ParseFormat returns the format called name.
func ParseFormat(name string) (Format, error) {
	switch f := Format(name); f {
	case Pcapng, Pcap:
		return f, nil
	}
	return "", fmt.Errorf("unknown format %q, want %s or %s", name, Pcapng, Pcap)
}

// An Output is where a capture goes: a file, or a stream such as standard
// output. It is used by one Merger.
type Output struct {
	name    string // for messages
	format  Format
	w       io.Writer
	undo    undoer    // nil when what is written cannot be taken back
	close   io.Closer // nil when it is not ours to close
	created string    // path of the file that did not exist before
	failed  bool      // w takes no more
	also    []also    // have the same
}

// also is somebody who has what an Output has.
type also struct {
	name string // for messages
	w    io.Writer
}

// An undoer takes back the end of what was written.
type undoer interface {
	io.Seeker
	Truncate(size int64) error
}

// OpenOutput opens path for a capture, or stdout when path is Stdout. The
// caller closes or discards it. A named pipe is opened when somebody reads it;
// until then ctx can end the waiting, and the error is ctx's.
//
// A file is opened, so that a path that cannot be written is an error now, but
// one that exists keeps its contents until the capture begins. A new file is
// readable by its owner only, because it holds other people's traffic.
func OpenOutput(ctx context.Context, path string, stdout io.Writer, format Format) (*Output, error) {
	if path == Stdout {
		return &Output{name: "standard output", format: format, w: stdout}, nil
	}
	if err := checkPath(path); err != nil {
		return nil, err
	}
	out := &Output{name: path, format: format}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		out.created = path
	} else if errors.Is(err, fs.ErrExist) {
		f, err = openExisting(ctx, path)
	}
	if err != nil {
		return nil, fmt.Errorf("write capture: %w", err)
	}
	out.w, out.close = f, f
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
		out.undo = f
	}
	return out, nil
}

// NewStream returns an Output that writes to w, which the caller closes. The name
// is for messages.
func NewStream(name string, w io.Writer, format Format) *Output {
	return &Output{name: name, format: format, w: w}
}

// Also makes w, which the caller closes, have all that is written to o. Each Write
// has whole blocks. What a file takes back, as on a full disk, w keeps. That w fails
// ends the capture, but the output keeps what it has, and is whole.
func (o *Output) Also(name string, w io.Writer) { o.also = append(o.also, also{name, w}) }

// openExisting opens what is at path. Nothing ends an open that waits for the
// other end of a pipe, so it is left behind when ctx is done.
func openExisting(ctx context.Context, path string) (*os.File, error) {
	type opened struct {
		f   *os.File
		err error
	}
	done := make(chan opened, 1)
	go func() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		done <- opened{f, err}
	}()
	select {
	case o := <-done:
		return o.f, o.err
	case <-ctx.Done():
		go func() {
			if o := <-done; o.err == nil {
				_ = o.f.Close() // nothing was written
			}
		}()
		return nil, context.Cause(ctx)
	}
}

// checkPath answers the mistakes whose error from the system says less.
func checkPath(path string) error {
	if path == "" {
		return errors.New("write capture: the file has no name")
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return hint.Wrap(fmt.Errorf("write capture: %s is a directory", path),
			"name a file in it")
	}
	dir := filepath.Dir(path)
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return hint.Wrap(fmt.Errorf("write capture: directory %s does not exist", dir),
			"create it first, or name another file")
	case err != nil:
		return fmt.Errorf("write capture: %w", err)
	case !info.IsDir():
		return fmt.Errorf("write capture: %s is not a directory", dir)
	}
	return nil
}

// Name is the path of the file, or says what the output is, for messages.
func (o *Output) Name() string { return o.name }

// Close closes the file; standard output stays open.
func (o *Output) Close() error {
	if o.close == nil {
		return nil
	}
	if err := o.close.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("write capture: %w", err)
	}
	return nil
}

// Discard closes the output and removes the file if OpenOutput has created it,
// for a capture that never began.
func (o *Output) Discard() error {
	err := o.Close()
	if o.created != "" {
		err = errors.Join(err, os.Remove(o.created))
	}
	return err
}

// write writes b and says how much of it was taken. An error with all of b taken is
// of somebody else who has the same.
func (o *Output) write(b []byte) (int, error) {
	n, err := o.w.Write(b)
	if err != nil {
		o.failed = true
		err = explainWrite(o.name, err)
	}
	for i := 0; i < len(o.also); {
		_, alsoErr := o.also[i].w.Write(b)
		if alsoErr == nil {
			i++
			continue
		}
		if err == nil {
			err = explainWrite(o.also[i].name, alsoErr)
		}
		o.also = slices.Delete(o.also, i, i+1)
	}
	return n, err
}

func explainWrite(name string, err error) error {
	if ReaderClosed(err) {
		return fmt.Errorf("%s: %w", name, ErrReaderClosed)
	}
	return hint.Wrap(fmt.Errorf("write capture: %w", err), writeHint(err))
}

// ReaderClosed reports whether a write failed because nobody reads what was written.
func ReaderClosed(err error) bool { return errors.Is(err, ErrReaderClosed) || readerClosed(err) }

// truncate takes back everything after size.
func (o *Output) truncate(size int64) error {
	if err := o.undo.Truncate(size); err != nil {
		return fmt.Errorf("cut capture: %w", err)
	}
	if _, err := o.undo.Seek(size, io.SeekStart); err != nil {
		return fmt.Errorf("cut capture: %w", err)
	}
	return nil
}
