package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// writeArchive writes index and all it refers to as the OCI archive path, whose
// directories are made. On error no file of that name is left or changed.
func writeArchive(path string, index v1.ImageIndex, created time.Time) (err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	staging, err := os.MkdirTemp(dir, ".ociimage-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(staging)) }()
	tree := filepath.Join(staging, "layout")
	if _, err := layout.Write(tree, index); err != nil {
		return fmt.Errorf("image layout: %w", err)
	}
	archive := filepath.Join(staging, "archive.tar")
	if err := tarTree(archive, tree, created); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.Rename(archive, path)
}

// tarTree archives the files of a directory. Names are sorted, and owner, mode
// and time do not depend on who runs this when.
func tarTree(archive, tree string, created time.Time) (err error) {
	file, err := os.OpenFile(archive, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	w := tar.NewWriter(file)
	root := os.DirFS(tree)
	err = fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		header := &tar.Header{Name: name, ModTime: created, Format: tar.FormatUSTAR}
		if entry.IsDir() {
			header.Typeflag, header.Name, header.Mode = tar.TypeDir, name+"/", 0o755
			return w.WriteHeader(header)
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		header.Typeflag, header.Mode, header.Size = tar.TypeReg, 0o644, info.Size()
		if err := w.WriteHeader(header); err != nil {
			return err
		}
		return copyFile(w, root, name)
	})
	return errors.Join(err, w.Close())
}

func copyFile(w io.Writer, root fs.FS, name string) error {
	file, err := root.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.Copy(w, file)
	return err
}
