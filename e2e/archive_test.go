//go:build linux && !unit

package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/kubectl-retina/kubectl-retina/internal/archive"
)

// An openedArchive is an archive of ours that tar has unpacked and that is what it
// says: its record's files are there with their sizes, checksums and packets.
type openedArchive struct {
	base   string   // its name and that of its directory: NAME-NODE-TIME
	dir    string   // where base has been unpacked
	names  []string // of the entries in their order, below base
	record archive.Record
}

// openArchive unpacks an archive and fails the test unless it is whole.
func openArchive(t testing.TB, file string) *openedArchive {
	t.Helper()
	a, err := unpack(file, t.TempDir())
	if err != nil {
		t.Fatalf("archive %s: %v", filepath.Base(file), err)
	}
	return a
}

// file is the path of an entry, unpacked.
func (a *openedArchive) file(name string) string { return filepath.Join(a.dir, name) }

// packets are the paths of the packet files, the oldest first.
func (a *openedArchive) packets() []string {
	var files []string
	for _, f := range a.record.Files {
		files = append(files, a.file(f.Name))
	}
	return files
}

// below are the names that begin with prefix: "metadata/before/node/".
func (a *openedArchive) below(prefix string) []string {
	return slices.DeleteFunc(slices.Clone(a.names), func(name string) bool { return !strings.HasPrefix(name, prefix) })
}

