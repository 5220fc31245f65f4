//go:build linux

package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kubectl-retina/kubectl-retina/e2e/kernels/plan"
	"github.com/kubectl-retina/kubectl-retina/e2e/kernels/verdict"
)

func TestInitramfs(t *testing.T) {
	files := initramfs{}
	files.file("/a/b/program", []byte("12345"))
	files.link("/a/link", "b/program")
	var archive bytes.Buffer
	if err := files.write(&archive); err != nil {
		t.Fatal(err)
	}
	zero, one := "00000000", "00000001"
	header := func(inode, mode, size, name string) string {
		return "070701" + inode + mode + zero + zero + one + zero + size + zero + zero + zero + zero + name + zero
	}
	want := header("00000001", "000041ED", zero, "00000002") + "a\x00" +
		header("00000002", "000041ED", zero, "00000004") + "a/b\x00" + "\x00\x00" +
		header("00000003", "000081ED", "00000005", "0000000C") + "a/b/program\x00" + "\x00\x00" + "12345\x00\x00\x00" +
		header("00000004", "0000A1FF", "00000009", "00000007") + "a/link\x00" + "\x00\x00\x00" + "b/program\x00\x00\x00" +
		header(zero, zero, zero, "0000000B") + "TRAILER!!!\x00" + "\x00\x00\x00"
	if archive.String() != want {
		t.Errorf("got\n%q\nwant\n%q", archive.String(), want)
	}
}

func TestBefore(t *testing.T) {
	for _, test := range []struct {
		kernel, version string
		want            bool
	}{
		{"5.10.0-46-cloud-amd64", "5.8", false}, {"5.10.0", "5.10", false}, {"5.10.0", "5.17", true},
		{"6.1.0", "6.6", true}, {"6.12.1+deb13", "6.6", false}, {"7.3.4", "6.17", false},
	} {
		if got := before(test.kernel, test.version); got != test.want {
			t.Errorf("before(%q, %q) = %v", test.kernel, test.version, got)
		}
	}
}

// shown is what two kernels showed.
func shown() []*outcome {
	old := newOutcome(kernel{release: release{name: "old"}, version: "5.10.0-1-cloud-amd64"})
	recent := newOutcome(kernel{release: release{name: "new"}, version: "6.12.1-cloud-amd64"})
	for _, o := range []*outcome{old, recent} {
		o.add(verdict.Message{Boot: &verdict.Boot{Release: o.version}})
		o.add(verdict.Message{Suite: &verdict.Suite{Name: "internal/plugin/dns"}})
		for _, name := range []string{"TestA", "TestA/socket", "TestB"} {
			o.add(verdict.Message{Test: &verdict.Test{Suite: "internal/plugin/dns", Name: name, Result: verdict.Pass}})
		}
	}
	old.add(verdict.Message{Test: &verdict.Test{Suite: "internal/plugin/dns", Name: "TestA/tcx", Result: verdict.Skip, Output: "x\na_test.go:7: needs Linux 6.6: TCX\n"}})
	recent.add(verdict.Message{Test: &verdict.Test{Suite: "internal/plugin/dns", Name: "TestA/tcx", Result: verdict.Pass}})
	old.add(verdict.Message{Probe: &verdict.Probe{Plugin: "dns", Lacks: []verdict.Reason{{Cause: "half", Hint: "buy more"}, {Cause: "a \x1b[31mquarter"}}}})
	old.add(verdict.Message{Probe: &verdict.Probe{Plugin: "dns", Forced: "tcx", Refused: verdict.Reason{Cause: "no TCX"}}})
	recent.add(verdict.Message{Test: &verdict.Test{Suite: "internal/hostns", Name: "TestC", Result: verdict.Pass}})
	recent.add(verdict.Message{Probe: &verdict.Probe{Plugin: "dns", Hook: "tcx"}})
	recent.add(verdict.Message{Probe: &verdict.Probe{Plugin: "dns", Forced: "tcx", Hook: "tcx"}})
	return []*outcome{old, recent}
}

