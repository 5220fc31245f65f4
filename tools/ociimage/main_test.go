package main

import (
	"archive/tar"
	"bytes"
	"crypto/rand"
	"debug/elf"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/kubectl-retina/kubectl-retina/internal/version"
)

const reference = "registry.example:5000/team/collector:v1.2.3"

// writeELF writes a file that has the ELF header of a program for machine, the
// given program headers, and content after them.
func writeELF(t *testing.T, machine elf.Machine, segments []elf.ProgType, content []byte) string {
	t.Helper()
	header := elf.Header64{
		Type: uint16(elf.ET_EXEC), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT),
		Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: uint16(len(segments)), Shentsize: 64,
	}
	copy(header.Ident[:], elf.ELFMAG)
	header.Ident[elf.EI_CLASS], header.Ident[elf.EI_DATA], header.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)
	var file bytes.Buffer
	parts := []any{header}
	for _, segment := range segments {
		parts = append(parts, elf.Prog64{Type: uint32(segment), Align: 1})
	}
	for _, part := range append(parts, content) {
		if err := binary.Write(&file, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "collector")
	if err := os.WriteFile(path, file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// unpack writes the files of an archive below a new directory and checks that
// nothing in their headers depends on who wrote them when.
func unpack(t *testing.T, archive string, created time.Time) string {
	t.Helper()
	file, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	dir := t.TempDir()
	for r := tar.NewReader(file); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Uid != 0 || header.Gid != 0 || header.Uname != "" || !header.ModTime.Equal(created) {
			t.Errorf("%s: owner %d:%d %q, time %s", header.Name, header.Uid, header.Gid, header.Uname, header.ModTime)
		}
		path := filepath.Join(dir, filepath.FromSlash(header.Name))
		if header.Typeflag == tar.TypeDir {
			err = os.Mkdir(path, 0o700)
		} else {
			var content []byte
			if content, err = io.ReadAll(r); err == nil {
				err = os.WriteFile(path, content, 0o600)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestArchive(t *testing.T) {
	contents := map[string]string{
		"amd64": writeELF(t, elf.EM_X86_64, []elf.ProgType{elf.PT_LOAD}, []byte("for amd64")),
		"arm64": writeELF(t, elf.EM_AARCH64, []elf.ProgType{elf.PT_LOAD}, []byte("for arm64")),
	}
	created := time.Unix(1_700_000_000, 0)
	output := filepath.Join(t.TempDir(), "new", "directory", "image.tar")
	var stdout bytes.Buffer
	args := []string{"--binary", "amd64=" + contents["amd64"], "--binary", "arm64=" + contents["arm64"], "--reference", reference, "--output", output}
	if err := run(args, "1700000000", &stdout, io.Discard); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(stdout.String(), reference) {
		t.Errorf("output does not name the image:\n%s", &stdout)
	}
	index, err := layout.ImageIndexFromPath(unpack(t, output, created))
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index); err != nil {
		t.Error(err)
	}
	platforms := namedIndex(t, index)
	manifest, err := platforms.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, descriptor := range manifest.Manifests {
		found = append(found, descriptor.Platform.String())
		img, err := platforms.Image(descriptor.Digest)
		if err != nil {
			t.Fatal(err)
		}
		checkImage(t, img, descriptor.Platform.Architecture, contents[descriptor.Platform.Architecture], created)
	}
	if want := []string{"linux/amd64", "linux/arm64"}; !slices.Equal(found, want) {
		t.Errorf("platforms are %q, want %q", found, want)
	}
}

// namedIndex returns the one index that the layout lists, after checking what
// containerd and skopeo would call it.
func namedIndex(t *testing.T, index v1.ImageIndex) v1.ImageIndex {
	t.Helper()
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Manifests) != 1 {
		t.Fatalf("index.json lists %d manifests, want 1", len(manifest.Manifests))
	}
	descriptor := manifest.Manifests[0]
	if descriptor.MediaType != types.OCIImageIndex {
		t.Errorf("index.json lists a %s", descriptor.MediaType)
	}
	for annotation, want := range map[string]string{
		"io.containerd.image.name":          reference,
		"org.opencontainers.image.ref.name": "v1.2.3",
	} {
		if got := descriptor.Annotations[annotation]; got != want {
			t.Errorf("annotation %s is %q, want %q", annotation, got, want)
		}
	}
	platforms, err := index.ImageIndex(descriptor.Digest)
	if err != nil {
		t.Fatal(err)
	}
	return platforms
}

// TestCommand writes the image of the other program: no root, its own name.
func TestCommand(t *testing.T) {
	binary := writeELF(t, elf.EM_X86_64, []elf.ProgType{elf.PT_LOAD}, []byte("the command"))
	output := filepath.Join(t.TempDir(), "image.tar")
	var stdout bytes.Buffer
	if err := run([]string{"--program", "kubectl-retina", "--binary", "amd64=" + binary, "--output", output}, "", &stdout, io.Discard); err != nil {
		t.Fatal(err)
	}
	if want := version.CommandImage(); !strings.Contains(stdout.String(), want) {
		t.Errorf("output does not name %s:\n%s", want, &stdout)
	}
	index, err := layout.ImageIndexFromPath(unpack(t, output, time.Unix(0, 0)))
	if err != nil {
		t.Fatal(err)
	}
	list, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	platforms, err := index.ImageIndex(list.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	if list, err = platforms.IndexManifest(); err != nil {
		t.Fatal(err)
	}
	img, err := platforms.Image(list.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.Config.User != "65532:65532" || !slices.Equal(config.Config.Entrypoint, []string{"/kubectl-retina"}) {
		t.Errorf("user %q, entrypoint %q", config.Config.User, config.Config.Entrypoint)
	}
}

func checkImage(t *testing.T, img v1.Image, arch, path string, created time.Time) {
	t.Helper()
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.OS != "linux" || config.Architecture != arch || !config.Created.Equal(created) {
		t.Errorf("%s: configuration is for %s/%s of %s", arch, config.OS, config.Architecture, config.Created)
	}
	if want := []string{"/retina-collector"}; !slices.Equal(config.Config.Entrypoint, want) || config.Config.Cmd != nil || config.Config.User != "" {
		t.Errorf("%s: entrypoint %q, command %q, user %q", arch, config.Config.Entrypoint, config.Config.Cmd, config.Config.User)
	}
	for _, label := range []string{"title", "source", "version", "revision", "licenses"} {
		if config.Config.Labels["org.opencontainers.image."+label] == "" {
			t.Errorf("%s: no label org.opencontainers.image.%s", arch, label)
		}
	}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	if len(layers) != 1 {
		t.Fatalf("%s: %d layers, want 1", arch, len(layers))
	}
	if mediaType, err := layers[0].MediaType(); err != nil || mediaType != types.OCILayer {
		t.Errorf("%s: layer is a %s (%v)", arch, mediaType, err)
	}
	files, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	r := tar.NewReader(files)
	header, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	if header.Name != "retina-collector" || header.Typeflag != tar.TypeReg || header.Mode != 0o755 || header.Uid != 0 || header.Gid != 0 || !header.ModTime.Equal(created) {
		t.Errorf("%s: file is %+v", arch, header)
	}
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: the program is not the one that was given", arch)
	}
	if header, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("%s: after the program comes %+v (%v)", arch, header, err)
	}
}

func TestReproducible(t *testing.T) {
	program := writeELF(t, elf.EM_X86_64, nil, []byte("same"))
	var archives [2][]byte
	for i := range archives {
		output := filepath.Join(t.TempDir(), "image.tar")
		if err := run([]string{"--binary", "amd64=" + program, "--output", output}, "", io.Discard, io.Discard); err != nil {
			t.Fatal(err)
		}
		var err error
		if archives[i], err = os.ReadFile(output); err != nil {
			t.Fatal(err)
		}
		// The second time the program is younger and has another mode.
		if err := errors.Join(os.Chtimes(program, time.Time{}, time.Unix(1, 0)), os.Chmod(program, 0o700)); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("the same program gave two different archives")
	}
}

func TestRefused(t *testing.T) {
	random := make([]byte, maxSize)
	if _, err := rand.Read(random); err != nil {
		t.Fatal(err)
	}
	text := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(text, []byte("#!/bin/sh\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := "amd64=" + writeELF(t, elf.EM_X86_64, nil, nil)
	tests := []struct {
		name  string
		args  []string
		epoch string
		want  string // part of the error
	}{
		{"nothing", nil, "", "--binary and --output"},
		{"an argument", []string{"--binary", good, "more"}, "", "nothing but flags"},
		{"no file", []string{"--binary", "amd64"}, "", "ARCH=FILE"},
		{"twice", []string{"--binary", good, "--binary", good}, "", "second one for amd64"},
		{"missing file", []string{"--binary", "amd64=/does/not/exist"}, "", "/does/not/exist"},
		{"unknown architecture", []string{"--binary", "mips=" + text}, "", `"mips"`},
		{"not a program", []string{"--binary", "amd64=" + text}, "", "not a program"},
		{"wrong architecture", []string{"--binary", "arm64=" + writeELF(t, elf.EM_X86_64, nil, nil)}, "", "EM_X86_64"},
		{"dynamically linked", []string{"--binary", "amd64=" + writeELF(t, elf.EM_X86_64, []elf.ProgType{elf.PT_INTERP}, nil)}, "", "dynamically linked"},
		{"too large", []string{"--binary", "amd64=" + writeELF(t, elf.EM_X86_64, nil, random)}, "", fmt.Sprint(maxSize)},
		{"unknown program", []string{"--binary", good, "--program", "sh"}, "", "neither retina-collector nor kubectl-retina"},
		{"no registry", []string{"--binary", good, "--reference", "collector:v1"}, "", `"collector:v1"`},
		{"no tag", []string{"--binary", good, "--reference", "ghcr.io/a/b"}, "", `"ghcr.io/a/b"`},
		{"no time", []string{"--binary", good}, "yesterday", "SOURCE_DATE_EPOCH"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			output := filepath.Join(t.TempDir(), "image.tar")
			if err := os.WriteFile(output, []byte("of before"), 0o600); err != nil {
				t.Fatal(err)
			}
			args := test.args
			if args != nil {
				args = append([]string{"--output", output}, args...)
			}
			err := run(args, test.epoch, io.Discard, io.Discard)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want one with %q", err, test.want)
			}
			if content, err := os.ReadFile(output); err != nil || string(content) != "of before" {
				t.Errorf("the archive of before is gone: %q, %v", content, err)
			}
			if left, err := filepath.Glob(filepath.Join(filepath.Dir(output), ".ociimage-*")); err != nil || left != nil {
				t.Errorf("left behind: %q, %v", left, err)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	var stderr bytes.Buffer
	err := run([]string{"--help"}, "", io.Discard, &stderr)
	if !errors.Is(err, flag.ErrHelp) || !strings.Contains(stderr.String(), "-binary") {
		t.Errorf("error is %v, and the text:\n%s", err, &stderr)
	}
}
