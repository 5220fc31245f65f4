//go:build linux

package netnsage

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	const rest = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 12345 99 0"
	tests := []struct {
		stat string
		want time.Duration
		ok   bool
	}{
		{"17 (pause)" + rest, 123450 * time.Millisecond, true},
		{"17 (a) R (b c)" + rest, 123450 * time.Millisecond, true},
		{"17 (pause) S 1 2 3", 0, false},
		{"17 pause" + rest, 0, false},
		{"17 (pause) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 x", 0, false},
		{"17 (pause) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 9223372036854775807", 0, false},
		{"", 0, false},
	}
	for _, test := range tests {
		if got, ok := parseStat([]byte(test.stat)); got != test.want || ok != test.ok {
			t.Errorf("%q: %v %v, want %v %v", test.stat, got, ok, test.want, test.ok)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("17 (a) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 12345 99"))
	f.Fuzz(func(t *testing.T, stat []byte) {
		if began, ok := parseStat(stat); began < 0 || !ok && began != 0 {
			t.Errorf("%q began at %v, %v", stat, began, ok)
		}
	})
}

// A namespace is as old as its oldest process; one without a process that can
// be read has no age.
func TestBornAfter(t *testing.T) {
	procfs := t.TempDir()
	process := func(pid int, ino uint64, ticks int) {
		t.Helper()
		dir := filepath.Join(procfs, fmt.Sprint(pid))
		must(t, os.MkdirAll(filepath.Join(dir, "ns"), 0o755))
		must(t, os.Symlink(fmt.Sprintf("net:[%d]", ino), filepath.Join(dir, "ns/net")))
		stat := fmt.Sprintf("%d (x) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 %d 0", pid, ticks)
		must(t, os.WriteFile(filepath.Join(dir, "stat"), []byte(stat), 0o600))
	}
	process(1, 10, 5)
	process(2, 10, 500) // in an older one
	process(3, 11, 200)
	process(4, 11, 101)
	process(5, 12, 100)
	process(6, 13, 999) // nobody has asked
	must(t, os.Mkdir(filepath.Join(procfs, "7"), 0o755))
	must(t, os.Mkdir(filepath.Join(procfs, "self"), 0o755))
	process(8, 15, 300)
	got, err := BornAfter(procfs, map[uint64]time.Duration{10: time.Second, 11: time.Second, 12: time.Second, 14: time.Second, 15: 3 * time.Second})
	must(t, err)
	if want := map[uint64]bool{10: false, 11: true, 12: false, 15: false}; !maps.Equal(got, want) {
		t.Errorf("born after: %v, want %v", got, want)
	}
}

// A namespace is new once; its number is, when all of its processes are.
func TestMemory(t *testing.T) {
	procfs := t.TempDir()
	stat := func(began time.Duration) {
		t.Helper()
		dir := filepath.Join(procfs, "1")
		must(t, os.RemoveAll(dir))
		must(t, os.MkdirAll(filepath.Join(dir, "ns"), 0o755))
		must(t, os.Symlink("net:[10]", filepath.Join(dir, "ns/net")))
		text := fmt.Sprintf("1 (x) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 %d 0", began/tick)
		must(t, os.WriteFile(filepath.Join(dir, "stat"), []byte(text), 0o600))
	}
	m, err := Remember(procfs)
	must(t, err)
	m.began -= time.Hour
	for _, step := range []struct {
		name string
		new  bool
		from time.Duration // now, the process began
	}{
		{"younger", true, -time.Second},
		{"once more", false, -time.Second},
		{"the number is used again", true, time.Second},
		{"older", false, -2 * time.Hour},
	} {
		now, err := Now()
		must(t, err)
		stat(now + step.from)
		got, err := m.New([]uint64{10})
		must(t, err)
		if got[10] != step.new {
			t.Errorf("%s: new %v, want %v", step.name, got[10], step.new)
		}
	}
}

func TestThisProcess(t *testing.T) {
	now, err := Now()
	must(t, err)
	began, ok := startTime("/proc/self")
	if !ok || began > now || now-began > time.Hour {
		t.Errorf("this process began at %v (%v), it is %v now", began, ok, now)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
