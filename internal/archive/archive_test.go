package archive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	kgzip "github.com/klauspost/compress/gzip"
)

const base = "web-n1-20260709T101112Z"

func commandPart() CommandPart {
	return CommandPart{Name: "web", Node: "n1", Cluster: "10.0.0.1:6443", CommandVersion: "v1", Selection: []string{"deploy/web", "--namespace", "shop"},
		Targets: []Target{{ID: 1, Kind: "Pod", Namespace: "shop", Name: "web-1", UID: "u", IPs: []string{"10.1.0.2"}, Owner: "deployment/web", Containers: []string{"app"}}},
		Filter:  "tcp port 80", SnapLen: 96, HeadersOnly: true, Format: "pcapng", Limits: Limits{Seconds: 60, FileCount: 2, FileBytes: 1 << 20}, ClockCorrectionNS: -5}
}

// staged writes files into a new directory, with the Record of those that are
// packet files.
func staged(t testing.TB, files map[string]string) string {
	t.Helper()
	dir, node := t.TempDir(), NodePart{CollectorVersion: "v1", Reason: "stop", Start: at, End: at.Add(time.Minute)}
	for _, name := range []string{base + "-000001.pcapng", base + "-000002.pcapng", base + ".pcap"} {
		if content, ok := files[name]; ok {
			sum := sha256.Sum256([]byte(content))
			node.Files = append(node.Files, FileRecord{Name: name, Bytes: int64(len(content)), SHA256: hex.EncodeToString(sum[:])})
		}
	}
	command, err := json.Marshal(commandPart())
	if err != nil {
		t.Fatal(err)
	}
	record, err := Complete(command, node)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, content string) {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600), os.Chtimes(path, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	write(RecordFile, string(record))
	for name, content := range files {
		write(name, content)
	}
	return dir
}

func write(t testing.TB, dir string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, dir, base); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// read returns the names of the entries, and their content.
func read(b []byte) (names []string, contents map[string]string, err error) {
	r, err := NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, nil, err
	}
	contents = make(map[string]string)
	for {
		entry, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names, contents, nil
		}
		if err != nil {
			return names, contents, err
		}
		content, err := io.ReadAll(entry)
		if err != nil {
			return names, contents, err
		}
		names, contents[entry.Name] = append(names, entry.Name), string(content)
		if (entry.Packets != nil) != isPacketFile(entry.Name) || entry.Size != int64(len(content)) {
			return names, contents, fmt.Errorf("entry is %+v", entry)
		}
	}
}

func testFiles() map[string]string {
	return map[string]string{
		base + "-000002.pcapng": "second", base + "-000001.pcapng": strings.Repeat("first", 100_000),
		"metadata/before/node/ip-route.txt": "default via", "a.txt": "first by name", "cluster/before/pods.yaml": "",
		"metadata/after/pod-shop-web-1/" + strings.Repeat("long", 40) + ".txt": "x",
	}
}

func TestWriteAndRead(t *testing.T) {
	dir, files := staged(t, testFiles()), testFiles()
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	b := write(t, dir)
	names, contents, err := read(b)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{base + "-000001.pcapng", base + "-000002.pcapng", "a.txt", "cluster/before/pods.yaml",
		"metadata/after/pod-shop-web-1/" + strings.Repeat("long", 40) + ".txt", "metadata/before/node/ip-route.txt"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(files, contents); diff != "" {
		t.Error(diff)
	}
	r, err := NewReader(bytes.NewReader(b))
	if err != nil || r.Base() != base {
		t.Fatalf("base is %q, %v", r.Base(), err)
	}
	if diff := cmp.Diff(commandPart(), r.Record().CommandPart); diff != "" {
		t.Error(diff)
	}
	if n := r.Record().NodePart; n.Reason != "stop" || !n.Start.Equal(at) || len(n.Files) != 2 {
		t.Errorf("node's part is %+v", n)
	}
}

func TestSameFilesMakeSameBytes(t *testing.T) {
	dir, other := staged(t, testFiles()), staged(t, testFiles())
	if err := os.Chmod(filepath.Join(other, "a.txt"), 0o755); err != nil {
		t.Fatal(err)
	}
	b := write(t, dir)
	if !bytes.Equal(b, write(t, dir)) || !bytes.Equal(b, write(t, other)) {
		t.Error("archives differ")
	}
	for i, header := range headersOf(t, b) {
		if header.Uid != 0 || header.Gid != 0 || header.Uname != "" || header.Mode != 0o644 || !header.ModTime.Equal(at.Truncate(time.Second)) {
			t.Errorf("header %d is %+v", i, header)
		}
	}
}

func headersOf(t *testing.T, b []byte) (all []*tar.Header) {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		header, err := r.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, header)
	}
}

