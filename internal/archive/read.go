package archive

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// Bounds of an archive that is read. A few bytes of gzip can become a thousand
// times as many, so whoever unpacks must not believe a header.
const (
	maxEntries     = 100_000
	maxPacketBytes = 1 << 40 // of one packet file
	maxOtherBytes  = 1 << 30 // of all other entries together
	maxPadding     = 1 << 20 // behind the last entry
)

// A Reader reads an archive from its beginning to its end. It is not safe for
// concurrent use.
type Reader struct {
	compressed *gzip.Reader
	packed     *tar.Reader
	base       string
	record     *Record
	files      map[string]FileRecord // of the record, that have not come yet
	names      map[string]bool       // of the entries so far
	other      int64                 // bytes of the entries that are no packet files
	err        error                 // why there is no next entry
}

// An Entry is one file of an archive.
type Entry struct {
	// Name is a clean path below the archive's directory, with slashes. Whoever makes
	// a file of it asks filepath.Localize first.
	Name    string
	Size    int64
	ModTime time.Time
	// Packets is set for a packet file, and is what the Record says of it.
	Packets *FileRecord
	// Reader reads the file's Size bytes, until the next call of Next. Of a packet
	// file whose checksum is not the Record's, it ends with an error instead of
	// io.EOF.
	io.Reader
}

// NewReader returns a Reader on r, which the caller keeps and closes. It reads
// the Record. Reads are of what gzip needs: give it a buffered r.
func NewReader(r io.Reader) (*Reader, error) {
	compressed, err := gzip.NewReader(r)
	if err != nil {
		return nil, unexpected(err)
	}
	a := &Reader{compressed: compressed, packed: tar.NewReader(compressed), names: make(map[string]bool)}
	header, err := a.packed.Next()
	if err != nil {
		return nil, unexpected(err)
	}
	base, isRecord := strings.CutSuffix(header.Name, "/"+RecordFile)
	if !isRecord || fit(base, wire.MaxArchiveName) != base {
		return nil, fmt.Errorf("archive begins with %q and not with the %s of a capture", header.Name, RecordFile)
	}
	a.base = base
	if _, err := a.check(header); err != nil {
		return nil, err
	}
	if header.Size > maxRecordBytes {
		return nil, fmt.Errorf("%s of %d bytes is over the limit of %d", RecordFile, header.Size, maxRecordBytes)
	}
	b, err := io.ReadAll(a.packed)
	if err != nil {
		return nil, unexpected(err)
	}
	if a.record, err = ParseRecord(b); err != nil {
		return nil, err
	}
	a.files = make(map[string]FileRecord, len(a.record.Files))
	for _, f := range a.record.Files {
		a.files[f.Name] = f
	}
	return a, nil
}

// Base is the name of the archive's directory, which is the archive's own name.
func (a *Reader) Base() string { return a.base }

// Record is the archive's first entry, which Next does not return.
func (a *Reader) Record() *Record { return a.record }

// Next returns the next entry. Behind the last one the error is io.EOF, if the
// archive is whole: the checksum of gzip is right, and every packet file of the
// Record has come.
func (a *Reader) Next() (Entry, error) {
	if a.err != nil {
		return Entry{}, a.err
	}
	entry, err := a.next()
	if err != nil {
		a.err = err
	}
	return entry, err
}

func (a *Reader) next() (Entry, error) {
	header, err := a.packed.Next()
	if errors.Is(err, io.EOF) {
		return Entry{}, a.finish()
	}
	if err != nil {
		return Entry{}, unexpected(err)
	}
	name, err := a.check(header)
	if err != nil {
		return Entry{}, err
	}
	entry := Entry{Name: name, Size: header.Size, ModTime: header.ModTime, Reader: a.packed}
	file, isPackets := a.files[name]
	if !isPackets {
		if a.other += header.Size; a.other > maxOtherBytes {
			return Entry{}, fmt.Errorf("archive has more than %d bytes beside its packets", maxOtherBytes)
		}
		return entry, nil
	}
	if file.Bytes != header.Size || header.Size > maxPacketBytes {
		return Entry{}, fmt.Errorf("%s has %d bytes in the archive and %d in its record", name, header.Size, file.Bytes)
	}
	delete(a.files, name)
	entry.Packets = &file
	entry.Reader = &summed{r: a.packed, hash: sha256.New(), file: file}
	return entry, nil
}

// check returns the name of an entry below the archive's directory. Only a
// regular file with a clean name that is not there yet has one.
func (a *Reader) check(header *tar.Header) (string, error) {
	name, below := strings.CutPrefix(header.Name, a.base+"/")
	switch {
	case header.Typeflag != tar.TypeReg:
		return "", fmt.Errorf("archive has %q, which is no regular file", header.Name)
	case !below || !fs.ValidPath(name) || name == "." || strings.ContainsAny(name, "\\\x00"):
		return "", fmt.Errorf("archive has %q, which is not a file below %s", header.Name, a.base)
	case a.names[name]:
		return "", fmt.Errorf("archive has %q twice", header.Name)
	case len(a.names) == maxEntries:
		return "", fmt.Errorf("archive has more than %d files", maxEntries)
	}
	for key := range header.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") { // a size without the bytes
			return "", fmt.Errorf("archive has %q, which is a sparse file", header.Name)
		}
	}
	a.names[name] = true
	return name, nil
}

// finish reads what is behind the last entry, so that gzip compares its checksum.
func (a *Reader) finish() error {
	n, err := io.Copy(io.Discard, io.LimitReader(a.compressed, maxPadding))
	switch {
	case err != nil:
		return unexpected(err)
	case n == maxPadding:
		return errors.New("archive goes on behind its end")
	}
	for name := range a.files {
		return fmt.Errorf("archive lacks %s, which its record has", name)
	}
	return io.EOF
}

// unexpected is the error of an archive that is damaged or ends early.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("archive is cut off")
	}
	return fmt.Errorf("archive is damaged: %w", err)
}

// summed compares what is read of a packet file with the Record's checksum.
type summed struct {
	r    io.Reader
	hash hash.Hash
	file FileRecord
}

// Read implements io.Reader.
func (s *summed) Read(b []byte) (int, error) {
	n, err := s.r.Read(b)
	_, _ = s.hash.Write(b[:n]) // never fails
	if errors.Is(err, io.EOF) {
		if sum := hex.EncodeToString(s.hash.Sum(nil)); sum != strings.ToLower(s.file.SHA256) {
			return n, fmt.Errorf("%s has checksum %s and not the %s of its record", s.file.Name, sum, s.file.SHA256)
		}
		return n, io.EOF
	}
	if err != nil {
		return n, unexpected(err)
	}
	return n, nil
}
