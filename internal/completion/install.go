package completion

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

// Install writes the program into dir, and returns its path. It takes the place
// of an earlier one of ours, and of nobody else's.
func (p Program) Install(dir string) (path string, err error) {
	path = filepath.Join(dir, p.Name)
	present, err := os.ReadFile(path)
	switch {
	case err == nil && !strings.Contains(string(present), marker):
		return "", hint.Wrap(fmt.Errorf("%s exists, and is not ours", path), "remove it, or choose another directory of the PATH with --dir")
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return "", err
	}
	// Whole or not at all: a shell may be completing just now.
	file, err := os.CreateTemp(dir, ".kubectl_complete-retina-*")
	if err != nil {
		return "", hint.Wrap(err, "choose a directory of the PATH where you may write, with --dir")
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(file.Name()))
		}
	}()
	_, err = file.WriteString(p.Content)
	if err = errors.Join(err, file.Chmod(0o755), file.Close()); err != nil {
		return "", err
	}
	return path, os.Rename(file.Name(), path)
}
