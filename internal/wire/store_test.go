package wire_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

func TestStoreSpecValidate(t *testing.T) {
	good := func() *wire.Spec {
		return &wire.Spec{Version: wire.Version, RunID: "a1", MaxSeconds: 10,
			Packets: &wire.PacketsSpec{SnapLen: 96, RingBytes: 1 << 20, Targets: []wire.Target{{ID: 1, Name: "node n", Node: true}}},
			Store: &wire.StoreSpec{Archive: "web-n1-20261122T160000Z", Format: "pcapng", StagingBytes: 1, Destinations: []wire.Destination{
				{Blob: &wire.BlobDestination{}}, {Dir: &wire.DirDestination{Mount: wire.HostMount, Path: "a/b"}},
			}},
		}
	}
	if err := good().Validate(); err != nil {
		t.Fatalf("a good spec: %v", err)
	}
	for want, spoil := range map[string]func(*wire.Spec){
		"archive name \"\"":    func(s *wire.Spec) { s.Store.Archive = "" },
		"archive name \"../x":  func(s *wire.Spec) { s.Store.Archive = "../x" },
		"unknown format":       func(s *wire.Spec) { s.Store.Format = "erf" },
		"is negative":          func(s *wire.Spec) { s.Store.KeepSeconds = -1 },
		"staging of 0":         func(s *wire.Spec) { s.Store.StagingBytes = 0 },
		"1001 files":           func(s *wire.Spec) { s.Store.FileCount, s.Store.MaxFileBytes = 1001, 1 },
		"size of each":         func(s *wire.Spec) { s.Store.FileCount = 2 },
		"9 destinations":       func(s *wire.Spec) { s.Store.Destinations = make([]wire.Destination, 9) },
		"has 0 places":         func(s *wire.Spec) { s.Store.Destinations[0].Blob = nil },
		"has 2 places":         func(s *wire.Spec) { s.Store.Destinations[0].S3 = &wire.S3Destination{} },
		"mounted at \"/\"":     func(s *wire.Spec) { s.Store.Destinations[1].Dir.Mount = "/" },
		"leaves its directory": func(s *wire.Spec) { s.Store.Destinations[1].Dir.Path = "a/../../b" },
		"\"/a\" leaves":        func(s *wire.Spec) { s.Store.Destinations[1].Dir.Path = "/a" },
		"keeping -1":           func(s *wire.Spec) { s.Store.Destinations[1].Dir.Keep = -1 },
		"files and for":        func(s *wire.Spec) { s.Files = &wire.FilesSpec{} },
	} {
		s := good()
		spoil(s)
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error with %q, got %v", want, err)
		}
	}
}

func TestSecretShowsOnlyInJSON(t *testing.T) {
	d := wire.Destination{Blob: &wire.BlobDestination{URL: "https://a/c?sig=topsecret"}, S3: &wire.S3Destination{SecretAccessKey: "topsecret"}}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, value := range []any{d, d.Blob, *d.Blob, d.Blob.URL, d.S3, fmt.Errorf("x: %w", fmt.Errorf("%v", *d.S3))} {
			if text := fmt.Sprintf(format, value); strings.Contains(text, "topsecret") || strings.Contains(text, "746f70") {
				t.Errorf("%s of %T shows the secret: %s", format, value, text)
			}
		}
	}
	text, err := json.Marshal(d)
	if err != nil || strings.Count(string(text), "topsecret") != 2 {
		t.Errorf("in JSON: %s %v", text, err)
	}
	if d.Blob.URL.Reveal() != "https://a/c?sig=topsecret" || d.Blob.URL.String() != "[secret]" {
		t.Error("it is not revealed, or shown")
	}
}

func TestExtra(t *testing.T) {
	name, data, err := wire.ParseExtra(wire.AppendExtra(nil, "cluster/before/pods.yaml", []byte("kind: List\n")))
	if err != nil || name != "cluster/before/pods.yaml" || string(data) != "kind: List\n" {
		t.Errorf("%q %q %v", name, data, err)
	}
	for _, bad := range [][]byte{nil, {1}, {9, 0, 'a'}, wire.AppendExtra(nil, "../x", nil), wire.AppendExtra(nil, "/x", nil), wire.AppendExtra(nil, ".", nil), wire.AppendExtra(nil, "", nil)} {
		if name, _, err := wire.ParseExtra(bad); err == nil {
			t.Errorf("%q was taken for a file: %q", bad, name)
		}
	}
}

func FuzzParseExtra(f *testing.F) {
	f.Add(wire.AppendExtra(nil, "a/b", []byte("c")))
	f.Fuzz(func(t *testing.T, b []byte) {
		name, _, err := wire.ParseExtra(b)
		if err == nil && (strings.HasPrefix(name, "/") || strings.Contains("/"+name+"/", "/../")) {
			t.Errorf("path %q", name)
		}
	})
}
