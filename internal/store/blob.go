package store

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// Sizes of the blocks of a blob, which may have 50,000 of them. The first 10,000
// have 4 MiB, each further 10,000 twice as much: 1.2 TiB fit. An upload's memory
// is 4 blocks: 16 MiB for an archive of up to 39 GiB.
const (
	blobBlockBytes  = 4 << 20
	blobBlockGrowth = 10_000
)

func blobBlockSize(i int) int { return blobBlockBytes << (i / blobBlockGrowth) }

// A blobStore is a container of Azure Blob Storage. Its Store.Name is the blob's.
//
// An upload that fails leaves blocks that belong to no blob; the service deletes
// them after a week, and nobody can do it sooner without a blob.
type blobStore struct {
	where     string
	sas       sas
	guard     guard
	container *container.Client
	tries     int
}

func openBlob(d wire.BlobDestination, o Options) (*blobStore, error) {
	u, err := parseURL(d.URL.Reveal())
	if err != nil {
		return nil, err
	}
	if _, _, err := locate(u); err != nil {
		return nil, err
	}
	s, err := parseSAS(u.RawQuery)
	if err != nil {
		return nil, err
	}
	g := newGuard(u.RawQuery, s.query, s.signature)
	u.RawQuery = s.query
	client, err := container.NewClientWithNoCredential(u.String(), &container.ClientOptions{ClientOptions: azcore.ClientOptions{
		Transport: newClient(o),
		Retry: policy.RetryOptions{
			MaxRetries: int32(o.Tries - 1), RetryDelay: o.RetryDelay, MaxRetryDelay: o.MaxRetryDelay, ShouldRetry: azureTransient,
		},
	}})
	if err != nil {
		return nil, errors.New(g.clean(err.Error()))
	}
	return &blobStore{where: whereBlob(u), sas: s, guard: g, container: client, tries: o.Tries}, nil
}

func (b *blobStore) Where() string { return b.where }

func (b *blobStore) Name(archive string) string { return archive }

// Put stages the blocks, each with its MD5, which the service compares, and then
// makes them a blob.
func (b *blobStore) Put(ctx context.Context, name string, content Content, progress func(int64)) (Receipt, error) {
	name, err := fileName("", name)
	if err != nil {
		return Receipt{}, err
	}
	receipt, err := b.put(ctx, name, content, progress)
	if err != nil {
		return Receipt{}, b.explain("upload "+name, "w", err)
	}
	return receipt, nil
}

func (b *blobStore) put(ctx context.Context, name string, content Content, progress func(int64)) (Receipt, error) {
	client := b.container.NewBlockBlobClient(name)
	ids := newBlockIDs()
	sums := newSums()
	u := upload{size: blobBlockSize, progress: progress, send: func(ctx context.Context, i int, block []byte) error {
		sum := md5.Sum(block)
		_, err := client.StageBlock(ctx, ids.of(i), streaming.NopCloser(bytes.NewReader(block)),
			&blockblob.StageBlockOptions{TransactionalValidation: blob.TransferValidationTypeMD5(sum[:])})
		return err
	}}
	count, err := u.do(ctx, sums.around(content))
	if err != nil {
		return Receipt{}, err
	}
	list := make([]string, count)
	for i := range list {
		list[i] = ids.of(i)
	}
	kind, sha := "application/gzip", sums.sha256()
	_, err = client.CommitBlockList(ctx, list, &blockblob.CommitBlockListOptions{
		HTTPHeaders: &blob.HTTPHeaders{BlobContentType: &kind, BlobContentMD5: sums.md5.Sum(nil)},
		Metadata:    map[string]*string{sumKey: &sha},
	})
	if err != nil {
		return Receipt{}, err
	}
	return Receipt{Name: name, Bytes: sums.bytes, SHA256: sha}, b.verify(ctx, name, sums.bytes)
}

// verify asks for the size of a blob, if the signature may be good for that.
func (b *blobStore) verify(ctx context.Context, name string, bytes int64) error {
	if b.sas.missing("r") != "" && b.sas.policy == "" {
		return nil
	}
	object, err := b.stat(ctx, name)
	switch {
	case isForbidden(err):
		return nil
	case err == nil && object.Bytes != bytes:
		return fmt.Errorf("stored blob has %d bytes instead of %d", object.Bytes, bytes)
	}
	return err
}

