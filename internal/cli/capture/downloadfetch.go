package capture

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/dustin/go-humanize"

	"github.com/kubectl-retina/kubectl-retina/internal/capture"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/session"
	"github.com/kubectl-retina/kubectl-retina/internal/store"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// maxDownloads is how many archives are downloaded at once.
const maxDownloads = 8

// A wanted archive is one that is to be brought here.
type wanted struct {
	node    string // as far as it is known
	file    string // NAME-NODE-TIME.tar.gz
	ours    belief
	bytes   int64 // 0: not known
	origins []origin
	keeper  *keeper // that waits until the archive is safe here; nil: none does

	moved atomic.Int64 // bytes that are here
	path  string       // when it is here, whole
	err   error
}

// An origin is a place where an archive is.
type origin interface {
	// where names the place for messages.
	where() string
	// fetch brings the rest of the archive into a, tells moved how much of it is
	// there, and returns what the whole must be like.
	fetch(ctx context.Context, a *fetchedArchive, moved func(int64)) (wire.Fetched, error)
}

// fetchAll brings all archives here, several at once. What goes wrong with one is
// told, and is none of the others' business; the error is about the command.
func (d *download) fetchAll(ctx context.Context) error {
	told := func() {}
	if slices.ContainsFunc(d.archives, func(w *wanted) bool { return len(w.origins) > 0 }) {
		told = d.narrator.Progress(d.text)
	}
	slots := make(chan struct{}, maxDownloads)
	var all sync.WaitGroup
	for _, w := range d.archives {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if w.path, w.err = d.fetch(ctx, w); w.err == nil && w.ours != certain {
				w.path, w.err = d.checkRecord(w.path)
			}
		})
	}
	all.Wait()
	told()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for _, w := range d.archives {
		if w.err != nil {
			d.narrator.Failed(w.node, w.err)
		}
	}
	return nil
}

// text is how far the download is.
func (d *download) text() string {
	var moved, whole int64
	archives, done, known := 0, 0, true
	for _, w := range d.archives {
		if len(w.origins) == 0 {
			continue
		}
		archives++
		here := w.moved.Load()
		moved += here
		whole += w.bytes
		known = known && w.bytes > 0
		if w.bytes > 0 && here >= w.bytes {
			done++
		}
	}
	text := fmt.Sprintf("downloading %s … %s", plural(archives, "archive"), humanize.Bytes(uint64(moved)))
	if known {
		text += fmt.Sprintf(" of %s, %d whole", humanize.Bytes(uint64(whole)), done)
	}
	return text
}

// fetch brings one archive here, from the first of its origins that has it.
func (d *download) fetch(ctx context.Context, w *wanted) (string, error) {
	if d.raw {
		d.adopt(w.file)
		d.adopt(w.file + partialSuffix)
	}
	if path := d.here(w); path != "" {
		return path, nil
	}
	if w.err != nil {
		return "", w.err
	}
	var errs []error
	for _, o := range w.origins {
		path, err := d.fetchFrom(ctx, w, o)
		if err == nil {
			return path, nil
		}
		if ctx.Err() != nil {
			return "", err
		}
		if !strings.Contains(err.Error(), o.where()) {
			err = hint.Wrap(fmt.Errorf("%s: %w", o.where(), err), hint.Of(err))
		}
		errs = append(errs, err)
	}
	return "", hint.Wrap(fmt.Errorf("%s: %w", w.file, errors.Join(errs...)), hint.Of(errs[len(errs)-1]))
}

// checkRecord refuses an archive of another capture.
func (d *download) checkRecord(path string) (string, error) {
	a, err := capture.OpenArchive(path)
	if err != nil {
		return "", err
	}
	defer a.Close()
	if name := a.Record().Name; name != d.name {
		return "", fmt.Errorf("archive %s is of capture %s", path, clean(name))
	}
	return path, nil
}

// here is the path of an archive that an earlier download has brought here.
func (d *download) here(w *wanted) string {
	for _, dir := range []string{d.merging(), d.dir} {
		path := filepath.Join(dir, w.file)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && (w.bytes == 0 || info.Size() == w.bytes) {
			w.moved.Store(info.Size())
			return path
		}
	}
	return ""
}

func (d *download) fetchFrom(ctx context.Context, w *wanted, o origin) (string, error) {
	a, err := openFetch(d.staging(), w.file)
	if errors.Is(err, fs.ErrExist) {
		return "", hint.Wrap(fmt.Errorf("%s is there already, and is not the same archive", filepath.Join(d.staging(), w.file)), "move it away")
	}
	if err != nil {
		return "", err
	}
	if w.bytes > 0 && a.bytes > w.bytes {
		if err := a.restart(); err != nil {
			a.discard()
			return "", fmt.Errorf("save archive: %w", err)
		}
	}
	w.moved.Store(a.bytes)
	whole, err := o.fetch(ctx, a, w.moved.Store)
	if err != nil {
		a.discard()
		return "", err
	}
	return a.done(whole)
}

// adopt takes over a file that a download has left that was to be merged, for one
// that is not.
func (d *download) adopt(name string) {
	left, here := filepath.Join(d.merging(), name), filepath.Join(d.dir, name)
	if _, err := os.Lstat(here); !errors.Is(err, fs.ErrNotExist) {
		return
	}
	if os.Rename(left, here) == nil {
		_ = os.Remove(d.merging()) // which fails as long as it is of use
	}
}

// receive reads frames until an archive is whole.
type receive struct {
	archive *fetchedArchive
	moved   func(int64)
	whole   wire.Fetched
	done    bool
}

