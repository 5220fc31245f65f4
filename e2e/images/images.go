// Package images makes small container images from files of this machine and
// writes them as archives that container runtimes import. No registry and no
// container engine takes part.
package images

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Image describes an image of one layer for this machine's architecture.
type Image struct {
	Reference  string            // with a tag: "localhost/busybox:1"
	Files      map[string]string // path in the image without leading slash -> file of this machine; all are executable
	Links      map[string]string // path in the image without leading slash -> target of the symbolic link
	Entrypoint []string
}

// Write writes the images as one archive, as `docker save` would, to path. The
// same input gives the same bytes. After an error path is of no use.
func Write(path string, images ...Image) error {
	built := make(map[name.Reference]v1.Image, len(images))
	for _, image := range images {
		reference, err := name.ParseReference(image.Reference)
		if err != nil {
			return fmt.Errorf("image %s: %w", image.Reference, err)
		}
		if built[reference], err = image.build(); err != nil {
			return fmt.Errorf("image %s: %w", image.Reference, err)
		}
	}
	if err := tarball.MultiRefWriteToFile(path, built); err != nil {
		return fmt.Errorf("image archive: %w", err)
	}
	return nil
}

func (i Image) build() (v1.Image, error) {
	content, err := i.layer()
	if err != nil {
		return nil, err
	}
	// The archive never leaves this machine: compressing it would only cost time.
	layer := static.NewLayer(content, types.DockerUncompressedLayer)
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, err
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", runtime.GOARCH
	file.Config.Entrypoint = i.Entrypoint
	file.Config.Env = []string{"PATH=/bin:/usr/bin:/sbin:/usr/sbin"}
	return mutate.ConfigFile(image, file)
}

// layer returns the tar archive of the image's file system.
func (i Image) layer() ([]byte, error) {
	var content bytes.Buffer
	w := tar.NewWriter(&content)
	var paths []string
	for path := range i.Files {
		paths = append(paths, path)
	}
	for path := range i.Links {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	for _, dir := range directories(paths) {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755}); err != nil {
			return nil, err
		}
	}
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777}); err != nil {
		return nil, err
	}
	for _, path := range paths {
		if err := i.add(w, path); err != nil {
			return nil, fmt.Errorf("/%s: %w", path, err)
		}
	}
	return content.Bytes(), w.Close()
}

// directories returns what must exist before paths, parents first.
func directories(paths []string) []string {
	var dirs []string
	for _, path := range paths {
		for dir := filepath.Dir(path); dir != "."; dir = filepath.Dir(dir) {
			dirs = append(dirs, dir)
		}
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

func (i Image) add(w *tar.Writer, path string) (err error) {
	if target, ok := i.Links[path]; ok {
		return w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: path, Linkname: target, Mode: 0o777})
	}
	source, err := os.Open(i.Files[path])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	info, err := source.Stat()
	if err != nil {
		return err
	}
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: path, Mode: 0o755, Size: info.Size()}); err != nil {
		return err
	}
	_, err = io.Copy(w, source)
	return err
}

// Busybox describes an image of the statically linked busybox at path with a
// link for each of its applets, which are given one a line.
func Busybox(reference, path, applets string) Image {
	image := Image{
		Reference:  reference,
		Files:      map[string]string{"bin/busybox": path},
		Links:      map[string]string{},
		Entrypoint: []string{"/bin/sh"},
	}
	for _, applet := range strings.Fields(applets) {
		if applet != "busybox" {
			image.Links["bin/"+applet] = "busybox"
		}
	}
	return image
}
