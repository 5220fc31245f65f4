package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// stalePartial is the age of a partial file that nobody works on any more.
const stalePartial = 24 * time.Hour

// A dirStore is a directory below a mount point, which nothing leaves: not by
// "..", and not by a symbolic link. Its Store.Name is the path below the mount
// point.
type dirStore struct {
	mount string
	path  string // below mount; "." for mount itself
	name  string
	keep  int
	now   func() time.Time
}

func openDir(d wire.DirDestination) (*dirStore, error) {
	dir := path.Clean(d.Path)
	if d.Path == "" {
		dir = "."
	}
	if !fs.ValidPath(dir) {
		return nil, fmt.Errorf("path %q leaves the directory", d.Path)
	}
	return &dirStore{mount: d.Mount, path: dir, name: d.Name, keep: d.Keep, now: time.Now}, nil
}

func (d *dirStore) Where() string { return d.name }

func (d *dirStore) Name(archive string) string { return path.Join(d.path, archive) }

func (d *dirStore) prefix() string {
	if d.path == "." {
		return ""
	}
	return d.path + "/"
}

// Put writes a partial file, and renames it when the disk has it.
func (d *dirStore) Put(ctx context.Context, name string, content Content, progress func(int64)) (Receipt, error) {
	file, err := fileName(d.prefix(), name)
	if err != nil {
		return Receipt{}, err
	}
	root, err := d.open(true)
	if err != nil {
		return Receipt{}, d.explain("upload "+file, err)
	}
	defer root.Close()
	_ = removeStale(root, d.now()) // what is left costs space; whether that lacks is seen below
	sums := newSums()
	if err := putFile(ctx, root, file, sums.around(content), progress); err != nil {
		return Receipt{}, d.explain("upload "+file, err)
	}
	receipt := Receipt{Name: d.Name(file), Bytes: sums.bytes, SHA256: sums.sha256()}
	if err := d.prune(root, file); err != nil {
		receipt.Warning = d.explain("delete the oldest archives", err).Error()
	}
	return receipt, nil
}

// open opens the directory. Create makes what is missing of it.
func (d *dirStore) open(create bool) (*os.Root, error) {
	mount, err := os.OpenRoot(d.mount)
	if err != nil || d.path == "." {
		return mount, err
	}
	defer mount.Close()
	if create {
		if err := mount.MkdirAll(d.path, 0o700); err != nil {
			return nil, err
		}
	}
	return mount.OpenRoot(d.path)
}

func partialName(file string) string { return "." + file + ".partial" }

func putFile(ctx context.Context, root *os.Root, file string, content Content, progress func(int64)) (err error) {
	partial := partialName(file)
	if err := root.Remove(partial); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := root.OpenFile(partial, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close() // twice is harmless
			_ = root.Remove(partial)
		}
	}()
	buffered := bufio.NewWriterSize(&countingWriter{w: f, progress: progress}, 256<<10)
	if err := measure(ctx, content, buffered); err != nil {
		return err
	}
	for _, step := range []func() error{buffered.Flush, f.Sync, f.Close} {
		if err := step(); err != nil {
			return err
		}
	}
	if err := root.Rename(partial, file); err != nil {
		return err
	}
	syncDir(root)
	return nil
}

// syncDir makes the new name last. Not every file system can.
func syncDir(root *os.Root) {
	if dir, err := root.Open("."); err == nil {
		_ = dir.Sync()
		_ = dir.Close()
	}
}

// A countingWriter tells how many bytes were written.
type countingWriter struct {
	w        io.Writer
	bytes    int64
	progress func(int64)
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.bytes += int64(n)
	if c.progress != nil {
		c.progress(c.bytes)
	}
	return n, err
}

// archives returns the archives whose names begin with prefix, by name. What is
// not a regular file is none of ours.
func archives(root *os.Root, prefix string) ([]fs.FileInfo, error) {
	return files(root, func(name string) bool { return strings.HasPrefix(name, prefix) && IsArchive(name) })
}

func files(root *os.Root, want func(name string) bool) ([]fs.FileInfo, error) {
	dir, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var found []fs.FileInfo
	for _, name := range names {
		if !want(name) {
			continue
		}
		info, err := root.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if info.Mode().IsRegular() {
			found = append(found, info)
		}
	}
	return found, nil
}