func TestTable(t *testing.T) {
	got := render(shown(), []plan.Probe{{Plugin: "dns"}, {Plugin: "dns", Hook: "tcx"}})
	want := `|  | Linux 5.10.0-1<br>old | Linux 6.12.1<br>new |
|---|---|---|
| **dns** | in part [1] [2] (3) | yes, by tcx (4) |
| dns by TCX | no [3] | yes (1) |
| collector, filters in the kernel | yes | yes (1) |

1. half; buy more
2. a [31mquarter
3. no TCX

Tests that did not run:

| test | on Linux | why |
|---|---|---|
| dns TestA/tcx | 5.10 | needs Linux 6.6: TCX |
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestProblems(t *testing.T) {
	since := func(string) string { return "5.8" }
	p := plan.Plan{Suites: []plan.Suite{{Name: "internal/plugin/dns"}}, Probes: make([]plan.Probe, 2)}
	for name, test := range map[string]struct {
		change func(*outcome)
		want   string // of problems, or of complete
	}{
		"none": {func(*outcome) {}, ""},
		"a failed test": {func(o *outcome) {
			o.add(verdict.Message{Test: &verdict.Test{Suite: "s", Name: "T", Result: verdict.Fail}})
		}, "s T"},
		"left by tests":    {func(o *outcome) { o.add(verdict.Message{Suite: &verdict.Suite{Name: "s", Left: []string{"map 1"}}}) }, "s left behind: map 1"},
		"ended early":      {func(o *outcome) { o.add(verdict.Message{Suite: &verdict.Suite{Name: "s", Error: "killed"}}) }, "s: killed"},
		"left by a plugin": {func(o *outcome) { o.probed[0].Left = []string{"link 1"} }, "collector dns left behind: link 1"},
		"cannot be asked":  {func(o *outcome) { o.probed[0].Error = "cut" }, "collector dns: cut"},
		"does not run":     {func(o *outcome) { o.probed[0].Refused.Cause = "no" }, "collector dns: no, though the catalogue says Linux 5.8"},
		"another kernel":   {func(o *outcome) { o.booted = "4.19" }, `the machine runs Linux "4.19", not "5.10.0-1-cloud-amd64"`},
		"a missing answer": {func(o *outcome) { o.probed = o.probed[:1] }, "Linux 5.10.0-1-cloud-amd64: the collector was asked 1 of 2 times"},
		"a missing suite":  {func(o *outcome) { clear(o.suites) }, "Linux 5.10.0-1-cloud-amd64: the tests of internal/plugin/dns have not run"},
	} {
		t.Run(name, func(t *testing.T) {
			o := shown()[0]
			test.change(o)
			all := o.problems(since)
			if err := o.complete(p); err != nil {
				all = append(all, err.Error())
			}
			if got := strings.Join(all, "; "); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestUpdate(t *testing.T) {
	file := filepath.Join(t.TempDir(), "page.md")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("before\n" + beginTable + "old\n" + endTable + "after\n")
	if err := update(file, "| new |\n"); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file)
	if want := "before\n" + beginTable + "\n| new |\n\n" + endTable + "after\n"; err != nil || string(got) != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	write("no markers")
	if err := update(file, "x"); err == nil {
		t.Error("a file without markers is no error")
	}
}

func TestArguments(t *testing.T) {
	for _, args := range [][]string{{"-kernel", "windows"}, {"more"}, {"-update", "x", "-suite", "dns"}, {"-update", "x", "-suite", "none"}, {"-update", "x", "-run", "TestA"}} {
		if _, err := parse(args, new(bytes.Buffer)); err == nil {
			t.Errorf("%q is no error", args)
		}
	}
	o, err := parse([]string{"-kernel", "debian12,debian11"}, new(bytes.Buffer))
	names := slices.Collect(func(yield func(string) bool) {
		for _, r := range o.kernels {
			yield(r.name)
		}
	})
	if err != nil || !slices.Equal(names, []string{"debian12", "debian11"}) {
		t.Errorf("%q, %v", names, err)
	}
}

func TestModulesWithoutInformation(t *testing.T) {
	if _, err := dependsOn([]byte("no ELF")); err == nil {
		t.Error("no error")
	}
	k := kernel{dir: t.TempDir()}
	if all, err := k.modules(t.Context(), []string{"veth"}); err != nil || len(all) > 0 {
		t.Errorf("%v, %v", all, err)
	}
	if err := os.WriteFile(filepath.Join(k.dir, "veth.ko"), []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := k.modules(t.Context(), []string{"veth"}); err == nil || errors.Is(err, os.ErrNotExist) {
		t.Errorf("a broken module: %v", err)
	}
}

func TestCachedKernels(t *testing.T) {
	for name, test := range map[string]struct {
		files   []string
		version string // "": none, or no telling which
	}{
		"in /boot":         {[]string{"boot/vmlinuz-6.1.0-1", "boot/config-6.1.0-1"}, "6.1.0-1"},
		"with its modules": {[]string{"usr/lib/modules/7.3.4/vmlinuz", "usr/lib/modules/7.3.4/kernel/x.ko"}, "7.3.4"},
		"none":             {[]string{"boot/config-6.1.0-1"}, ""},
		"two":              {[]string{"boot/vmlinuz-1", "boot/vmlinuz-2"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, file := range test.files {
				at := filepath.Join(dir, file)
				if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, nil, 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			k, err := cached(release{}, dir)
			if k.version != test.version || (err == nil) != (test.version != "") {
				t.Errorf("%+v, %v", k, err)
			}
			if err == nil && k.image != filepath.Join(dir, test.files[0]) {
				t.Errorf("image %s", k.image)
			}
		})
	}
}