func TestWriteRefuses(t *testing.T) {
	if err := Write(io.Discard, t.TempDir(), base); err == nil || !strings.Contains(err.Error(), "capture.json is missing") {
		t.Errorf("without a record: %v", err)
	}
	if err := Write(io.Discard, filepath.Join(t.TempDir(), "missing"), base); err == nil {
		t.Error("without a directory")
	}
	full := errors.New("disk full")
	if err := Write(failing{full}, staged(t, testFiles()), base); !errors.Is(err, full) {
		t.Errorf("error is %v", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestCutAnywhereIsNoticed(t *testing.T) {
	files := testFiles()
	files[base+"-000001.pcapng"] = strings.Repeat("first", 100)
	whole := write(t, staged(t, files))
	for n := range whole {
		if _, _, err := read(whole[:n]); err == nil {
			t.Fatalf("cut to %d of %d bytes", n, len(whole))
		}
	}
}

func TestDamageAnywhereIsNoticed(t *testing.T) {
	files := testFiles()
	files[base+"-000001.pcapng"] = strings.Repeat("first", 100)
	whole := write(t, staged(t, files))
	for n := 10; n < len(whole); n++ { // behind gzip's header
		damaged := bytes.Clone(whole)
		damaged[n] ^= 0x41
		if _, _, err := read(damaged); err == nil {
			t.Errorf("byte %d of %d changed, and nobody noticed", n, len(whole))
		}
	}
}

// pack makes an archive of headers that Write would not make.
func pack(t testing.TB, record string, more ...*tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, h := range append([]*tar.Header{{Typeflag: tar.TypeReg, Name: base + "/" + RecordFile, Size: int64(len(record))}}, more...) {
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		content := []byte(record)
		if h.Name != base+"/"+RecordFile {
			content = make([]byte, min(h.Size, maxRecordBytes))
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write(content); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = w.Close() // fails for the last file if that is larger
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestReadRefuses(t *testing.T) {
	record, err := os.ReadFile(filepath.Join(staged(t, nil), RecordFile))
	if err != nil {
		t.Fatal(err)
	}
	withFile, err := os.ReadFile(filepath.Join(staged(t, map[string]string{base + ".pcap": "xx"}), RecordFile))
	if err != nil {
		t.Fatal(err)
	}
	good, regular := string(record), func(name string, size int64) *tar.Header {
		return &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size}
	}
	if _, _, err := read(pack(t, good, regular(base+"/a", 1))); err != nil {
		t.Fatalf("a good archive: %v", err)
	}
	for want, b := range map[string][]byte{
		"damaged":          []byte("this is no archive at all"),
		"cut off":          {},
		"checksum":         pack(t, string(withFile), regular(base+"/"+base+".pcap", 2)),
		"3 bytes in the":   pack(t, string(withFile), regular(base+"/"+base+".pcap", 3)),
		"lacks":            pack(t, string(withFile)),
		"unknown format":   pack(t, strings.Replace(good, `"pcapng"`, `"erf"`, 1)),
		"v2":               pack(t, strings.Replace(good, "retina.sh/v1alpha1", "retina.sh/v2", 1)),
		"no capture or":    pack(t, strings.Replace(good, `"name": "web"`, `"name": ""`, 1)),
		"invalid char":     pack(t, "no JSON"),
		"over the limit":   pack(t, strings.Repeat(" ", maxRecordBytes+1)),
		"/../x\"":          pack(t, good, regular(base+"/../x", 1)),
		"\"/etc/passwd\"":  pack(t, good, regular("/etc/passwd", 1)),
		"\"other/x\"":      pack(t, good, regular("other/x", 1)),
		`b\\c`:             pack(t, good, regular(base+`/b\c`, 1)),
		"no regular file":  pack(t, good, &tar.Header{Typeflag: tar.TypeSymlink, Name: base + "/l", Linkname: "/etc/passwd"}),
		"d/\", which is":   pack(t, good, &tar.Header{Typeflag: tar.TypeDir, Name: base + "/d/"}),
		"twice":            pack(t, good, regular(base+"/a", 1), regular(base+"/a", 1)),
		"json\" twice":     pack(t, good, regular(base+"/a", 1), &tar.Header{Typeflag: tar.TypeReg, Name: base + "/" + RecordFile, Size: int64(len(good))}),
		"beside its packe": pack(t, good, regular(base+"/a", 1), regular(base+"/b", maxOtherBytes)),
	} {
		if _, _, err := read(b); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error with %q, got %v", want, err)
		}
	}
}

// A few bytes that would be a thousand times as many are not read to their end.
func TestPaddingIsBounded(t *testing.T) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	plain, _ := gzip.NewReader(bytes.NewReader(write(t, staged(t, nil))))
	if _, err := io.Copy(z, plain); err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(make([]byte, 100<<20)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := read(b.Bytes()); err == nil || !strings.Contains(err.Error(), "behind its end") {
		t.Errorf("error is %v", err)
	}
}

func TestRecordRefuses(t *testing.T) {
	file := `{"name":%q,"bytes":1,"sha256":"` + strings.Repeat("0", 64) + `"}`
	record := func(more string) string {
		return `{"apiVersion":"retina.sh/v1alpha1","kind":"CaptureRecord","name":"a","node":"b","format":"pcap"` + more + `}`
	}
	if _, err := ParseRecord([]byte(record(`,"files":[` + fmt.Sprintf(file, "a.pcap") + `],"unknown":1`))); err != nil {
		t.Fatalf("a good record: %v", err)
	}
	for _, more := range []string{
		`,"files":[` + fmt.Sprintf(file, "../a.pcap") + `]`, `,"files":[` + fmt.Sprintf(file, "d/a.pcap") + `]`,
		`,"files":[` + fmt.Sprintf(file, "a.txt") + `]`, `,"files":[` + fmt.Sprintf(file, "a.pcap") + `,` + fmt.Sprintf(file, "a.pcap") + `]`,
		`,"files":[{"name":"a.pcap","bytes":-1}]`, `,"interfaces":[{"id":1}]`, `,"packets":-1`,
		`,"files":[` + strings.Repeat(`{},`, 1001) + `{}]`,
	} {
		if _, err := ParseRecord([]byte(record(more))); err == nil {
			t.Errorf("accepted %.100s", more)
		}
	}
}

func TestInterfaceTitle(t *testing.T) {
	r := Record{CommandPart: commandPart()}
	for want, i := range map[string]InterfaceRecord{"shop/web-1/eth0": {Target: 1, Name: "eth0"}, "n1/eth0": {Target: 2, Name: "eth0"}} {
		if got := r.InterfaceTitle(i); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if got := (Target{Kind: "Node", Name: "n1"}).Title(); got != "n1" {
		t.Error(got)
	}
}

func FuzzRead(f *testing.F) {
	files := testFiles()
	files[base+"-000001.pcapng"] = "first"
	f.Add(write(f, staged(f, files)))
	f.Add([]byte{0x1f, 0x8b})
	f.Fuzz(func(t *testing.T, b []byte) { _, _, _ = read(b) })
}

func FuzzParseRecord(f *testing.F) {
	record, err := os.ReadFile(filepath.Join(staged(f, testFiles()), RecordFile))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(record)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseRecord(b)
		if err != nil {
			return
		}
		command, err := json.Marshal(r.CommandPart)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Complete(command, r.NodePart)
		if err != nil {
			return // a year that JSON does not have
		}
		if _, err := ParseRecord(again); err != nil {
			t.Errorf("completed again: %v", err)
		}
	})
}

// packetsLike is what a capture of HTTP and TLS looks like: headers that resemble
// each other, and payloads that are random in two packets of three.
func packetsLike(n int) []byte {
	random := rand.New(rand.NewPCG(1, 2))
	const page = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{\"items\":["
	var b []byte
	for i := 0; len(b) < n; i++ {
		size := []int{66, 66, 1514, 300, 1514, 66, 590}[random.IntN(7)]
		b = binary.LittleEndian.AppendUint32(b, 6)
		b = binary.LittleEndian.AppendUint32(b, uint32(size+44))
		b = binary.LittleEndian.AppendUint32(b, random.Uint32N(3))
		b = binary.LittleEndian.AppendUint64(b, uint64(i)*uint64(700+random.IntN(900)))
		b = binary.LittleEndian.AppendUint32(b, uint32(size))
		b = binary.LittleEndian.AppendUint32(b, uint32(size))
		b = append(b, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 5, 0xdc, byte(i>>8), byte(i), 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, byte(random.IntN(20)))
		b = binary.BigEndian.AppendUint32(b, random.Uint32())
		b = binary.BigEndian.AppendUint32(b, uint32(i)*1448)
		b = append(b, make([]byte, 24)...)
		if payload := size - 66; payload > 0 {
			if random.IntN(3) > 0 {
				for range payload {
					b = append(b, byte(random.Uint32()))
				}
			} else {
				text := page
				for len(text) < payload {
					text += fmt.Sprintf("{\"id\":%d,\"name\":\"item %d\"},", random.IntN(100000), i)
				}
				b = append(b, text[:payload]...)
			}
		}
	}
	return b
}

// BenchmarkWrite compares the levels of compression. MB/s are of packets;
// percent is what is left of them.
func BenchmarkWrite(b *testing.B) {
	data := packetsLike(64 << 20)
	for _, level := range []int{kgzip.HuffmanOnly, 1, 2, 3, 5} {
		b.Run(fmt.Sprintf("level=%d", level), func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			var n counter
			for b.Loop() {
				n = 0
				w, err := kgzip.NewWriterLevel(&n, level)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.CopyBuffer(w, struct{ io.Reader }{bytes.NewReader(data)}, make([]byte, copyBytes)); err != nil {
					b.Fatal(err)
				}
				if err := w.Close(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(100*float64(n)/float64(len(data)), "percent")
		})
	}
	b.Run("archive", func(b *testing.B) {
		dir := staged(b, map[string]string{base + ".pcap": string(data)})
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			if err := Write(io.Discard, dir, base); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("read", func(b *testing.B) {
		whole := write(b, staged(b, map[string]string{base + ".pcap": string(data)}))
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			r, err := NewReader(bytes.NewReader(whole))
			if err != nil {
				b.Fatal(err)
			}
			entry, err := r.Next()
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, entry); err != nil {
				b.Fatal(err)
			}
		}
	})
}

type counter int64

func (c *counter) Write(b []byte) (int, error) { *c += counter(len(b)); return len(b), nil }
