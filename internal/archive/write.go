// Package archive makes and reads the tar.gz of one node's capture:
//
//	BASE/capture.json    the Record
//	BASE/BASE.pcapng     the packets; of a ring BASE-000001.pcapng and so on
//	BASE/...             metadata
//
// An archive that is read is untrusted.
package archive

import (
	"archive/tar"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"github.com/klauspost/compress/gzip"
)

// level is how hard the packets are compressed. Measured on captures of HTTP, with
// payloads and without, and by BenchmarkWrite: about 200 MB per second of processor
// time, which is the node's. Levels 2 and 3 cost about the same and save 2 % of the
// packets' size at most; level 5 takes half as long again and saves 5 %. Huffman
// codes alone are 1.5 times as fast and leave 20 to 30 % more.
const level = gzip.BestSpeed

// copyBytes is how much is read from a file at once.
const copyBytes = 256 << 10

// Write writes an archive of the regular files in dir, a finished capture, to w,
// which the caller closes. Everything is below the directory base. The Record
// comes first, then the packet files in the order of their names, then the rest.
//
// The same files make the same bytes each time, so that an upload that failed can
// begin again, and a download can go on where it ended. Memory is bounded,
// whatever the size. A file that changes while it is read is an error.
func Write(w io.Writer, dir, base string) error {
	names, err := list(dir)
	if err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	compressed, err := gzip.NewWriterLevel(w, level)
	if err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	packed, buf := tar.NewWriter(compressed), make([]byte, copyBytes)
	for _, name := range names {
		if err := add(packed, filepath.Join(dir, filepath.FromSlash(name)), path.Join(base, name), buf); err != nil {
			return fmt.Errorf("archive %s: %w", name, err)
		}
	}
	if err := errors.Join(packed.Close(), compressed.Close()); err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	return nil
}

// list returns the files below dir, with slashes, in the archive's order.
func list(dir string) ([]string, error) {
	var names []string
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if !slices.Contains(names, RecordFile) {
		return nil, fmt.Errorf("%s is missing", RecordFile)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(rank(a)-rank(b), cmp.Compare(a, b)) })
	return names, nil
}

func rank(name string) int {
	switch {
	case name == RecordFile:
		return 0
	case isPacketFile(name):
		return 1
	}
	return 2
}

// add appends one file. What a file says of its owner and mode is of the node
// that it was made on, and tells nothing.
func add(w *tar.Writer, file, name string, buf []byte) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	header := &tar.Header{
		Typeflag: tar.TypeReg, Name: name, Size: info.Size(), Mode: 0o644, ModTime: info.ModTime().UTC().Truncate(time.Second),
	}
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	// Hidden from CopyBuffer, f cannot refuse to use buf.
	n, err := io.CopyBuffer(w, struct{ io.Reader }{f}, buf)
	if err == nil && n != info.Size() {
		err = fmt.Errorf("file shrank from %d to %d bytes", info.Size(), n)
	}
	return err
}
