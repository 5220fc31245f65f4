package store

import (
	"bytes"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// archiveNamed is the name of an archive for tests.
func archiveNamed(name string) string { return name + "-n1-20261122T201500Z.tar.gz" }

// generated is a Content of so many bytes that do not compress, the same ones
// for the same seed.
func generated(bytes int64, seed uint64) Content {
	return func(w io.Writer) error {
		source := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
		_, err := io.CopyN(w, source, bytes)
		return err
	}
}

// text is a Content.
func text(s string) Content {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, s)
		return err
	}
}

// whole returns the bytes of content.
func whole(t testing.TB, content Content) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := content(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func sumOfBytes(b []byte) string {
	s := newSums()
	_, _ = s.Write(b)
	return s.sha256()
}

func TestIsArchive(t *testing.T) {
	for name, want := range map[string]bool{
		"shop-n1-20261122T201500Z.tar.gz":                        true,
		"a.b_c-2-aks-pool-1.example.com-20261122T201500Z.tar.gz": true,
		"shop-20261122T201500Z.tar.gz":                           false, // no node
		"shop-n1-20261122201500UTC.tar.gz":                       false, // of another tool
		"shop-n1-20261122T201500Z.tar":                           false,
		"shop-n1-20261122T201500Z.tar.gz.partial":                false,
		".shop-n1-20261122T201500Z.tar.gz":                       false,
		"../shop-n1-20261122T201500Z.tar.gz":                     false,
		"x/shop-n1-20261122T201500Z.tar.gz":                      false,
		"shop-n1-20261122T201500Z.tar.gz\n":                      false,
		"shop-n1 -20261122T201500Z.tar.gz":                       false,
		strings.Repeat("x", 200) + "-n1-20261122T201500Z.tar.gz": false,
		strings.Repeat("x", 180) + "-n-20261122T201500Z.tar.gz":  true,
		"": false,
	} {
		if got := IsArchive(name); got != want {
			t.Errorf("%q: %v, want %v", name, got, want)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	s3 := func(change func(*wire.S3Destination)) wire.Destination {
		d := &wire.S3Destination{Endpoint: "http://127.0.0.1:1", Bucket: "b", AccessKeyID: "KEYID", SecretAccessKey: "TOPSECRET"}
		change(d)
		return wire.Destination{S3: d}
	}
	tests := map[string]struct {
		d    wire.Destination
		want string
	}{
		"nothing":  {wire.Destination{}, "not exactly one"},
		"two":      {wire.Destination{Blob: &wire.BlobDestination{}, Dir: &wire.DirDestination{}}, "not exactly one"},
		"blob":     {wire.Destination{Blob: &wire.BlobDestination{URL: "https://a.blob.core.windows.net/captures"}}, "no signature"},
		"bucket":   {s3(func(d *wire.S3Destination) { d.Bucket = "a/b" }), "not the name of an S3 bucket"},
		"keys":     {s3(func(d *wire.S3Destination) { d.AccessKeyID = "" }), "access key is missing"},
		"region":   {s3(func(d *wire.S3Destination) { d.Endpoint = "" }), "no region"},
		"scheme":   {s3(func(d *wire.S3Destination) { d.Endpoint = "s3://x" }), "not a URL of https or http"},
		"host":     {s3(func(d *wire.S3Destination) { d.Endpoint = "http:///x" }), "not a URL of https or http"},
		"user":     {s3(func(d *wire.S3Destination) { d.Endpoint = "http://KEYID:TOPSECRET@h" }), "more than host and path"},
		"dir":      {wire.Destination{Dir: &wire.DirDestination{Mount: "/x", Path: "a/../../b"}}, "leaves the directory"},
		"absolute": {wire.Destination{Dir: &wire.DirDestination{Mount: "/x", Path: "/etc"}}, "leaves the directory"},
	}
	for name, test := range tests {
		_, err := Open(test.d, Options{})
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "TOPSECRET") {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

func TestWhereAndName(t *testing.T) {
	const archive = "shop-n1-20261122T201500Z.tar.gz"
	blob := func(url string) wire.Destination {
		return wire.Destination{Blob: &wire.BlobDestination{URL: wire.Secret(url + "?sr=c&sig=" + testSignature)}}
	}
	s3 := func(endpoint, path string) wire.Destination {
		return wire.Destination{S3: &wire.S3Destination{Endpoint: endpoint, Region: "eu-west-1", Bucket: "b", Path: path, AccessKeyID: "KEYID", SecretAccessKey: "S"}}
	}
	tests := []struct {
		d           wire.Destination
		where, name string
	}{
		{blob("https://acct.blob.core.windows.net/captures"), "blob https://acct.blob.core.windows.net/captures", archive},
		{blob("http://127.0.0.1:10000/acct/captures/"), "blob http://127.0.0.1:10000/acct/captures", archive},
		{s3("", ""), "s3 b in eu-west-1", archive},
		{s3("http://h:9000/", "x/y"), "s3 b/x/y at http://h:9000", "x/y/" + archive},
		{wire.Destination{Dir: &wire.DirDestination{Mount: "/m", Name: "pvc captures"}}, "pvc captures", archive},
		{wire.Destination{Dir: &wire.DirDestination{Mount: "/m", Path: "x/y", Name: "pvc captures"}}, "pvc captures", "x/y/" + archive},
	}
	for _, test := range tests {
		s, err := Open(test.d, Options{})
		if err != nil {
			t.Error(err)
			continue
		}
		if s.Where() != test.where || s.Name(archive) != test.name {
			t.Errorf("where %q name %q, want %q %q", s.Where(), s.Name(archive), test.where, test.name)
		}
	}
}

// A name of somebody else's file reaches no service and no disk.
func TestOnlyOurNames(t *testing.T) {
	dir := t.TempDir()
	stores := []wire.Destination{
		{Blob: &wire.BlobDestination{URL: wire.Secret("http://127.0.0.1:1/acct/captures?sr=c&sig=" + testSignature)}},
		{S3: &wire.S3Destination{Endpoint: "http://127.0.0.1:1", Bucket: "b", Path: "p", AccessKeyID: "KEYID", SecretAccessKey: "S"}},
		{Dir: &wire.DirDestination{Mount: dir, Path: "p"}},
	}
	for _, d := range stores {
		s, err := Open(d, Options{Tries: 1})
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"", "x.txt", "../" + archiveNamed("a"), "q/" + archiveNamed("a"), "p/q/" + archiveNamed("a")} {
			_, put := s.Put(t.Context(), name, text("x"), nil)
			_, stat := s.Stat(t.Context(), name)
			_, open := s.Open(t.Context(), name, 0)
			for i, err := range []error{put, stat, open, s.Delete(t.Context(), name)} {
				if err == nil || !strings.Contains(err.Error(), "is not the name of an archive") {
					t.Errorf("%s %d %q: %v", s.Where(), i, name, err)
				}
			}
		}
	}
}

func TestPartSizes(t *testing.T) {
	var sum int64
	for i := range 50_000 {
		sum += int64(blobBlockSize(i))
	}
	if sum>>40 < 1 || blobBlockSize(0) != 4<<20 || blobBlockSize(9999) != 4<<20 || blobBlockSize(10000) != 8<<20 {
		t.Errorf("50,000 blocks have %d bytes", sum)
	}
	for bytes, want := range map[int64]int{0: 8 << 20, 1 << 30: 8 << 20, 83886080000: 8 << 20, 83886080001: 9 << 20, 1 << 42: 420 << 20} {
		got := s3PartSize(bytes)
		if got != want || int64(got)*s3MaxParts < bytes {
			t.Errorf("parts of %d bytes: %d, want %d", bytes, got, want)
		}
	}
}

// The pauses of all tries together are about two minutes, and none is long.
func TestPatience(t *testing.T) {
	o := Options{}.withDefaults()
	var sum time.Duration
	for try := 1; try < o.Tries; try++ {
		delay := o.delay(try, nil)
		if delay <= 0 || delay > o.MaxRetryDelay {
			t.Errorf("pause %d is %s", try, delay)
		}
		sum += delay
	}
	if sum < time.Minute || sum > 3*time.Minute {
		t.Errorf("pauses sum up to %s", sum)
	}
}