func (b *blobStore) List(ctx context.Context, prefix string) ([]Object, error) {
	var objects []Object
	pager := b.container.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{
		Prefix: &prefix, Include: container.ListBlobsInclude{Metadata: true},
	})
	for pager.More() {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return nil, b.explain("list", "l", err)
		}
		if page.Segment == nil {
			continue
		}
		for _, item := range page.Segment.BlobItems {
			if item == nil || item.Name == nil || item.Properties == nil || !IsArchive(*item.Name) {
				continue
			}
			objects = append(objects, Object{
				Name: *item.Name, Bytes: value(item.Properties.ContentLength),
				Modified: value(item.Properties.LastModified), SHA256: sumOf(values(item.Metadata)),
			})
		}
	}
	slices.SortFunc(objects, func(a, b Object) int { return strings.Compare(a.Name, b.Name) })
	return objects, nil
}

func (b *blobStore) Stat(ctx context.Context, name string) (Object, error) {
	name, err := fileName("", name)
	if err != nil {
		return Object{}, err
	}
	object, err := b.stat(ctx, name)
	return object, b.explain("look at "+name, "r", err)
}

func (b *blobStore) stat(ctx context.Context, name string) (Object, error) {
	p, err := b.container.NewBlobClient(name).GetProperties(ctx, nil)
	if err != nil {
		return Object{}, err
	}
	return Object{Name: name, Bytes: value(p.ContentLength), Modified: value(p.LastModified), SHA256: sumOf(values(p.Metadata))}, nil
}

func (b *blobStore) Open(ctx context.Context, name string, offset int64) (io.ReadCloser, error) {
	name, err := fileName("", name)
	if err != nil {
		return nil, err
	}
	var tag *azcore.ETag
	open := func(offset int64) (io.ReadCloser, error) {
		o := &blob.DownloadStreamOptions{Range: blob.HTTPRange{Offset: offset}}
		if tag != nil {
			o.AccessConditions = &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfMatch: tag}}
		}
		response, err := b.container.NewBlobClient(name).DownloadStream(ctx, o)
		if err != nil {
			return nil, err
		}
		tag = response.ETag
		return response.Body, nil
	}
	return openResuming(resuming{
		open: open, offset: offset, tries: b.tries,
		stat:    func() (Object, error) { return b.stat(ctx, name) },
		explain: func(err error) error { return b.explain("download "+name, "r", err) },
	})
}

func (b *blobStore) Delete(ctx context.Context, name string) error {
	name, err := fileName("", name)
	if err != nil {
		return err
	}
	_, err = b.container.NewBlobClient(name).Delete(ctx, nil)
	if isMissingBlob(err) {
		return nil
	}
	return b.explain("delete "+name, "d", err)
}

// explain makes an Error of err. need is the permission for what failed.
func (b *blobStore) explain(op, need string, err error) error {
	return explain(b.where, op, b.guard, err, func(err error) (finding, bool) { return b.sas.examine(err, need) })
}

// blockIDs name the blocks of one upload. They differ from those of another one
// of the same blob, and are all of one length, as the service wants them.
type blockIDs struct{ prefix [8]byte }

func newBlockIDs() blockIDs {
	var ids blockIDs
	_, _ = rand.Read(ids.prefix[:]) // never fails: see crypto/rand
	return ids
}

func (ids blockIDs) of(i int) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(ids.prefix[:], uint32(i)))
}

// sums are the checksums of a content.
type sums struct {
	md5, sha hash.Hash
	bytes    int64
}

func newSums() *sums { return &sums{md5: md5.New(), sha: sha256.New()} }

// Write implements io.Writer and never fails.
func (s *sums) Write(p []byte) (int, error) {
	_, _ = s.md5.Write(p)
	_, _ = s.sha.Write(p)
	s.bytes += int64(len(p))
	return len(p), nil
}

func (s *sums) sha256() string { return hex.EncodeToString(s.sha.Sum(nil)) }

// around returns content with its bytes summed as well.
func (s *sums) around(content Content) Content {
	return func(w io.Writer) error { return content(io.MultiWriter(w, s)) }
}

func value[T any](pointer *T) T {
	if pointer == nil {
		var zero T
		return zero
	}
	return *pointer
}

func values(metadata map[string]*string) map[string]string {
	plain := make(map[string]string, len(metadata))
	for k, v := range metadata {
		plain[k] = value(v)
	}
	return plain
}
