package store

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/middleware"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// Sizes of the parts of an S3 object, which may have 10,000 of them, all but the
// last of one size: some servers want that. It is 8 MiB, and more when the
// archive has more than 78 GiB. An upload's memory is 4 parts: 32 MiB.
const (
	s3PartBytes = 8 << 20
	s3MaxParts  = 10_000
)

// s3PartSize returns how large the parts of so many bytes are.
func s3PartSize(bytes int64) int {
	const mebibyte = 1 << 20
	least := (bytes + s3MaxParts - 1) / s3MaxParts
	return int(max(s3PartBytes, (least+mebibyte-1)/mebibyte*mebibyte))
}

// abortTimeout bounds the clean-up of an upload that has failed.
const abortTimeout = 30 * time.Second

// An s3Store is a bucket, or the keys of a bucket below a path. Its Store.Name is
// the whole key.
type s3Store struct {
	where  string
	bucket string
	prefix string // of the keys: "" or "path/"
	// checksum is of requests, besides the signature; "": none.
	checksum types.ChecksumAlgorithm
	guard    guard
	client   *s3.Client
	tries    int
}

func openS3(d wire.S3Destination, o Options) (*s3Store, error) {
	if err := checkS3(d); err != nil {
		return nil, err
	}
	return newS3(d, o, d.Endpoint == ""), nil
}

// newS3 makes a Store. Checksums asks the server to check those of each request,
// in trailers, which AWS does and many others do not. All of them check the
// SHA-256 of a body, which without trailers is a part of its signature.
func newS3(d wire.S3Destination, o Options, checksums bool) *s3Store {
	s := &s3Store{bucket: d.Bucket, where: whereS3(d), tries: o.Tries,
		guard: newGuard(d.AccessKeyID.Reveal(), d.SecretAccessKey.Reveal(), d.SessionToken.Reveal())}
	if path := strings.Trim(d.Path, "/"); path != "" {
		s.prefix = path + "/"
	}
	options := s3.Options{
		Region: cmp.Or(d.Region, "us-east-1"), // what a server without regions expects
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{
				AccessKeyID: d.AccessKeyID.Reveal(), SecretAccessKey: d.SecretAccessKey.Reveal(), SessionToken: d.SessionToken.Reveal(),
			}, nil
		}),
		HTTPClient:                 newClient(o),
		Retryer:                    newRetryer(o),
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		// The archive's own SHA-256 tells whether it arrived.
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
	}
	if checksums {
		s.checksum = types.ChecksumAlgorithmCrc32
		options.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenSupported
	} else {
		options.APIOptions = append(options.APIOptions, signBody)
	}
	if d.Endpoint != "" {
		options.BaseEndpoint, options.UsePathStyle = &d.Endpoint, true
	}
	s.client = s3.New(options)
	return s
}

// signBody makes the SHA-256 of a body a part of its request's signature over
// https too, where the SDK relies on TLS.
func signBody(stack *middleware.Stack) error {
	sum := &v4.ComputePayloadSHA256{}
	_, err := stack.Finalize.Swap(sum.ID(), sum)
	return err
}

// checkS3 reports what is wrong with a destination before anybody is asked.
func checkS3(d wire.S3Destination) error {
	endpoint, err := url.Parse(d.Endpoint)
	switch {
	case d.Bucket == "" || strings.ContainsAny(d.Bucket, "/:?# "):
		return fmt.Errorf("%q is not the name of an S3 bucket", d.Bucket)
	case d.AccessKeyID == "" || d.SecretAccessKey == "":
		return errors.New("S3 access key is missing")
	case d.Endpoint == "" && d.Region == "":
		return hint.Wrap(errors.New("S3 bucket has no region"), "pass the bucket's region, or the endpoint of a server of your own")
	case d.Endpoint == "":
		return nil
	case err != nil || endpoint.Scheme != "https" && endpoint.Scheme != "http" || !hostPattern.MatchString(endpoint.Host):
		return hint.Wrap(errors.New("S3 endpoint is not a URL of https or http"), "give it as https://HOST:PORT")
	case endpoint.User != nil || endpoint.RawQuery != "" || endpoint.Fragment != "":
		return hint.Wrap(errors.New("S3 endpoint has more than host and path"), "give it as https://HOST:PORT")
	}
	return nil
}

