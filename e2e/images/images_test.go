package images

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// entry is what matters of a file in a layer.
type entry struct {
	Name, Link, Content string
	Mode                int64
}

func testImage(t *testing.T) Image {
	t.Helper()
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, []byte("I run"), 0o600); err != nil {
		t.Fatal(err)
	}
	return Busybox("localhost/busybox:1", program, "sh\nls\nbusybox\n")
}

func TestWrite(t *testing.T) {
	archive := filepath.Join(t.TempDir(), "images.tar")
	if err := Write(archive, testImage(t)); err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag("localhost/busybox:1")
	if err != nil {
		t.Fatal(err)
	}
	image, err := tarball.ImageFromPath(archive, &tag)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.OS != "linux" || config.Architecture == "" {
		t.Errorf("platform: %s/%s", config.OS, config.Architecture)
	}
	if diff := cmp.Diff([]string{"/bin/sh"}, config.Config.Entrypoint); diff != "" {
		t.Errorf("entrypoint:\n%s", diff)
	}
	layers, err := image.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers, %v, want 1", len(layers), err)
	}
	layer, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer layer.Close()
	want := []entry{
		{Name: "bin/", Mode: 0o755},
		{Name: "tmp/", Mode: 0o1777},
		{Name: "bin/busybox", Content: "I run", Mode: 0o755},
		{Name: "bin/ls", Link: "busybox", Mode: 0o777},
		{Name: "bin/sh", Link: "busybox", Mode: 0o777},
	}
	if diff := cmp.Diff(want, entries(t, layer)); diff != "" {
		t.Errorf("layer:\n%s", diff)
	}
}

func entries(t *testing.T, layer io.Reader) []entry {
	t.Helper()
	var found []entry
	for r := tar.NewReader(layer); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, entry{header.Name, header.Linkname, string(content), header.Mode})
	}
}

func TestWriteIsReproducible(t *testing.T) {
	image := testImage(t)
	var archives [2][]byte
	for i := range archives {
		path := filepath.Join(t.TempDir(), "images.tar")
		if err := Write(path, image); err != nil {
			t.Fatal(err)
		}
		var err error
		if archives[i], err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("two archives of the same image differ")
	}
}

func TestWriteRefuses(t *testing.T) {
	tests := []struct {
		name  string
		image Image
		is    error
	}{
		{"bad reference", Image{Reference: "Not A Reference"}, nil},
		{"missing file", Image{Reference: "localhost/x:1", Files: map[string]string{"bin/x": "/does/not/exist"}}, fs.ErrNotExist},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := Write(filepath.Join(t.TempDir(), "images.tar"), test.image)
			if err == nil || test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("Write: %v, want %v", err, test.is)
			}
		})
	}
}
