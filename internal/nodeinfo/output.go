//go:build linux

package nodeinfo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/dustin/go-humanize"
)

// budget is what all files together may still take.
type budget struct {
	mu   sync.Mutex
	left int64
}

// take returns how much of n there is, and takes it.
func (b *budget) take(n int64) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	n = min(n, b.left)
	b.left -= n
	return n
}

var (
	errCut       = errors.New("cut")
	errAbandoned = errors.New("took too long")
)

// recorder makes the files of one part. When the part is abandoned it takes
// nothing any more, so that a part that hangs cannot change a file later.
type recorder struct {
	ctx   context.Context
	dir   string
	limit int64 // of one file
	total *budget

	mu       sync.Mutex
	finished bool
	files    []*file
	cuts     []error
}

// create makes a file below the scope's directory. title says what the contents
// resemble.
func (r *recorder) create(name, title string) (*file, error) {
	f, err := r.open(name)
	if err != nil {
		return nil, err
	}
	if title != "" {
		_, err = f.Write([]byte("# " + title + "\n"))
	}
	return f, err
}

func (r *recorder) open(name string) (*file, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.finished {
		return nil, errAbandoned
	}
	path := filepath.Join(r.dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return nil, err
	}
	f := &file{recorder: r, name: name, out: out, left: r.limit}
	r.files = append(r.files, f)
	return f, nil
}

// finish closes the files and returns what was cut.
func (r *recorder) finish() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.finished = true
	errs := r.cuts
	for _, f := range r.files {
		errs = append(errs, f.close())
	}
	return errors.Join(errs...)
}

// file is a text file with a limit. Control characters, which names in the
// kernel may have and terminals obey, are replaced.
type file struct {
	recorder *recorder
	name     string
	out      *os.File
	buffer   []byte
	left     int64
	ending   string // written last, whatever the limits
	cut      bool
	inLine   bool // the last byte was no line end
	closed   bool
}

const bufferSize = 32 << 10

// Write writes p, or as many whole lines of it as there is room for and then
// returns errCut.
func (f *file) Write(p []byte) (int, error) {
	r := f.recorder
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := f.writable(); err != nil {
		return 0, err
	}
	allowed := r.total.take(min(int64(len(p)), f.left))
	f.left -= allowed
	if allowed < int64(len(p)) {
		_ = f.append(p[:bytes.LastIndexByte(p[:allowed], '\n')+1]) // the file is cut in any case
		f.noteCut()
		return 0, errCut
	}
	return len(p), f.append(p)
}

// writeWhole writes p or nothing.
func (f *file) writeWhole(p []byte) error {
	r := f.recorder
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := f.writable(); err != nil {
		return err
	}
	allowed := r.total.take(min(int64(len(p)), f.left))
	f.left -= allowed
	if allowed < int64(len(p)) {
		f.noteCut()
		return errCut
	}
	return f.append(p)
}

// endWith sets what is written last, also when the file is cut or abandoned.
func (f *file) endWith(ending string) {
	f.recorder.mu.Lock()
	defer f.recorder.mu.Unlock()
	f.ending = ending
}

func (f *file) printf(format string, args ...any) error {
	_, err := fmt.Fprintf(f, format, args...)
	return err
}

func (f *file) writable() error {
	switch {
	case f.recorder.finished || f.closed:
		return errAbandoned
	case f.cut:
		return errCut
	}
	return f.recorder.ctx.Err()
}

func (f *file) noteCut() {
	limit := fmt.Sprintf("the limit of %s a file", humanize.IBytes(uint64(f.recorder.limit)))
	if f.left > 0 {
		limit = "the limit of all files together"
	}
	f.cut = true
	f.recorder.cuts = append(f.recorder.cuts, fmt.Errorf("%s is cut: %s is reached", f.name, limit))
	if f.ending == "" {
		f.ending = "# cut here: " + limit + " is reached\n"
	}
}

func (f *file) append(p []byte) error {
	f.buffer = append(f.buffer, printable(p)...)
	if len(p) > 0 {
		f.inLine = p[len(p)-1] != '\n'
	}
	if len(f.buffer) < bufferSize {
		return nil
	}
	return f.flush()
}

func (f *file) flush() error {
	_, err := f.out.Write(f.buffer)
	f.buffer = f.buffer[:0]
	return err
}

// Close writes what is left; the recorder does so too.
func (f *file) Close() error {
	f.recorder.mu.Lock()
	defer f.recorder.mu.Unlock()
	return f.close()
}

func (f *file) close() error {
	if f.closed {
		return nil
	}
	f.closed = true
	if f.ending != "" {
		if f.inLine {
			f.buffer = append(f.buffer, '\n')
		}
		f.buffer = append(f.buffer, f.ending...)
	}
	return errors.Join(f.flush(), f.out.Close())
}

// printable replaces control characters except tabs and line ends. It looks at
// bytes, because a character may be in two writes.
func printable(p []byte) []byte {
	clean := make([]byte, len(p))
	for i, b := range p {
		control := b < ' ' && b != '\n' && b != '\t' || b == 0x7f
		// The second byte of U+0080 to U+009F.
		if control || b >= 0x80 && b < 0xa0 && i > 0 && p[i-1] == 0xc2 {
			b = '?'
		}
		clean[i] = b
	}
	return clean
}

// oneLine makes one line of s.
func oneLine(s string) string {
	return string(printable([]byte(strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' }), "; "))))
}