func whereS3(d wire.S3Destination) string {
	place := "s3 " + strings.TrimSuffix(d.Bucket+"/"+strings.Trim(d.Path, "/"), "/")
	if d.Endpoint == "" {
		return place + " in " + d.Region
	}
	return place + " at " + strings.TrimRight(d.Endpoint, "/")
}

func (s *s3Store) Where() string { return s.where }

func (s *s3Store) Name(archive string) string { return s.prefix + archive }

// Put runs content twice if it has more than one part: the checksum and the size
// must be known before the first part goes.
func (s *s3Store) Put(ctx context.Context, name string, content Content, progress func(int64)) (Receipt, error) {
	file, err := fileName(s.prefix, name)
	if err != nil {
		return Receipt{}, err
	}
	receipt, err := s.put(ctx, s.Name(file), content, progress)
	if err != nil {
		return Receipt{}, s.explain("upload "+file, err)
	}
	return receipt, nil
}

func (s *s3Store) put(ctx context.Context, key string, content Content, progress func(int64)) (Receipt, error) {
	sums, head := newSums(), &head{}
	if err := measure(ctx, content, io.MultiWriter(sums, head)); err != nil {
		return Receipt{}, err
	}
	receipt := Receipt{Name: key, Bytes: sums.bytes, SHA256: sums.sha256()}
	if sums.bytes > s3PartBytes {
		return receipt, s.putParts(ctx, receipt, content, progress)
	}
	_, err := s.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &s.bucket, Key: &key, Body: bytes.NewReader(head.bytes), ContentType: aws.String("application/gzip"),
		Metadata: map[string]string{sumKey: receipt.SHA256}, ChecksumAlgorithm: s.checksum,
	})
	if err != nil {
		return Receipt{}, err
	}
	if progress != nil {
		progress(receipt.Bytes)
	}
	return receipt, s.verify(ctx, receipt)
}

// A head keeps the first part of what is written.
type head struct{ bytes []byte }

func (h *head) Write(p []byte) (int, error) {
	h.bytes = append(h.bytes, p[:min(len(p), s3PartBytes-len(h.bytes))]...)
	return len(p), nil
}

func (s *s3Store) putParts(ctx context.Context, receipt Receipt, content Content, progress func(int64)) error {
	created, err := s.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
		Bucket: &s.bucket, Key: &receipt.Name, ContentType: aws.String("application/gzip"),
		Metadata: map[string]string{sumKey: receipt.SHA256}, ChecksumAlgorithm: s.checksum,
	})
	if err != nil {
		return err
	}
	if created.UploadId == nil {
		return errors.New("server began no upload")
	}
	parts, err := s.sendParts(ctx, receipt, *created.UploadId, content, progress)
	if err != nil {
		s.abort(ctx, receipt.Name, created.UploadId)
		return err
	}
	_, err = s.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &s.bucket, Key: &receipt.Name, UploadId: created.UploadId, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	})
	if err != nil && !s.completed(ctx, receipt, err) {
		s.abort(ctx, receipt.Name, created.UploadId)
		return err
	}
	return s.verify(ctx, receipt)
}

func (s *s3Store) sendParts(ctx context.Context, receipt Receipt, id string, content Content, progress func(int64)) ([]types.CompletedPart, error) {
	var mu sync.Mutex
	var parts []types.CompletedPart
	size, sums := s3PartSize(receipt.Bytes), newSums()
	u := upload{size: func(int) int { return size }, progress: progress, send: func(ctx context.Context, i int, part []byte) error {
		number := aws.Int32(int32(i + 1))
		sent, err := s.client.UploadPart(ctx, &s3.UploadPartInput{
			Bucket: &s.bucket, Key: &receipt.Name, UploadId: &id, PartNumber: number, Body: bytes.NewReader(part), ChecksumAlgorithm: s.checksum,
		})
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		parts = append(parts, types.CompletedPart{
			PartNumber: number, ETag: sent.ETag, ChecksumCRC32: sent.ChecksumCRC32, ChecksumCRC32C: sent.ChecksumCRC32C,
			ChecksumCRC64NVME: sent.ChecksumCRC64NVME, ChecksumSHA1: sent.ChecksumSHA1, ChecksumSHA256: sent.ChecksumSHA256,
		})
		return nil
	}}
	if _, err := u.do(ctx, sums.around(content)); err != nil {
		return nil, err
	}
	if sums.sha256() != receipt.SHA256 {
		return nil, contentError{errors.New("the archive has changed while it was uploaded")}
	}
	slices.SortFunc(parts, func(a, b types.CompletedPart) int { return int(*a.PartNumber - *b.PartNumber) })
	return parts, nil
}