// prune deletes the oldest archives, by the time in their names, until keep are
// left. That of this moment stays, whatever its clock said.
func (d *dirStore) prune(root *os.Root, current string) error {
	if d.keep == 0 {
		return nil
	}
	infos, err := archives(root, "")
	if err != nil {
		return err
	}
	var old []string
	for _, info := range infos {
		if info.Name() != current {
			old = append(old, info.Name())
		}
	}
	slices.SortStableFunc(old, func(a, b string) int { return strings.Compare(stamp(a), stamp(b)) })
	var errs []error
	for _, name := range old[:max(0, len(old)-(d.keep-1))] {
		if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// removeStale removes partial files of ours that a broken upload has left.
func removeStale(root *os.Root, now time.Time) error {
	partial, err := files(root, func(name string) bool {
		archive := strings.TrimSuffix(strings.TrimPrefix(name, "."), ".partial")
		return name == partialName(archive) && IsArchive(archive)
	})
	for _, info := range partial {
		if now.Sub(info.ModTime()) > stalePartial {
			err = errors.Join(err, root.Remove(info.Name()))
		}
	}
	return err
}

func (d *dirStore) List(_ context.Context, prefix string) ([]Object, error) {
	root, err := d.open(false)
	if errors.Is(err, fs.ErrNotExist) && d.path != "." {
		return nil, nil // nothing was stored yet
	}
	if err != nil {
		return nil, d.explain("list", err)
	}
	defer root.Close()
	infos, err := archives(root, prefix)
	if err != nil {
		return nil, d.explain("list", err)
	}
	objects := make([]Object, len(infos))
	for i, info := range infos {
		objects[i] = d.object(info)
	}
	return objects, nil
}

func (d *dirStore) object(info fs.FileInfo) Object {
	return Object{Name: d.Name(info.Name()), Bytes: info.Size(), Modified: info.ModTime()}
}

func (d *dirStore) Stat(_ context.Context, name string) (Object, error) {
	file, err := fileName(d.prefix(), name)
	if err != nil {
		return Object{}, err
	}
	f, info, err := d.openFile(file)
	if err != nil {
		return Object{}, d.explain("look at "+file, err)
	}
	defer f.Close()
	return d.object(info), nil
}

func (d *dirStore) Open(_ context.Context, name string, offset int64) (io.ReadCloser, error) {
	file, err := fileName(d.prefix(), name)
	if err != nil {
		return nil, err
	}
	f, info, err := d.openFile(file)
	if err == nil && (offset < 0 || offset > info.Size()) {
		_ = f.Close()
		err = fmt.Errorf("the archive has %d bytes and cannot be read from %d on", info.Size(), offset)
	}
	if err != nil {
		return nil, d.explain("download "+file, err)
	}
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		_ = f.Close()
		return nil, d.explain("download "+file, err)
	}
	return f, nil
}

// openFile opens an archive: a regular file, and not a link to one or a pipe,
// which somebody else may have put there.
func (d *dirStore) openFile(file string) (*os.File, fs.FileInfo, error) {
	root, err := d.open(false)
	if err != nil {
		return nil, nil, err
	}
	defer root.Close()
	named, err := root.Lstat(file)
	if err != nil {
		return nil, nil, err
	}
	if !named.Mode().IsRegular() {
		return nil, nil, errors.New("it is not a regular file")
	}
	f, err := root.Open(file)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !os.SameFile(named, info) {
		err = errors.New("it has been replaced")
	}
	if err != nil {
		_ = f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

func (d *dirStore) Delete(_ context.Context, name string) error {
	file, err := fileName(d.prefix(), name)
	if err != nil {
		return err
	}
	root, err := d.open(false)
	if errors.Is(err, fs.ErrNotExist) && d.path != "." {
		return nil
	}
	if err != nil {
		return d.explain("delete "+file, err)
	}
	defer root.Close()
	info, err := root.Lstat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err == nil && !info.Mode().IsRegular():
		err = errors.New("it is not a regular file")
	case err == nil:
		err = root.Remove(file)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return d.explain("delete "+file, err)
}

func (d *dirStore) explain(op string, err error) error {
	return explain(d.name, op, newGuard(), err, examineDisk)
}

// examineDisk explains an error of the file system.
func examineDisk(err error) (finding, bool) {
	hints := []struct {
		errno syscall.Errno
		hint  string
	}{
		{syscall.ENOSPC, "free space there, keep fewer archives (--host-path-keep), or store them elsewhere"},
		{syscall.EDQUOT, "free space there, or ask for a larger quota"},
		{syscall.EROFS, "choose a place that can be written to"},
		{syscall.EACCES, "check who may write there"},
		{syscall.EPERM, "check who may write there"},
		{syscall.EIO, "check the disk or the server of the volume"},
	}
	for _, h := range hints {
		if errors.Is(err, h.errno) {
			return finding{cause: h.errno.Error(), hint: h.hint, kind: h.errno}, true
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return finding{cause: "no such file or directory", kind: fs.ErrNotExist}, true
	}
	var own *fs.PathError
	if errors.As(err, &own) {
		return finding{cause: own.Error()}, true
	}
	return finding{}, false
}
