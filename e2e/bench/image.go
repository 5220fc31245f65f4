//go:build linux

package main

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// imageRows are what a node of each platform pulls: manifest, configuration and
// compressed layers.
func imageRows(path string) ([]row, error) {
	blobs, err := readArchive(path)
	if err != nil {
		return nil, err
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(blobs["index.json"], &index); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var rows []row
	for descriptors := index.Manifests; len(descriptors) > 0; descriptors = descriptors[1:] {
		d := descriptors[0]
		blob := blobs["blobs/"+d.Digest.Algorithm+"/"+d.Digest.Hex]
		if d.MediaType.IsIndex() {
			var nested v1.IndexManifest
			if err := json.Unmarshal(blob, &nested); err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			descriptors = append(descriptors, nested.Manifests...)
			continue
		}
		var manifest v1.Manifest
		if err := json.Unmarshal(blob, &manifest); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		size := d.Size + manifest.Config.Size
		for _, layer := range manifest.Layers {
			size += layer.Size
		}
		rows = append(rows, row{
			What: "image for " + d.Platform.String(), Unit: "MB", Ours: sample{float64(size) / 1e6}, Target: atMost(12, "MB"),
		})
	}
	return rows, nil
}

// readArchive returns the files of an OCI archive by name.
func readArchive(path string) (map[string][]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	files := map[string][]byte{}
	for r := tar.NewReader(file); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if files[header.Name], err = io.ReadAll(r); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
}