// abort gives up an upload, whose parts would cost space and money for ever. It
// does so after the end of ctx too; what it cannot do a rule of the bucket must.
func (s *s3Store) abort(ctx context.Context, key string, id *string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	defer cancel()
	_, _ = s.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &s.bucket, Key: &key, UploadId: id})
}

// completed reports whether an upload that cannot be completed is complete: the
// answer to an earlier try was lost.
func (s *s3Store) completed(ctx context.Context, receipt Receipt, err error) bool {
	if code(err) != "NoSuchUpload" {
		return false
	}
	object, err := s.stat(ctx, receipt.Name)
	return err == nil && object.Bytes == receipt.Bytes && object.SHA256 == receipt.SHA256
}

// verify asks for the size of an object, if the keys are good for that.
func (s *s3Store) verify(ctx context.Context, receipt Receipt) error {
	object, err := s.stat(ctx, receipt.Name)
	switch {
	case status(err) == http.StatusForbidden:
		return nil
	case err == nil && object.Bytes != receipt.Bytes:
		return fmt.Errorf("stored object has %d bytes instead of %d", object.Bytes, receipt.Bytes)
	}
	return err
}

func (s *s3Store) List(ctx context.Context, prefix string) ([]Object, error) {
	var objects []Object
	pages := s3.NewListObjectsV2Paginator(s.client, &s3.ListObjectsV2Input{
		Bucket: &s.bucket, Prefix: aws.String(s.prefix + prefix), Delimiter: aws.String("/"),
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, s.explain("list", err)
		}
		for _, object := range page.Contents {
			key := value(object.Key)
			if _, err := fileName(s.prefix, key); err == nil {
				objects = append(objects, Object{Name: key, Bytes: value(object.Size), Modified: value(object.LastModified)})
			}
		}
	}
	slices.SortFunc(objects, func(a, b Object) int { return strings.Compare(a.Name, b.Name) })
	return objects, nil
}

func (s *s3Store) Stat(ctx context.Context, name string) (Object, error) {
	file, err := fileName(s.prefix, name)
	if err != nil {
		return Object{}, err
	}
	object, err := s.stat(ctx, s.Name(file))
	return object, s.explain("look at "+file, err)
}

func (s *s3Store) stat(ctx context.Context, key string) (Object, error) {
	h, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.bucket, Key: &key})
	if err != nil {
		return Object{}, err
	}
	return Object{Name: key, Bytes: value(h.ContentLength), Modified: value(h.LastModified), SHA256: sumOf(h.Metadata)}, nil
}

func (s *s3Store) Open(ctx context.Context, name string, offset int64) (io.ReadCloser, error) {
	file, err := fileName(s.prefix, name)
	if err != nil {
		return nil, err
	}
	key := s.Name(file)
	var tag *string
	open := func(offset int64) (io.ReadCloser, error) {
		input := &s3.GetObjectInput{Bucket: &s.bucket, Key: &key, IfMatch: tag}
		if offset > 0 {
			input.Range = aws.String(fmt.Sprintf("bytes=%d-", offset))
		}
		output, err := s.client.GetObject(ctx, input)
		if err != nil {
			return nil, err
		}
		tag = output.ETag
		return output.Body, nil
	}
	return openResuming(resuming{
		open: open, offset: offset, tries: s.tries,
		stat:    func() (Object, error) { return s.stat(ctx, key) },
		explain: func(err error) error { return s.explain("download "+file, err) },
	})
}

func (s *s3Store) Delete(ctx context.Context, name string) error {
	file, err := fileName(s.prefix, name)
	if err != nil {
		return err
	}
	_, err = s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.bucket, Key: aws.String(s.Name(file))})
	if code(err) == "NoSuchKey" {
		return nil
	}
	return s.explain("delete "+file, err)
}

func (s *s3Store) explain(op string, err error) error {
	return explain(s.where, op, s.guard, err, examineS3)
}
