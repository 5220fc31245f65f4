package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/kubectl-retina/kubectl-retina/internal/version"
)

// maxSize bounds what a node pulls for a collector, in bytes: pull time is most
// of a cold start.
const maxSize = 12_000_000

// unprivileged is the user of programs that need no rights on a node. It has no
// name, as there is no /etc/passwd; a number lets runAsNonRoot be checked.
const unprivileged = "65532:65532"

// program is what an image holds as its only file.
type program struct {
	name      string // of the file, in the root directory
	reference string // the default name of the image
	user      string // who runs it: UID:GID, or "" for root
	maxSize   int64  // of an image for one platform, in bytes; 0 is any
}

func programs() []program {
	return []program{
		{name: "retina-collector", reference: version.CollectorImage(), maxSize: maxSize},
		{name: "kubectl-retina", reference: version.CommandImage(), user: unprivileged},
	}
}

// executable is a program built for one architecture.
type executable struct {
	arch string // GOARCH
	path string
}

// platformSize is what a node of one architecture pulls.
type platformSize struct {
	arch string
	size int64 // bytes: manifest, configuration and the compressed layer
}

type image struct {
	index     v1.ImageIndex // the image layout's index.json
	platforms []platformSize
}

// newImage returns the image of executables under the name reference.
func newImage(p program, executables []executable, reference string, created time.Time) (image, error) {
	tag, err := name.NewTag(reference, name.StrictValidation)
	if err != nil {
		return image{}, fmt.Errorf("reference %q: %w", reference, err)
	}
	var platforms []platformSize
	var manifests []mutate.IndexAddendum
	for _, exe := range executables {
		img, err := newPlatformImage(p, exe, created)
		if err != nil {
			return image{}, fmt.Errorf("image for linux/%s: %w", exe.arch, err)
		}
		size, err := pullSize(img)
		if err != nil {
			return image{}, fmt.Errorf("image for linux/%s: %w", exe.arch, err)
		}
		if p.maxSize > 0 && size > p.maxSize {
			return image{}, fmt.Errorf("image for linux/%s is %d bytes, more than the %d that a node should have to pull", exe.arch, size, p.maxSize)
		}
		platforms = append(platforms, platformSize{arch: exe.arch, size: size})
		manifests = append(manifests, mutate.IndexAddendum{
			Add:        img,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: exe.arch}},
		})
	}
	// Two levels, as BuildKit writes them: importers name what index.json lists,
	// and one name is to stand for all platforms.
	named := mutate.IndexAddendum{
		Add: mutate.AppendManifests(newIndex(), manifests...),
		Descriptor: v1.Descriptor{Annotations: map[string]string{
			"io.containerd.image.name":          tag.String(),
			"org.opencontainers.image.ref.name": tag.TagStr(),
		}},
	}
	return image{index: mutate.AppendManifests(newIndex(), named), platforms: platforms}, nil
}

func newIndex() v1.ImageIndex { return mutate.IndexMediaType(empty.Index, types.OCIImageIndex) }

// newPlatformImage returns `FROM scratch`, `COPY PROGRAM /`.
func newPlatformImage(p program, exe executable, created time.Time) (v1.Image, error) {
	content, err := readStatic(exe)
	if err != nil {
		return nil, err
	}
	files, err := tarOf(p.name, content, created)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(
		func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(files)), nil },
		tarball.WithCompressedCaching, tarball.WithCompressionLevel(gzip.BestCompression), tarball.WithMediaType(types.OCILayer),
	)
	if err != nil {
		return nil, fmt.Errorf("layer of %s: %w", exe.path, err)
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	configured, err := mutate.ConfigFile(base, config(p, exe.arch, created))
	if err != nil {
		return nil, err
	}
	return mutate.Append(configured, mutate.Addendum{
		Layer:     layer,
		MediaType: types.OCILayer,
		History:   v1.History{Created: v1.Time{Time: created}, CreatedBy: "COPY " + p.name + " /"},
	})
}

func config(p program, arch string, created time.Time) *v1.ConfigFile {
	build := version.Get()
	return &v1.ConfigFile{
		OS:           "linux",
		Architecture: arch,
		Created:      v1.Time{Time: created},
		RootFS:       v1.RootFS{Type: "layers"},
		Config: v1.Config{
			Entrypoint: []string{"/" + p.name},
			User:       p.user,
			// https://github.com/opencontainers/image-spec/blob/main/annotations.md
			Labels: map[string]string{
				"org.opencontainers.image.title":    p.name,
				"org.opencontainers.image.source":   "https://github.com/kubectl-retina/kubectl-retina",
				"org.opencontainers.image.version":  build.Version,
				"org.opencontainers.image.revision": build.Commit,
				"org.opencontainers.image.licenses": "Apache-2.0",
			},
		},
	}
}

// readStatic reads a binary and refuses one that could not run as the only file
// of a root directory, or not on its architecture.
func readStatic(exe executable) ([]byte, error) {
	machine, ok := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[exe.arch]
	if !ok {
		return nil, fmt.Errorf("architecture %q is neither amd64 nor arm64", exe.arch)
	}
	content, err := os.ReadFile(exe.path)
	if err != nil {
		return nil, err
	}
	file, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		return nil, fmt.Errorf("%s is not a program: %w", exe.path, err)
	}
	if file.Machine != machine {
		return nil, fmt.Errorf("%s is for %s, not %s", exe.path, file.Machine, machine)
	}
	for _, segment := range file.Progs {
		if segment.Type == elf.PT_INTERP {
			return nil, fmt.Errorf("%s is dynamically linked (build it with CGO_ENABLED=0)", exe.path)
		}
	}
	return content, nil
}

// tarOf returns the layer: a program with content, executable, owned by root.
func tarOf(name string, content []byte, created time.Time) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	header := &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(content)), ModTime: created}
	if err := w.WriteHeader(header); err != nil {
		return nil, err
	}
	if _, err := w.Write(content); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// pullSize returns the bytes that a registry sends for img.
func pullSize(img v1.Image) (int64, error) {
	manifest, err := img.Manifest()
	if err != nil {
		return 0, err
	}
	size, err := partial.Size(img)
	if err != nil {
		return 0, err
	}
	size += manifest.Config.Size
	for _, layer := range manifest.Layers {
		size += layer.Size
	}
	return size, nil
}
