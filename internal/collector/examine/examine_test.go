//go:build linux

package examine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
)

func TestLockdown(t *testing.T) {
	for text, want := range map[string]string{
		"[none] integrity confidentiality": "", "none [integrity] confidentiality": "integrity", "": "", "[": "",
	} {
		if got := lockdown(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestBTF(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"little": "\x9f\xeb\x01", "big": "\xeb\x9f\x01", "other": "ELF", "empty": ""} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if why := btf(path); (why == "") != (name == "little" || name == "big") {
			t.Errorf("%s: %q", name, why)
		}
	}
	if why := btf(filepath.Join(dir, "none")); !strings.Contains(why, "no such file") {
		t.Errorf("no file: %q", why)
	}
}

func TestOpenPrograms(t *testing.T) {
	dir := t.TempDir()
	for path, content := range map[string]string{
		"12/fdinfo/3":  "pos:\t0\nprog_type:\t3\nprog_id:\t17\n",
		"12/fdinfo/4":  "pos:\t0\nlink_type:\ttcx\nlink_id:\t1\nprog_id:\t4242\n",
		"12/fdinfo/5":  "pos:\t0\nprog_id:\tx\n",
		"self/fdinfo/": "",
		"13/cmdline":   "/retina-collector\x00run\x00",
	} {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if content == "" {
			continue
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	held, err := openPrograms(dir)
	if err != nil || len(held) != 2 || !held[17] || !held[4242] {
		t.Errorf("held %v, error %v", held, err)
	}
	if !collectorRuns(dir) || collectorRuns(filepath.Join(dir, "self")) {
		t.Error("collectors are not told from other processes")
	}
}

func TestOurNames(t *testing.T) {
	names, err := ourNames()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"packets_ingress", "packets_socket"} {
		if !names[name] {
			t.Errorf("%s is not among %v", name, names)
		}
	}
	for name := range names {
		if len(name) > maxName {
			t.Errorf("%q is longer than a kernel keeps", name)
		}
	}
}

// Programs that are not known are never told as left: neither here nor by the tests
// on the cluster, which go by the beginning of the name.
func TestOurNamesAreAll(t *testing.T) {
	names, err := ourNames()
	if err != nil {
		t.Fatal(err)
	}
	objects, err := filepath.Glob("../../../bpf/*/*_bpfel.o")
	if err != nil || len(objects) == 0 {
		t.Fatalf("no objects: %v", err)
	}
	for _, object := range objects {
		spec, err := ebpf.LoadCollectionSpec(object)
		if err != nil {
			t.Fatal(err)
		}
		for name := range spec.Programs {
			if !names[name[:min(len(name), maxName)]] {
				t.Errorf("%s: the program %s is not among ourNames", object, name)
			}
			if want := filepath.Base(filepath.Dir(object)) + "_"; !strings.HasPrefix(name, want) {
				t.Errorf("%s: the program %s does not begin with %s", object, name, want)
			}
		}
	}
}