// take takes one frame in; errSeen is the end.
func (r *receive) take(kind wire.Kind, payload []byte) error {
	switch kind {
	case wire.KindData:
		if err := r.archive.write(payload); err != nil {
			return err
		}
		r.moved(r.archive.bytes)
	case wire.KindFetched:
		if err := json.Unmarshal(payload, &r.whole); err != nil {
			return fmt.Errorf("archive: %w", err)
		}
		r.done = true
		return errSeen
	}
	return nil
}

var errNotWhole = errors.New("the collector has ended before the archive was whole")

// A keeperOrigin is a collector that waits with its archive.
type keeperOrigin struct{ keeper }

func (o keeperOrigin) where() string { return "the collector on node " + o.node }

func (o keeperOrigin) fetch(ctx context.Context, a *fetchedArchive, moved func(int64)) (wire.Fetched, error) {
	r := receive{archive: a, moved: moved}
	err := o.converse(ctx, func(ctx context.Context, s *session.Session) error {
		return s.TellJSON(ctx, wire.KindFetch, wire.Fetch{Offset: a.bytes})
	}, r.take)
	if err == nil && !r.done {
		err = errNotWhole
	}
	return r.whole, err
}

// A storeOrigin is a blob container or a bucket.
type storeOrigin struct {
	store  store.Store
	name   string
	sha256 string // "" if the place has to be asked
}

func (o storeOrigin) where() string { return o.store.Where() }

func (o storeOrigin) fetch(ctx context.Context, a *fetchedArchive, moved func(int64)) (wire.Fetched, error) {
	object, err := o.store.Stat(ctx, o.name)
	if err != nil {
		return wire.Fetched{}, err
	}
	if a.bytes > object.Bytes {
		if err := a.restart(); err != nil {
			return wire.Fetched{}, fmt.Errorf("save archive: %w", err)
		}
	}
	body, err := o.store.Open(ctx, o.name, a.bytes)
	if err != nil {
		return wire.Fetched{}, err
	}
	defer body.Close()
	if _, err := io.CopyBuffer(archiveWriter{a, moved}, body, make([]byte, frameBuffer)); err != nil {
		return wire.Fetched{}, err
	}
	return wire.Fetched{Bytes: object.Bytes, SHA256: firstText(o.sha256, object.SHA256)}, nil
}

// archiveWriter is an archive as an io.Writer.
type archiveWriter struct {
	archive *fetchedArchive
	moved   func(int64)
}

func (w archiveWriter) Write(b []byte) (int, error) {
	if err := w.archive.write(b); err != nil {
		return 0, err
	}
	w.moved(w.archive.bytes)
	return len(b), nil
}

// deliver makes of the archives what was asked for. whole is whether none is
// missing.
func (d *download) deliver(ctx context.Context, saved []*wanted, whole bool) error {
	for _, w := range saved {
		if err := syncFile(w.path); err != nil {
			return fmt.Errorf("save archive: %w", err)
		}
	}
	if d.raw {
		for _, w := range saved {
			d.narrator.Info(fmt.Sprintf("%s (%s)", w.path, humanize.Bytes(uint64(max(0, w.moved.Load())))))
		}
		return nil
	}
	return d.merge(ctx, saved, whole)
}

// safe reports whether what was asked for is in files: what went through a pipe
// may have been looked at only.
func (d *download) safe() bool {
	if d.raw {
		return true
	}
	info, err := os.Stat(d.path())
	return d.write != capture.Stdout && err == nil && info.Mode().IsRegular()
}

// release lets the collectors end whose archives are safe.
func (d *download) release(ctx context.Context, saved []*wanted) {
	if !d.safe() {
		return
	}
	var all sync.WaitGroup
	for _, w := range saved {
		if w.keeper != nil {
			all.Go(func() {
				if err := w.keeper.release(ctx); err != nil {
					d.narrator.Warn("node " + w.node + " keeps its copy for now: " + err.Error())
				}
			})
		}
	}
	all.Wait()
}

// syncFile has the disk hold the file at path.
func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// merge makes one file of the archives, which are then not needed here any more,
// unless the file lacks some that are still to come.
func (d *download) merge(ctx context.Context, saved []*wanted, whole bool) error {
	paths := make([]string, len(saved))
	for i, w := range saved {
		paths[i] = w.path
	}
	d.narrator.Status("merging " + plural(len(paths), "archive"))
	result, err := mergeArchives(ctx, d.name, paths, d.output)
	if errors.Is(err, capture.ErrReaderClosed) {
		err = nil // the reader had enough, as head(1) does
	}
	if err == nil {
		err = d.output.Close()
	}
	if err == nil && d.safe() {
		err = syncFile(d.path())
	}
	for _, source := range result.Sources {
		err = errors.Join(err, source.Err)
	}
	if err != nil {
		return exit.With(exit.Partial, hint.Wrap(fmt.Errorf("merge archives: %w", err), "they are in "+d.staging()))
	}
	text := fmt.Sprintf("%s: %s packets from %s, %s lost", d.output.Name(), comma(result.Packets), plural(len(paths), "node"), comma(result.Lost))
	if !whole {
		d.narrator.Info(fmt.Sprintf("%s; of %d more nodes nothing is here yet: run this again", text, len(d.archives)-len(saved)))
		return nil
	}
	if !result.Complete {
		text += "; incomplete"
	}
	d.narrator.Info(text)
	if result.Lost > 0 || !result.Complete {
		err = exit.With(exit.Partial, exit.ErrSilent)
	}
	for _, path := range paths {
		if filepath.Dir(path) == filepath.Clean(d.staging()) {
			err = errors.Join(err, os.Remove(path))
		}
	}
	_ = os.Remove(d.staging()) // what else is in it is not ours
	return err
}
