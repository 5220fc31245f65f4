//go:build linux

package storage

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kubectl-retina/kubectl-retina/e2e/internal/lab"
)

func TestScratchIsRemoved(t *testing.T) {
	c := &lab.Cluster{State: t.TempDir()}
	used, err := newScratch(c, "used")
	if err != nil {
		t.Fatal(err)
	}
	left, young := filepath.Join(scratchRoot(c), "left"), filepath.Join(scratchRoot(c), "young")
	for _, dir := range []string{left, young} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	old := time.Now().Add(-time.Hour)
	for _, dir := range []string{left, used.path} {
		if err := os.Chtimes(dir, old, old); err != nil {
			t.Fatal(err)
		}
	}
	other, err := newScratch(c, "other")
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{left: false, young: true, used.path: true, other.path: true} {
		if got := unix.Access(path, unix.F_OK) == nil; got != want {
			t.Errorf("%s is there: %t, want %t", path, got, want)
		}
	}
	for _, s := range []*scratch{used, other} {
		if err := s.remove(); err != nil {
			t.Error(err)
		}
		if unix.Access(s.path, unix.F_OK) == nil {
			t.Errorf("%s is left", s.path)
		}
	}
}
