//go:build linux && !unit

package store

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

// A small file system that is full: the partial file goes, what was there stays.
func TestDirOnAFullDisk(t *testing.T) {
	mount := t.TempDir()
	if err := syscall.Mount("tmpfs", mount, "tmpfs", 0, "size=4m"); err != nil {
		t.Fatalf("mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(mount, 0); err != nil {
			t.Error(err)
		}
	})
	s := dirStoreAt(t, mount, "a", 1)
	old := s.Name("x-n1-20200101T000000Z.tar.gz")
	if _, err := s.Put(t.Context(), old, generated(1<<20, 1), nil); err != nil {
		t.Fatal(err)
	}
	_, err := s.Put(t.Context(), s.Name(archiveNamed("x")), generated(8<<20, 2), nil)
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "no space left on device") || !strings.Contains(hint.Of(err), "free space") {
		t.Errorf("%v (%s)", err, hint.Of(err))
	}
	if got := tree(t, mount); !slices.Equal(got, []string{"a", old}) {
		t.Errorf("left: %q", got)
	}
	if _, err := s.Put(t.Context(), s.Name(archiveNamed("x")), generated(1<<20, 2), nil); err != nil {
		t.Errorf("what fits: %v", err)
	}
}

func TestDirThatCannotBeWritten(t *testing.T) {
	mount := t.TempDir()
	if err := syscall.Mount("tmpfs", mount, "tmpfs", syscall.MS_RDONLY, ""); err != nil {
		t.Fatalf("mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(mount, 0); err != nil {
			t.Error(err)
		}
	})
	s := dirStoreAt(t, mount, "a", 0)
	_, err := s.Put(t.Context(), s.Name(archiveNamed("x")), text("hello"), nil)
	if !errors.Is(err, syscall.EROFS) || hint.Of(err) == "" {
		t.Errorf("%v (%s)", err, hint.Of(err))
	}
}

// A pipe with the name of an archive would keep its reader waiting for ever.
func TestPipeIsNoArchive(t *testing.T) {
	mount := t.TempDir()
	name := archiveNamed("x")
	if err := syscall.Mkfifo(filepath.Join(mount, name), 0o600); err != nil {
		t.Fatal(err)
	}
	s := dirStoreAt(t, mount, "", 1)
	if body, err := s.Open(t.Context(), name, 0); err == nil {
		_ = body.Close()
		t.Error("opened a pipe")
	}
	if objects, err := s.List(t.Context(), ""); err != nil || len(objects) != 0 {
		t.Errorf("%+v, %v", objects, err)
	}
	if err := s.Delete(t.Context(), name); err == nil {
		t.Error("deleted a pipe")
	}
	if _, err := os.Lstat(filepath.Join(mount, name)); err != nil {
		t.Error(err)
	}
}
