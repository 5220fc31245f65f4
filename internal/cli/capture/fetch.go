package capture

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// partialSuffix marks an archive that is not whole yet. It is gone on with by the
// next download.
const partialSuffix = ".partial"

// A fetchedArchive is an archive on its way to a file of this machine. It is not
// safe for concurrent use. Nil is one that has not begun.
type fetchedArchive struct {
	path  string // of the whole archive
	file  *os.File
	bytes int64     // that are here
	hash  hash.Hash // of those
}

// openFetch begins the archive with this file name in dir, or goes on with what
// an earlier download has left. An archive that is there already is an error
// that is fs.ErrExist. The file is readable by its owner only: it holds other
// people's traffic.
func openFetch(dir, name string) (*fetchedArchive, error) {
	a := &fetchedArchive{path: filepath.Join(dir, filepath.Base(name)), hash: sha256.New()}
	if _, err := os.Lstat(a.path); err == nil {
		return nil, hint.Wrap(fmt.Errorf("save archive: %s: %w", a.path, fs.ErrExist), "move it away, or name another directory")
	}
	var err error
	if a.file, err = os.OpenFile(a.path+partialSuffix, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, fmt.Errorf("save archive: %w", err)
	}
	if a.bytes, err = io.Copy(a.hash, a.file); err != nil {
		return nil, errors.Join(fmt.Errorf("save archive: %w", err), a.file.Close())
	}
	return a, nil
}

// write adds more of the archive.
func (a *fetchedArchive) write(b []byte) error {
	a.hash.Write(b)
	n, err := a.file.Write(b)
	a.bytes += int64(n)
	if err != nil {
		return fmt.Errorf("save archive: %w", err)
	}
	return nil
}

// restart forgets what is here, because it is not the beginning of that archive.
func (a *fetchedArchive) restart() error {
	a.bytes, a.hash = 0, sha256.New()
	_, err := a.file.Seek(0, io.SeekStart)
	return errors.Join(err, a.file.Truncate(0))
}

// done checks that the archive is whole, gives the file its name, and returns
// that. What is not whole, or damaged, stays beside it.
func (a *fetchedArchive) done(want wire.Fetched) (string, error) {
	if err := a.file.Close(); err != nil {
		return "", fmt.Errorf("save archive: %w", err)
	}
	if sum := hex.EncodeToString(a.hash.Sum(nil)); a.bytes != want.Bytes || want.SHA256 != "" && sum != want.SHA256 {
		err := fmt.Errorf("archive %s arrived damaged: %d bytes with checksum %s, not %d with %s", filepath.Base(a.path), a.bytes, sum, want.Bytes, clean(want.SHA256))
		return "", errors.Join(err, os.Remove(a.path+partialSuffix))
	}
	if err := os.Rename(a.path+partialSuffix, a.path); err != nil {
		return "", fmt.Errorf("save archive: %w", err)
	}
	return a.path, nil
}

// discard closes what is not done; the next download goes on with it, if there
// is anything.
func (a *fetchedArchive) discard() {
	if a == nil {
		return
	}
	_ = a.file.Close()
	if a.bytes == 0 {
		_ = os.Remove(a.path + partialSuffix)
	}
}
