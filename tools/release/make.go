package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// program is one of the two that are released.
type program struct {
	name  string
	linux bool // only
	// more are the files beside it in its archive, but for the licences.
	more func(platform) []file
}

func programs() []program {
	return []program{
		{name: "kubectl-retina", more: completionFiles},
		{name: "retina-collector", linux: true, more: func(platform) []file { return nil }},
	}
}

// checksum is the SHA-256, in hexadecimal, of a file in the output directory.
type checksum struct{ file, sum string }

// make writes the output directory.
func (c config) make(ctx context.Context, stdout io.Writer) error {
	if err := os.RemoveAll(c.output); err != nil {
		return err
	}
	if err := os.MkdirAll(c.output, 0o755); err != nil {
		return err
	}
	var sums []checksum
	var packages []krewPackage
	for _, p := range programs() {
		for _, on := range c.platforms {
			if p.linux && on.os != "linux" {
				continue
			}
			made, err := c.release(ctx, p, on)
			if err != nil {
				return fmt.Errorf("%s for %s: %w", p.name, on, err)
			}
			sums = append(sums, made...)
			if p.name == krewProgram {
				packages = append(packages, krewPackage{platform: on, archive: made[0]})
			}
		}
	}
	for _, path := range c.images {
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		base := strings.TrimSuffix(filepath.Base(path), ".tar")
		sum, err := c.write(base+"_"+c.build.Version+"_image.tar", content)
		if err != nil {
			return err
		}
		sums = append(sums, sum)
	}
	manifest, err := krewManifest(c.build, packages)
	if err != nil {
		return err
	}
	sum, err := c.write("krew-manifest.yaml", manifest)
	if err != nil {
		return err
	}
	return c.finish(append(sums, sum), stdout)
}

// release writes the archive of a program and, after it, what it is made of.
func (c config) release(ctx context.Context, p program, on platform) ([]checksum, error) {
	suffix := ""
	if on.os == "windows" {
		suffix = ".exe"
	}
	binary, err := readBinary(filepath.Join(c.programs, p.name+"-"+on.os+"-"+on.arch+suffix), on)
	if err != nil {
		return nil, err
	}
	licence, err := os.ReadFile(c.licence)
	if err != nil {
		return nil, err
	}
	others, err := licences(ctx, binary.info)
	if err != nil {
		return nil, err
	}
	files := append([]file{
		{name: p.name + suffix, content: binary.content, executable: true},
		{name: "LICENSE", content: licence},
		{name: "THIRD_PARTY_LICENSES", content: others},
	}, p.more(on)...)
	name := p.name + "_" + c.build.Version + "_" + on.os + "_" + on.arch
	pack, extension := tarGz, ".tar.gz"
	if on.os == "windows" {
		pack, extension = zipped, ".zip"
	}
	content, err := pack(files, c.time)
	if err != nil {
		return nil, err
	}
	archive, err := c.write(name+extension, content)
	if err != nil {
		return nil, err
	}
	list, err := materials(p.name, binary, c.build, c.time)
	if err != nil {
		return nil, err
	}
	sum, err := c.write(name+".cdx.json", list)
	return []checksum{archive, sum}, err
}

// write writes a file of the release.
func (c config) write(name string, content []byte) (checksum, error) {
	sum := sha256.Sum256(content)
	return checksum{name, hex.EncodeToString(sum[:])}, os.WriteFile(filepath.Join(c.output, name), content, 0o644)
}

// finish writes SHA256SUMS, which sha256sum --check reads.
func (c config) finish(sums []checksum, stdout io.Writer) error {
	var text strings.Builder
	for _, sum := range sums {
		fmt.Fprintf(&text, "%s  %s\n", sum.sum, sum.file)
	}
	if _, err := c.write("SHA256SUMS", []byte(text.String())); err != nil {
		return err
	}
	_, err := fmt.Fprintf(stdout, "%s: %s, commit %s, %d files\n", c.output, c.build.Version, c.build.Commit, len(sums)+1)
	return err
}
