// Package store brings archives to where a user keeps them, and back: to a
// container of Azure Blob Storage, to a bucket of a server that speaks S3, or to
// a mounted directory. The collector uploads; the command lists, downloads and
// deletes.
//
// No error of this package holds a secret: what the services and their SDKs say
// is taken apart, and only codes and causes come out.
package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// Content writes the whole of an archive to w. It may be called again, by one
// goroutine at a time, and writes the same bytes each time. It ends with the
// error that w returns.
type Content func(w io.Writer) error

// A Receipt is for an archive that is stored, whole.
type Receipt struct {
	Name   string // as Store.Name has it
	Bytes  int64
	SHA256 string // of the archive, hexadecimal
	// Warning is one line about what did not work besides; "" is the rule.
	Warning string
}

// An Object is an archive that is in a Store.
type Object struct {
	Name     string // as Store.Name has it
	Bytes    int64
	Modified time.Time
	SHA256   string // of the archive, hexadecimal; "" when that is not known without reading it
}

// A Store is one place for archives, and touches nothing there but archives of
// ours: files whose names IsArchive accepts. Its methods take such a name, or
// what Name makes of it. Safe for concurrent use. Errors are an *Error; that
// there is no such archive is also fs.ErrNotExist, and the end of ctx its error.
type Store interface {
	// Where says which place this is, without secrets: "blob
	// https://account.blob.core.windows.net/container", "s3 bucket/path at
	// https://endpoint", or the name of a directory's destination.
	Where() string
	// Name is what the archive of this file name is called there: the blob, the
	// whole key, the path below the mounted directory.
	Name(archive string) string
	// Put stores content under name, and replaces what is there. Nobody sees the
	// archive before it is whole. Progress, which may be nil, is told how many bytes
	// have arrived; it is called by one goroutine at a time and must not block.
	//
	// The archive is never held in memory: see the constants of the block sizes.
	Put(ctx context.Context, name string, content Content, progress func(bytes int64)) (Receipt, error)
	// List returns the archives whose file names begin with prefix, sorted by name.
	List(ctx context.Context, prefix string) ([]Object, error)
	// Stat returns one archive.
	Stat(ctx context.Context, name string) (Object, error)
	// Open reads an archive from offset on; offset may be its length. The caller
	// closes it. A connection that breaks is opened anew where it broke, as long as
	// the archive is still the same.
	Open(ctx context.Context, name string, offset int64) (io.ReadCloser, error)
	// Delete deletes an archive. One that is not there is no error.
	Delete(ctx context.Context, name string) error
}

// Options are how patient a Store is. The zero value is for everyday use: what
// fails for a passing reason is tried again for about two minutes.
type Options struct {
	// Transport carries the requests; nil: one with the timeouts of this package,
	// through the proxy that the environment names.
	Transport http.RoundTripper
	// Tries is how often a request is sent at most; 0: 7.
	Tries int
	// RetryDelay is the pause before the second try, which about doubles with each
	// further one up to MaxRetryDelay; 0: a second, and a minute. A service that
	// says itself when to come again (Retry-After) is obeyed, within MaxRetryDelay.
	RetryDelay, MaxRetryDelay time.Duration
	// Stall is how long nothing may move before a try counts as failed; 0: 30 s.
	// There is no other limit of time, so that a slow line is no failure.
	Stall time.Duration
}

func (o Options) withDefaults() Options {
	if o.Tries == 0 {
		o.Tries = 7
	}
	if o.RetryDelay == 0 {
		o.RetryDelay = time.Second
	}
	if o.MaxRetryDelay == 0 {
		o.MaxRetryDelay = time.Minute
	}
	if o.Stall == 0 {
		o.Stall = 30 * time.Second
	}
	return o
}

// Open returns the Store of a destination. It sends nothing and looks at
// nothing: whether the place is there shows when it is used.
func Open(d wire.Destination, o Options) (Store, error) {
	o = o.withDefaults()
	switch {
	case d.Blob != nil && d.S3 == nil && d.Dir == nil:
		return openBlob(*d.Blob, o)
	case d.S3 != nil && d.Blob == nil && d.Dir == nil:
		return openS3(*d.S3, o)
	case d.Dir != nil && d.Blob == nil && d.S3 == nil:
		return openDir(*d.Dir)
	}
	return nil, errors.New("destination is not exactly one place")
}

// archivePattern matches NAME-NODE-TIME.tar.gz; its group is the time.
var archivePattern = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]*-[a-zA-Z0-9][a-zA-Z0-9._-]*-([0-9]{8}T[0-9]{6}Z)\.tar\.gz$`)

// IsArchive reports whether a file of this name is an archive of ours:
// NAME-NODE-YYYYMMDDThhmmssZ.tar.gz, at most wire.MaxArchiveName bytes without
// the ending.
func IsArchive(name string) bool {
	return len(name) <= wire.MaxArchiveName+len(".tar.gz") && archivePattern.MatchString(name)
}

// stamp is the time in an archive's name, which sorts by age.
func stamp(archive string) string {
	if match := archivePattern.FindStringSubmatch(archive); match != nil {
		return match[1]
	}
	return ""
}

// fileName returns the file name of an archive from what it is called below
// prefix, which is "" or ends with a slash.
func fileName(prefix, name string) (string, error) {
	file := strings.TrimPrefix(name, prefix)
	if !IsArchive(file) {
		return "", fmt.Errorf("%q is not the name of an archive: NAME-NODE-TIME.tar.gz", name)
	}
	return file, nil
}

var sumPattern = regexp.MustCompile(`^[0-9a-f]{64}$`)

// sumOf finds the SHA-256 in an object's metadata, or "". HTTP headers lose the
// case of their names.
func sumOf(metadata map[string]string) string {
	for key, value := range metadata {
		if strings.EqualFold(key, sumKey) && sumPattern.MatchString(value) {
			return value
		}
	}
	return ""
}

// sumKey names the SHA-256 in the metadata of a blob and of an S3 object.
const sumKey = "sha256"