// text is what an entry holds.
func (a *openedArchive) text(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(a.file(name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// unpack judges with tools that are not ours: the standard library, tar and
// capinfos.
func unpack(file, dir string) (*openedArchive, error) {
	base, ok := strings.CutSuffix(filepath.Base(file), ".tar.gz")
	if !ok {
		return nil, errors.New("is not called .tar.gz")
	}
	a := &openedArchive{base: base, dir: filepath.Join(dir, base)}
	if err := a.list(file); err != nil {
		return nil, err
	}
	if out, err := exec.Command("tar", "--extract", "--gzip", "--file", file, "--directory", dir).CombinedOutput(); err != nil || len(out) > 0 {
		return nil, fmt.Errorf("tar: %w: %s", err, out)
	}
	text, err := os.ReadFile(a.file("capture.json"))
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&a.record); err != nil {
		return nil, fmt.Errorf("capture.json: %w", err)
	}
	var packets uint64
	for _, f := range a.record.Files {
		packets += f.Packets
		if err := a.check(f); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	if packets != a.record.Packets {
		return nil, fmt.Errorf("files have %d packets, the record %d", packets, a.record.Packets)
	}
	return a, nil
}

// list reads all of the archive, for the names and types of its entries.
func (a *openedArchive) list(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	compressed, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	for packed := tar.NewReader(compressed); ; {
		header, err := packed.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		name, below := strings.CutPrefix(header.Name, a.base+"/")
		switch {
		case header.Typeflag != tar.TypeReg:
			return fmt.Errorf("entry %s is of type %q, not a file", header.Name, header.Typeflag)
		case !below || !filepath.IsLocal(name) || filepath.Clean(name) != name:
			return fmt.Errorf("entry %s is not below %s", header.Name, a.base)
		case slices.Contains(a.names, name):
			return fmt.Errorf("entry %s is there twice", header.Name)
		case header.Uid != 0 || header.Gid != 0 || header.Mode&^0o644 != 0:
			return fmt.Errorf("entry %s has owner %d:%d and mode %o", header.Name, header.Uid, header.Gid, header.Mode)
		}
		a.names = append(a.names, name)
	}
	if len(a.names) == 0 || a.names[0] != "capture.json" {
		return fmt.Errorf("capture.json is not the first of %q", a.names)
	}
	// What follows the last entry: the rest of the archive must be whole too.
	_, err = io.Copy(io.Discard, compressed)
	return err
}

// check compares a packet file with what the record says of it.
func (a *openedArchive) check(f archive.FileRecord) error {
	content, err := os.Open(a.file(f.Name))
	if err != nil {
		return err
	}
	defer content.Close()
	hash := sha256.New()
	size, err := io.Copy(hash, content)
	if err != nil {
		return err
	}
	if sum := hex.EncodeToString(hash.Sum(nil)); size != f.Bytes || sum != f.SHA256 {
		return fmt.Errorf("%d bytes, SHA-256 %s; want %d, %s", size, sum, f.Bytes, f.SHA256)
	}
	out, err := exec.Command("capinfos", "-c", "-M", a.file(f.Name)).Output()
	if err != nil {
		return fmt.Errorf("capinfos: %w", err)
	}
	match := regexp.MustCompile(`Number of packets:\s+(\d+)`).FindSubmatch(out)
	if match == nil || string(match[1]) != strconv.FormatUint(f.Packets, 10) {
		return fmt.Errorf("want %d packets: %s", f.Packets, out)
	}
	return nil
}

// aFinishedCapture makes what a collector archives: a record, two packets, and
// metadata.
func aFinishedCapture(t *testing.T, base string, change func(*archive.FileRecord)) (dir string) {
	t.Helper()
	dir = t.TempDir()
	text2pcap := exec.Command("text2pcap", "-q", "-", filepath.Join(dir, base+".pcapng"))
	text2pcap.Stdin = strings.NewReader("0000 01 02 03 04 05 06 07 08 09 0a 0b 0c 08 00\n0000 01 02 03 04 05 06 07 08 09 0a 0b 0c 08 00\n")
	run(t, text2pcap)
	content, err := os.ReadFile(filepath.Join(dir, base+".pcapng"))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	file := archive.FileRecord{Name: base + ".pcapng", Bytes: int64(len(content)), SHA256: hex.EncodeToString(sum[:]), Packets: 2}
	change(&file)
	record, err := archive.Complete(nil, archive.NodePart{Packets: 2, Files: []archive.FileRecord{file}})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"capture.json": record, "metadata/before/node/hostname": []byte("n1\n")} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700), os.WriteFile(filepath.Join(dir, name), content, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestOpenArchive sees that the judge of the other tests' archives would notice.
func TestOpenArchive(t *testing.T) {
	const base = "web-n1-20260102T150405Z"
	none := func(*archive.FileRecord) {}
	same := func(b []byte) []byte { return b }
	tests := map[string]struct {
		name    string
		change  func(*archive.FileRecord)
		archive func([]byte) []byte
		problem string // "": none
	}{
		"whole":          {base, none, same, ""},
		"other name":     {"web-n2-20260102T150405Z", none, same, "is not below"},
		"wrong checksum": {base, func(f *archive.FileRecord) { f.SHA256 = strings.Repeat("0", 64) }, same, "SHA-256"},
		"wrong size":     {base, func(f *archive.FileRecord) { f.Bytes++ }, same, "bytes"},
		"wrong count":    {base, func(f *archive.FileRecord) { f.Packets++ }, same, "want 3 packets"},
		"cut off":        {base, none, func(b []byte) []byte { return b[:len(b)-20] }, "EOF"},
		"damaged":        {base, none, func(b []byte) []byte { b[len(b)-6]++; return b }, "gzip"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var packed bytes.Buffer
			if err := archive.Write(&packed, aFinishedCapture(t, base, test.change), base); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), test.name+".tar.gz")
			if err := os.WriteFile(file, test.archive(packed.Bytes()), 0o600); err != nil {
				t.Fatal(err)
			}
			a, err := unpack(file, t.TempDir())
			if test.problem != "" {
				if err == nil || !strings.Contains(err.Error(), test.problem) {
					t.Errorf("unpack: %v, want %q", err, test.problem)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if a.text(t, "metadata/before/node/hostname") != "n1\n" || len(a.below("metadata/")) != 1 || len(rows(t, a.packets()[0], "eth", "frame.len")) != 2 {
				t.Errorf("archive %+v", a)
			}
		})
	}
}
