//go:build linux

package storage

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/kubectl-retina/kubectl-retina/e2e/internal/lab"
	"github.com/kubectl-retina/kubectl-retina/e2e/internal/storage/programs"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

// S3Region is the region that every S3 server of the tests is in. Requests that
// are signed for another one are refused.
const S3Region = "eu-test-1"

// Credentials are a user of an S3 server. They are made for it and are random:
// where they show up, they have been leaked.
type Credentials struct {
	AccessKeyID     string
	SecretAccessKey string
}

// S3 is a running server that speaks S3. It is safe for concurrent use.
type S3 struct {
	*server
	URL      string      // the endpoint, without a slash at its end; buckets are paths
	Root     Credentials // may do everything
	Stranger Credentials // is known, and may do nothing with Root's buckets
	client   *s3.Client
}

// StartS3 starts an S3 server and ends it at the end of the test.
func StartS3(t testing.TB, c *lab.Cluster) *S3 {
	t.Helper()
	s, err := RunS3(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// RunS3 starts an S3 server and leaves it to the caller to end it with Stop. It
// does not outlive this process.
func RunS3(c *lab.Cluster) (*S3, error) {
	settings, err := lab.FromEnvironment()
	if err != nil {
		return nil, err
	}
	program := programs.Versitygw(settings)
	if _, err := os.Stat(program); err != nil {
		return nil, hint.Wrap(err, "build it with: make cluster")
	}
	s := &S3{Root: newCredentials("ROOT"), Stranger: newCredentials("STRANGER")}
	argv := func(address netip.AddrPort, dir string) ([]string, error) {
		for _, name := range []string{"buckets", "metadata", "users"} {
			if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
				return nil, err
			}
		}
		return []string{
			program, "--quiet", "--keep-alive", "--region", S3Region, "--port", address.String(), "--iam-dir", filepath.Join(dir, "users"),
			"posix", "--sidecar", filepath.Join(dir, "metadata"), filepath.Join(dir, "buckets"),
		}, s.writeUsers(filepath.Join(dir, "users"))
	}
	env := []string{"ROOT_ACCESS_KEY=" + s.Root.AccessKeyID, "ROOT_SECRET_KEY=" + s.Root.SecretAccessKey}
	if s.server, err = startServer(c, "s3", env, argv); err != nil {
		return nil, err
	}
	s.URL = "http://" + s.address.String()
	s.client = s3.New(s3.Options{
		BaseEndpoint: &s.URL, UsePathStyle: true, Region: S3Region, HTTPClient: Client(c),
		Credentials: credentials.NewStaticCredentialsProvider(s.Root.AccessKeyID, s.Root.SecretAccessKey, ""),
	})
	return s, nil
}

func newCredentials(prefix string) Credentials {
	return Credentials{AccessKeyID: prefix + rand.Text(), SecretAccessKey: rand.Text() + rand.Text()}
}

// writeUsers writes the file in which versitygw keeps its users.
func (s *S3) writeUsers(dir string) error {
	type account struct {
		Access string `json:"access"`
		Secret string `json:"secret"`
		Role   string `json:"role"`
	}
	key := s.Stranger.AccessKeyID
	text, err := json.Marshal(map[string]any{"accessAccounts": map[string]account{key: {key, s.Stranger.SecretAccessKey, "user"}}})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "users.json"), text, 0o600)
}

// Bucket makes a bucket, and deletes it at the end of the test.
func (s *S3) Bucket(t testing.TB, name string) *Bucket {
	t.Helper()
	if _, err := s.client.CreateBucket(context.Background(), &s3.CreateBucketInput{Bucket: &name}); err != nil {
		t.Fatal(err)
	}
	b := &Bucket{Name: name, client: s.client}
	t.Cleanup(func() { b.Delete(t) })
	return b
}

// Bucket is a bucket of an S3 server, used as Root.
type Bucket struct {
	Name   string
	client *s3.Client
}

// Objects lists the objects of the bucket by name.
func (b *Bucket) Objects(t testing.TB) []Object {
	t.Helper()
	var all []Object
	pages := s3.NewListObjectsV2Paginator(b.client, &s3.ListObjectsV2Input{Bucket: &b.Name})
	for pages.HasMorePages() {
		page, err := pages.NextPage(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range page.Contents {
			head, err := b.client.HeadObject(context.Background(), &s3.HeadObjectInput{Bucket: &b.Name, Key: item.Key})
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, Object{
				Name: *item.Key, Size: aws.ToInt64(item.Size), ContentType: aws.ToString(head.ContentType), Metadata: head.Metadata,
			})
		}
	}
	return all
}

// Unfinished lists the names of objects whose multipart upload has neither been
// completed nor aborted.
func (b *Bucket) Unfinished(t testing.TB) []string {
	t.Helper()
	var names []string
	for _, u := range b.uploads(t) {
		names = append(names, *u.Key)
	}
	return names
}

func (b *Bucket) uploads(t testing.TB) []types.MultipartUpload {
	t.Helper()
	var all []types.MultipartUpload
	pages := s3.NewListMultipartUploadsPaginator(b.client, &s3.ListMultipartUploadsInput{Bucket: &b.Name})
	for pages.HasMorePages() {
		page, err := pages.NextPage(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page.Uploads...)
	}
	return all
}

// Presigned returns a URL that reads an object without credentials, for 15
// minutes.
func (b *Bucket) Presigned(t testing.TB, name string) string {
	t.Helper()
	request, err := s3.NewPresignClient(b.client).PresignGetObject(context.Background(), &s3.GetObjectInput{Bucket: &b.Name, Key: &name})
	if err != nil {
		t.Fatal(err)
	}
	return request.URL
}

// Download writes an object to a file of the test and returns its path.
func (b *Bucket) Download(t testing.TB, name string) string {
	t.Helper()
	object, err := b.client.GetObject(context.Background(), &s3.GetObjectInput{Bucket: &b.Name, Key: &name})
	if err != nil {
		t.Fatal(err)
	}
	defer object.Body.Close()
	file, err := os.Create(filepath.Join(t.TempDir(), filepath.Base(name)))
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(file, object.Body)
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatalf("object %s: %v", name, err)
	}
	return file.Name()
}

// Upload stores an object.
func (b *Bucket) Upload(t testing.TB, name string, content []byte) {
	t.Helper()
	input := &s3.PutObjectInput{Bucket: &b.Name, Key: &name, Body: bytes.NewReader(content)}
	if _, err := b.client.PutObject(context.Background(), input); err != nil {
		t.Fatalf("object %s: %v", name, err)
	}
}

// Delete deletes the bucket with all that is in it. One that is not there is no
// error.
func (b *Bucket) Delete(t testing.TB) {
	t.Helper()
	ctx := context.Background()
	var missing *types.NotFound
	if _, err := b.client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &b.Name}); errors.As(err, &missing) {
		return
	}
	for _, u := range b.uploads(t) {
		input := &s3.AbortMultipartUploadInput{Bucket: &b.Name, Key: u.Key, UploadId: u.UploadId}
		if _, err := b.client.AbortMultipartUpload(ctx, input); err != nil {
			t.Errorf("upload of %s: %v", *u.Key, err)
		}
	}
	for _, o := range b.Objects(t) {
		if _, err := b.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.Name, Key: &o.Name}); err != nil {
			t.Errorf("object %s: %v", o.Name, err)
		}
	}
	if _, err := b.client.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: &b.Name}); err != nil {
		t.Errorf("bucket %s: %v", b.Name, err)
	}
}
