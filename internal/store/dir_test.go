package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

func dirStoreAt(t *testing.T, mount, path string, keep int) *dirStore {
	t.Helper()
	s, err := Open(wire.Destination{Dir: &wire.DirDestination{Mount: mount, Path: path, Name: "pvc captures", Keep: keep}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s.(*dirStore)
}

// tree lists what is below dir: paths, sorted.
func tree(t *testing.T, dir string) []string {
	t.Helper()
	var paths []string
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if relative, _ := filepath.Rel(dir, path); relative != "." {
			paths = append(paths, filepath.ToSlash(relative))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// lifeCycle stores an archive, finds it, reads it from several offsets, and
// deletes it.
func lifeCycle(t *testing.T, s Store, bytesOf int64, sumInList bool) {
	t.Helper()
	ctx, name := t.Context(), archiveNamed("life")
	want := whole(t, generated(bytesOf, 5))
	var last int64
	receipt, err := s.Put(ctx, s.Name(name), generated(bytesOf, 5), func(n int64) {
		if n <= last {
			t.Errorf("progress goes from %d to %d", last, n)
		}
		last = n
	})
	if err != nil {
		t.Fatal(err)
	}
	if wanted := (Receipt{Name: s.Name(name), Bytes: bytesOf, SHA256: sumOfBytes(want)}); receipt != wanted || last != bytesOf {
		t.Fatalf("receipt %+v, want %+v; progress %d", receipt, wanted, last)
	}
	objects, err := s.List(ctx, "life-")
	if err != nil || len(objects) != 1 || objects[0].Name != receipt.Name || objects[0].Bytes != bytesOf || time.Since(objects[0].Modified).Abs() > time.Minute {
		t.Fatalf("list: %+v, %v", objects, err)
	}
	if sumInList && objects[0].SHA256 != receipt.SHA256 {
		t.Errorf("list: %+v", objects[0])
	}
	object, err := s.Stat(ctx, name) // the file's name is good too
	if err != nil || object.Name != receipt.Name || object.Bytes != bytesOf || object.SHA256 != receipt.SHA256 && object.SHA256 != "" {
		t.Errorf("stat: %+v, %v", object, err)
	}
	if others, err := s.List(ctx, "lifetime"); err != nil || len(others) != 0 {
		t.Errorf("list of another prefix: %+v, %v", others, err)
	}
	for _, offset := range []int64{0, 1, bytesOf / 2, bytesOf - 1, bytesOf} {
		body, err := s.Open(ctx, receipt.Name, offset)
		if err != nil {
			t.Errorf("open from %d: %v", offset, err)
			continue
		}
		got, err := io.ReadAll(body)
		if err != nil || !bytes.Equal(got, want[offset:]) {
			t.Errorf("open from %d: %d bytes, %v", offset, len(got), err)
		}
		if err := body.Close(); err != nil {
			t.Error(err)
		}
	}
	if body, err := s.Open(ctx, receipt.Name, bytesOf+1); err == nil {
		_ = body.Close()
		t.Error("an offset beyond the end is accepted")
	}
	for range 2 { // the second time it is not there
		if err := s.Delete(ctx, receipt.Name); err != nil {
			t.Errorf("delete: %v", err)
		}
	}
	if _, err := s.Open(ctx, name, 0); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open of what is deleted: %v", err)
	}
	if _, err := s.Stat(ctx, name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("stat of what is deleted: %v", err)
	}
	if objects, err := s.List(ctx, ""); err != nil || len(objects) != 0 {
		t.Errorf("list of nothing: %+v, %v", objects, err)
	}
}

func TestDirLifeCycle(t *testing.T) {
	for _, path := range []string{"", "a", "a/b c/d"} {
		mount := t.TempDir()
		s := dirStoreAt(t, mount, path, 0)
		if objects, err := s.List(t.Context(), ""); err != nil || len(objects) != 0 {
			t.Errorf("list before anything: %v %v", objects, err)
		}
		if err := s.Delete(t.Context(), archiveNamed("a")); err != nil {
			t.Error(err)
		}
		lifeCycle(t, s, 1<<20+1, false)
	}
}

func TestDirModes(t *testing.T) {
	mount := t.TempDir()
	s := dirStoreAt(t, mount, "a/b", 0)
	if _, err := s.Put(t.Context(), s.Name(archiveNamed("x")), text("hello"), nil); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]fs.FileMode{"a": fs.ModeDir | 0o700, "a/b": fs.ModeDir | 0o700, "a/b/" + archiveNamed("x"): 0o600} {
		info, err := os.Lstat(filepath.Join(mount, path))
		if err != nil || info.Mode() != want {
			t.Errorf("%s: %v, want %v (%v)", path, info.Mode(), want, err)
		}
	}
}

// A failed Put leaves what was there, and nothing of its own.
func TestDirFailedPutLeavesNothing(t *testing.T) {
	mount := t.TempDir()
	s := dirStoreAt(t, mount, "", 1)
	name := archiveNamed("x")
	if _, err := s.Put(t.Context(), name, text("old"), nil); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	canceled, cancel := context.WithCancel(t.Context())
	for want, run := range map[error]struct {
		ctx     context.Context
		content Content
	}{
		broken: {t.Context(), func(w io.Writer) error {
			_, _ = w.Write(make([]byte, 1<<20))
			return fmt.Errorf("tar: %w", broken)
		}},
		context.Canceled: {canceled, func(w io.Writer) error {
			cancel()
			_, err := w.Write([]byte("x"))
			return err
		}},
	} {
		if _, err := s.Put(run.ctx, name, run.content, nil); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	if got := tree(t, mount); !slices.Equal(got, []string{name}) {
		t.Errorf("left: %q", got)
	}
	if got, _ := os.ReadFile(filepath.Join(mount, name)); string(got) != "old" {
		t.Errorf("left: %q", got)
	}
}

// Whatever links somebody puts below the mount point: nothing outside changes,
// is read or is listed.
func TestDirIsConfined(t *testing.T) {
	name, other := archiveNamed("x"), archiveNamed("other")
	for label, test := range map[string]struct {
		path  string
		plant func(mount, outside string) error
		put   bool // works all the same
	}{
		"absolute link as directory": {"a", func(mount, outside string) error { return os.Symlink(outside, filepath.Join(mount, "a")) }, false},
		"relative link as directory": {"a", func(mount, _ string) error { return os.Symlink("../outside", filepath.Join(mount, "a")) }, false},
		"link within the path":       {"a/b", func(mount, outside string) error { return os.Symlink(outside, filepath.Join(mount, "a")) }, false},
		"link as partial file": {"", func(mount, outside string) error {
			return os.Symlink(filepath.Join(outside, other), filepath.Join(mount, partialName(name)))
		}, true},
		"link as archive": {"", func(mount, outside string) error {
			return os.Symlink(filepath.Join(outside, other), filepath.Join(mount, name))
		}, true},
	} {
		top := t.TempDir()
		mount, outside := filepath.Join(top, "mount"), filepath.Join(top, "outside")
		write(t, filepath.Join(outside, other), "secret")
		write(t, filepath.Join(outside, name), "secret")
		if err := os.Mkdir(mount, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := test.plant(mount, outside); err != nil {
			t.Fatal(err)
		}
		s := dirStoreAt(t, mount, test.path, 1)
		for _, name := range []string{name, other} {
			if body, err := s.Open(t.Context(), s.Name(name), 0); err == nil {
				_ = body.Close()
				t.Errorf("%s: opened %s", label, name)
			}
		}
		if objects, _ := s.List(t.Context(), ""); len(objects) != 0 {
			t.Errorf("%s: lists %+v", label, objects)
		}
		_ = s.Delete(t.Context(), s.Name(other))
		if !test.put {
			_ = s.Delete(t.Context(), s.Name(name))
		}
		if _, err := s.Put(t.Context(), s.Name(name), text("hello"), nil); (err == nil) != test.put {
			t.Errorf("%s: put: %v", label, err)
		}
		for _, name := range []string{name, other} {
			if got, err := os.ReadFile(filepath.Join(outside, name)); string(got) != "secret" {
				t.Errorf("%s: outside has %q (%v)", label, got, err)
			}
		}
		if got := tree(t, outside); len(got) != 2 {
			t.Errorf("%s: outside has %q", label, got)
		}
		if test.put {
			if info, err := os.Lstat(filepath.Join(mount, name)); err != nil || !info.Mode().IsRegular() {
				t.Errorf("%s: %v %v", label, info, err)
			}
		}
	}
}

func TestDirTouchesOnlyArchives(t *testing.T) {
	mount := t.TempDir()
	write(t, filepath.Join(mount, "notes.txt"), "x")
	write(t, filepath.Join(mount, "dir-n1-20200101T000000Z.tar.gz", "x"), "x") // a directory of such a name
	write(t, filepath.Join(mount, "capture-n1-20200101000000UTC.tar.gz"), "x") // of another tool
	before := tree(t, mount)
	s := dirStoreAt(t, mount, "", 1)
	if objects, err := s.List(t.Context(), ""); err != nil || len(objects) != 0 {
		t.Errorf("%+v %v", objects, err)
	}
	if err := s.Delete(t.Context(), "dir-n1-20200101T000000Z.tar.gz"); err == nil {
		t.Error("deleted a directory")
	}
	if _, err := s.Open(t.Context(), "dir-n1-20200101T000000Z.tar.gz", 0); err == nil {
		t.Error("opened a directory")
	}
	if _, err := s.Put(t.Context(), archiveNamed("x"), text("hello"), nil); err != nil {
		t.Error(err)
	}
	if got, want := tree(t, mount), append(before, archiveNamed("x")); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestKeepPrunesTheOldest(t *testing.T) {
	at := func(capture, node, time string) string { return capture + "-" + node + "-" + time + ".tar.gz" }
	old := []string{
		at("zzz", "n1", "20260101T000000Z"), at("aaa", "n2", "20260102T000000Z"), at("mmm", "n1", "20260103T000000Z"),
		at("aaa", "n1", "20260104T000000Z"),
	}
	partial := partialName(at("gone", "n1", "20260101T000000Z"))
	fresh := partialName(at("busy", "n1", "20260101T000000Z"))
	for keep, want := range map[int][]string{0: old, 1: nil, 2: old[3:], 3: old[2:], 5: old, 100: old} {
		mount := t.TempDir()
		for _, name := range append([]string{partial, fresh, "mine-20200101.tar.gz", ".hidden.partial"}, old...) {
			write(t, filepath.Join(mount, name), "x")
		}
		ages := map[string]time.Duration{partial: 25 * time.Hour, fresh: 23 * time.Hour, ".hidden.partial": 1000 * time.Hour, old[3]: 9999 * time.Hour}
		for name, age := range ages {
			if err := os.Chtimes(filepath.Join(mount, name), time.Time{}, time.Now().Add(-age)); err != nil {
				t.Fatal(err)
			}
		}
		// Its own clock is late: it stays all the same.
		current := at("new", "n1", "20200101T000000Z")
		receipt, err := dirStoreAt(t, mount, "", keep).Put(t.Context(), current, text("hello"), nil)
		if err != nil || receipt.Warning != "" {
			t.Fatalf("%+v %v", receipt, err)
		}
		all := append([]string{current, fresh, "mine-20200101.tar.gz", ".hidden.partial"}, want...)
		slices.Sort(all)
		if got := tree(t, mount); !slices.Equal(got, all) {
			t.Errorf("keep %d: %q, want %q", keep, got, all)
		}
	}
}

func TestDirWithoutItsMount(t *testing.T) {
	s := dirStoreAt(t, filepath.Join(t.TempDir(), "missing"), "", 0)
	_, err := s.Put(t.Context(), archiveNamed("x"), text("hello"), nil)
	if !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), "pvc captures: upload "+archiveNamed("x")+": ") {
		t.Errorf("%v", err)
	}
	if _, err := s.List(t.Context(), ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}
