//go:build linux && !unit

package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubectl-retina/kubectl-retina/e2e/internal/storage"
)

// servers are those of all tests: they take seconds to start, so the first test
// that needs one starts it. They end with this process; stopServers also removes
// their data.
var servers struct {
	sync.Mutex
	azurite *storage.Azurite
	s3      *storage.S3
}

// stopServers ends the servers that tests have started.
func stopServers() error {
	servers.Lock()
	defer servers.Unlock()
	var errs []error
	if servers.azurite != nil {
		errs = append(errs, servers.azurite.Stop())
	}
	if servers.s3 != nil {
		errs = append(errs, servers.s3.Stop())
	}
	return errors.Join(errs...)
}

// azurite is the Azurite of all tests. Containers are a test's own.
func azurite(t testing.TB) *storage.Azurite {
	t.Helper()
	servers.Lock()
	defer servers.Unlock()
	if servers.azurite == nil {
		a, err := storage.RunAzurite(the.Cluster)
		if err != nil {
			t.Fatal(err)
		}
		servers.azurite = a
	}
	return servers.azurite
}

// s3Server is the S3 server of all tests. Buckets are a test's own.
func s3Server(t testing.TB) *storage.S3 {
	t.Helper()
	servers.Lock()
	defer servers.Unlock()
	if servers.s3 == nil {
		s, err := storage.RunS3(the.Cluster)
		if err != nil {
			t.Fatal(err)
		}
		servers.s3 = s
	}
	return servers.s3
}

// TestStorageIsReached asks both servers from everywhere that our programs run:
// pods, nodes, and where the command does.
func TestStorageIsReached(t *testing.T) {
	s := openShop(t, "")
	c := azurite(t).Container(t, "reached")
	c.Upload(t, "a", []byte("hello"))
	b := s3Server(t).Bucket(t, "reached")
	b.Upload(t, "a", []byte("hello"))
	for name, url := range map[string]string{
		"blob":             c.BlobSAS(t, "a", storage.SAS{Permissions: "r"}),
		"S3":               b.Presigned(t, "a"),
		"blob and a proxy": storage.StartProxy(t, the.Cluster, azurite(t).URL).Through(c.BlobSAS(t, "a", storage.SAS{Permissions: "r"})),
	} {
		for _, node := range []string{"n1", "n2"} {
			if out := s.traffic(t, s.client[node], "http-get", "--url", url, "--count", "1"); !strings.Contains(out, "got 1, failed 0") {
				t.Errorf("%s from a pod of %s: %s", name, node, out)
			}
			if out := onNode(t, node, "busybox", "wget", "-q", "-O", "-", url); out != "hello" {
				t.Errorf("%s from node %s: %q", name, node, out)
			}
		}
		if out := run(t, the.Command(t.Context(), "busybox", "wget", "-q", "-O", "-", url)); out != "hello" {
			t.Errorf("%s from the command's place: %q", name, out)
		}
	}
}

// putBlob stores content as a collector might: in blocks of 1 MiB, four at a time.
func putBlob(ctx context.Context, containerURL, name string, content []byte) error {
	var options container.ClientOptions
	options.Transport = storage.Client(the.Cluster)
	options.Retry.RetryDelay, options.Retry.MaxRetryDelay = 50*time.Millisecond, 200*time.Millisecond
	options.Retry.TryTimeout = 3 * time.Second
	client, err := container.NewClientWithNoCredential(containerURL, &options)
	if err != nil {
		return err
	}
	_, err = client.NewBlockBlobClient(name).UploadStream(ctx, bytes.NewReader(content), &blockblob.UploadStreamOptions{BlockSize: 1 << 20, Concurrency: 4})
	return err
}

// noise is n bytes that differ from place to place.
func noise(n int) []byte {
	content := make([]byte, 0, n+sha256.Size)
	for sum := sha256.Sum256(nil); len(content) < n; sum = sha256.Sum256(sum[:]) {
		content = append(content, sum[:]...)
	}
	return content[:n]
}

// TestBlobServer shows what the signatures of the tests allow, and what the
// server says otherwise: the tests of uploads build on it.
func TestBlobServer(t *testing.T) {
	a := azurite(t)
	c := a.Container(t, "signatures")
	c.SetPolicy(t, "uploads", storage.SAS{Permissions: "cw"})
	revoked := a.Container(t, "revoked")
	revoked.SetPolicy(t, "uploads", storage.SAS{Permissions: "cw"})
	revokedURL := revoked.SAS(t, storage.SAS{Policy: "uploads"})
	revoked.SetPolicy(t, "uploads", storage.SAS{})
	valid, hour := c.SAS(t, storage.SAS{Permissions: "cw"}), time.Now().Add(time.Hour)
	tests := map[string]struct {
		url, code string
	}{
		"create and write":     {valid, ""},
		"all":                  {c.SAS(t, storage.SAS{Permissions: "racwdl", Start: time.Now().Add(-time.Minute), Expiry: hour}), ""},
		"stored policy":        {c.SAS(t, storage.SAS{Policy: "uploads"}), ""},
		"account":              {c.AccountSAS(t, storage.SAS{Permissions: "cw"}, "co"), ""},
		"expired":              {c.SAS(t, storage.SAS{Permissions: "cw", Expiry: time.Now().Add(-time.Minute)}), "AuthorizationFailure"},
		"not yet valid":        {c.SAS(t, storage.SAS{Permissions: "cw", Start: hour, Expiry: hour.Add(time.Hour)}), "AuthorizationFailure"},
		"read only":            {c.SAS(t, storage.SAS{Permissions: "rl"}), "AuthorizationPermissionMismatch"},
		"HTTPS only":           {c.SAS(t, storage.SAS{Permissions: "cw", HTTPSOnly: true}), "AuthorizationProtocolMismatch"},
		"for one blob":         {strings.Replace(c.BlobSAS(t, "other", storage.SAS{Permissions: "cw"}), "/other?", "?", 1), "AuthorizationFailure"},
		"for another":          {strings.Replace(valid, "/signatures?", "/revoked?", 1), "AuthorizationFailure"},
		"truncated":            {valid[:len(valid)-8], "AuthorizationFailure"},
		"revoked":              {revokedURL, "AuthorizationFailure"},
		"absent container":     {a.Existing(t, "absent").SAS(t, storage.SAS{Permissions: "cw"}), "ContainerNotFound"},
		"account, no objects":  {c.AccountSAS(t, storage.SAS{Permissions: "cw"}, "s"), "AuthorizationResourceTypeMismatch"},
		"no signature, no key": {c.URL, "AuthorizationFailure"},
	}
	for name, test := range tests {
		err := putBlob(t.Context(), test.url, "b", []byte("x"))
		var refused *azcore.ResponseError
		switch {
		case test.code == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case test.code != "" && (!errors.As(err, &refused) || refused.ErrorCode != test.code):
			t.Errorf("%s: %v, want code %s", name, err, test.code)
		}
	}
}

func TestBlobUploadArrives(t *testing.T) {
	c := azurite(t).Container(t, "arrives")
	content := noise(20<<20 + 1)
	if err := putBlob(t.Context(), c.SAS(t, storage.SAS{Permissions: "cw"}), "dir/a.bin", content); err != nil {
		t.Fatal(err)
	}
	objects := c.Objects(t)
	if len(objects) != 1 || objects[0].Name != "dir/a.bin" || objects[0].Size != int64(len(content)) {
		t.Errorf("objects %+v", objects)
	}
	wantContent(t, c.Download(t, "dir/a.bin"), content)
	if left := c.Unfinished(t); left != nil {
		t.Errorf("unfinished: %q", left)
	}
}

func wantContent(t testing.TB, file string, content []byte) {
	t.Helper()
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, content) {
		t.Errorf("%s has other %d bytes than the %d that were stored", file, len(got), len(content))
	}
}

// TestBlobServerFails breaks uploads in every way that a proxy can, and looks
// whether the service's own SDK gets over it.
func TestBlobServerFails(t *testing.T) {
	a := azurite(t)
	p := storage.StartProxy(t, the.Cluster, a.URL)
	c := a.Container(t, "fails")
	url := p.Through(c.SAS(t, storage.SAS{Permissions: "cw"}))
	content := noise(8 << 20)
	tests := map[string]struct {
		fault    storage.Fault
		faulted  int // requests
		survived bool
	}{
		"503 twice":            {storage.Fault{Status: http.StatusServiceUnavailable, Times: 2}, 2, true},
		"500 twice":            {storage.Fault{Status: http.StatusInternalServerError, Times: 2}, 2, true},
		"cut in a block":       {storage.Fault{CutRequest: 700_000, Times: 1}, 1, true},
		"403, which is final":  {storage.Fault{Status: http.StatusForbidden, Code: "AuthenticationFailed", Times: 1}, 1, false},
		"slow first block":     {storage.Fault{Delay: time.Second, Times: 1}, 1, true},
		"8 MiB at 16 MiB/s":    {storage.Fault{BytesPerSecond: 16 << 20}, 9, true}, // blocks, and their list
		"500 for the rest":     {storage.Fault{Status: http.StatusInternalServerError}, 0, false},
		"commit fails at once": {storage.Fault{Times: 1, Status: http.StatusServiceUnavailable, Match: isCommit}, 1, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p.Reset()
			p.Set(test.fault)
			defer p.Set(storage.Fault{})
			began, blobName := time.Now(), strings.ReplaceAll(name, " ", "-")
			err := putBlob(t.Context(), url, blobName, content)
			if (err == nil) != test.survived {
				t.Fatalf("after %s: %v", time.Since(began), err)
			}
			if test.faulted > 0 && p.Faulted() != test.faulted {
				t.Errorf("%d requests befallen, want %d", p.Faulted(), test.faulted)
			}
			if test.survived {
				wantContent(t, c.Download(t, blobName), content)
			}
		})
	}
	for _, r := range p.Requests() {
		if !strings.Contains(r.URI, "sig=") {
			t.Errorf("request without signature: %s", r.Line())
		}
	}
}

func isCommit(r *http.Request) bool { return r.URL.Query().Get("comp") == "blocklist" }

// TestStorageIsUnreachable cuts an upload in its middle, in the ways in which no
// answer comes, and lets it go on.
func TestStorageIsUnreachable(t *testing.T) {
	a := azurite(t)
	p := storage.StartProxy(t, the.Cluster, a.URL)
	c := a.Container(t, "unreachable")
	url, content := p.Through(c.SAS(t, storage.SAS{Permissions: "cw"})), noise(4<<20)
	for name, set := range map[string]func(bool) error{"refused": p.Refuse, "black-hole": p.BlackHole} {
		t.Run(name, func(t *testing.T) {
			p.Reset()
			p.Set(storage.Fault{BytesPerSecond: 4 << 20})
			done := make(chan error, 1)
			go func() { done <- putBlob(t.Context(), url, name, content) }()
			eventually(t, 10*time.Second, func() error {
				if len(p.Requests()) < 2 {
					return errors.New("the upload does not begin")
				}
				return nil
			})
			if err := set(true); err != nil {
				t.Fatal(err)
			}
			seen := len(p.Requests())
			select {
			case err := <-done:
				t.Fatalf("ended while there was no server: %v", err)
			case <-time.After(150 * time.Millisecond):
			}
			if now := len(p.Requests()); now > seen+1 { // one may have been on its way
				t.Errorf("%d requests came through", now-seen)
			}
			if err := set(false); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			wantContent(t, c.Download(t, name), content)
		})
	}
}

// putObject stores content in one request.
func putObject(ctx context.Context, endpoint, region, bucket, key string, who storage.Credentials, content []byte) error {
	client := s3.New(s3.Options{
		BaseEndpoint: &endpoint, UsePathStyle: true, Region: region, HTTPClient: storage.Client(the.Cluster),
		Credentials: credentials.NewStaticCredentialsProvider(who.AccessKeyID, who.SecretAccessKey, ""),
	})
	_, err := client.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(content)})
	return err
}

// TestS3Server shows what users may do, and what the server says otherwise.
func TestS3Server(t *testing.T) {
	s := s3Server(t)
	b := s.Bucket(t, "users")
	content := noise(12 << 20)
	wrong := s.Root
	wrong.SecretAccessKey += "x"
	tests := map[string]struct {
		region, bucket string
		who            storage.Credentials
		code           string
	}{
		"root":         {storage.S3Region, "users", s.Root, ""},
		"stranger":     {storage.S3Region, "users", s.Stranger, "AccessDenied"},
		"unknown":      {storage.S3Region, "users", storage.Credentials{AccessKeyID: "nobody", SecretAccessKey: "x"}, "InvalidAccessKeyId"},
		"wrong secret": {storage.S3Region, "users", wrong, "SignatureDoesNotMatch"},
		"wrong region": {"us-west-2", "users", s.Root, "AuthorizationHeaderMalformed"},
		"no bucket":    {storage.S3Region, "absent", s.Root, "NoSuchBucket"},
	}
	for name, test := range tests {
		body := content
		if test.code != "" {
			body = content[:10] // a server that refuses may not read a long one, and closes
		}
		err := putObject(t.Context(), s.URL, test.region, test.bucket, "dir/a.bin", test.who, body)
		var refused smithy.APIError
		switch {
		case test.code == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case test.code != "" && (!errors.As(err, &refused) || refused.ErrorCode() != test.code):
			t.Errorf("%s: %v, want code %s", name, err, test.code)
		}
	}
	objects := b.Objects(t)
	if len(objects) != 1 || objects[0].Name != "dir/a.bin" || objects[0].Size != int64(len(content)) {
		t.Errorf("objects %+v", objects)
	}
	wantContent(t, b.Download(t, "dir/a.bin"), content)
	if left := b.Unfinished(t); left != nil {
		t.Errorf("unfinished: %q", left)
	}
}

func TestS3ServerFails(t *testing.T) {
	s := s3Server(t)
	b := s.Bucket(t, "fails")
	p := storage.StartProxy(t, the.Cluster, s.URL)
	content := noise(12 << 20)
	for name, fault := range map[string]storage.Fault{
		"503 twice":     {Status: http.StatusServiceUnavailable, Code: "SlowDown", Times: 2},
		"cut in a part": {CutRequest: 3_000_000, Times: 1},
	} {
		t.Run(name, func(t *testing.T) {
			p.Reset()
			p.Set(fault)
			if err := putObject(t.Context(), p.URL, storage.S3Region, b.Name, name, s.Root, content); err != nil {
				t.Fatal(err)
			}
			if p.Faulted() != fault.Times {
				t.Errorf("%d requests befallen, want %d", p.Faulted(), fault.Times)
			}
			wantContent(t, b.Download(t, name), content)
		})
	}
}

// TestClaimIsShared writes to a claim on one node and reads it on the other, and
// here; with a small disk below it, a node runs out of space and the other does not.
func TestClaimIsShared(t *testing.T) {
	namespace := uniqueName(t)
	apply(t, namespaceYAML(namespace, ""))
	claim := storage.StartClaim(t, the.Cluster, the.client, namespace, "captures")
	claimPod(t, claim, "first", "n1", "echo hello > /claim/file")
	claimPod(t, claim, "second", "n2", "cat /claim/file | grep -x hello")
	wantContent(t, filepath.Join(claim.Dir, "file"), []byte("hello\n"))

	undo := storage.SmallDisk(t, the.Cluster, "n1", claim.Dir, 1<<20)
	claimPod(t, claim, "full", "n1", "! dd if=/dev/zero of=/claim/zero bs=1M count=2 2>/tmp/err && grep 'No space left' /tmp/err")
	claimPod(t, claim, "roomy", "n2", "dd if=/dev/zero of=/claim/zero bs=1M count=2")
	undo()
	claimPod(t, claim, "again", "n1", "test $(wc -c < /claim/zero) = 2097152")
}

// claimPod runs a shell script on a node, with the claim at /claim, to its end.
func claimPod(t *testing.T, claim storage.Claim, name, node, script string) {
	t.Helper()
	apply(t, fmt.Sprintf(`---
apiVersion: v1
kind: Pod
metadata: {name: %q, namespace: %s}
spec:
  nodeName: %s
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: localhost/busybox:1
    command: [sh, -c, %q]
    volumeMounts: [{name: claim, mountPath: /claim}]
  volumes: [{name: claim, persistentVolumeClaim: {claimName: %s}}]
`, name, claim.Namespace, node, script, claim.Name))
	wantPodSucceeds(t, claim.Namespace, name)
}

func wantPodSucceeds(t testing.TB, namespace, name string) {
	t.Helper()
	eventually(t, time.Minute, func() error {
		pod, err := the.client.CoreV1().Pods(namespace).Get(t.Context(), name, metav1.GetOptions{})
		if err != nil || pod.Status.Phase == corev1.PodSucceeded {
			return err
		}
		if pod.Status.Phase == corev1.PodFailed {
			t.Fatalf("pod %s failed: %s", name, kubectl(t, "logs", "-n", namespace, name))
		}
		return fmt.Errorf("pod %s is %s: %+v", name, pod.Status.Phase, pod.Status.ContainerStatuses)
	})
}

// TestSmallNodeDisk gives the pods of a node, from now on, a small disk for their
// emptyDirs. The node stays ready, and its other pods run on.
func TestSmallNodeDisk(t *testing.T) {
	s := openShop(t, "")
	undo := storage.SmallDisk(t, the.Cluster, "n1", "/var/lib/kubelet/pods", 4<<20)
	apply(t, fmt.Sprintf(`---
apiVersion: v1
kind: Pod
metadata: {name: full, namespace: %s}
spec:
  nodeName: n1
  restartPolicy: Never
  containers:
  - name: main
    image: localhost/busybox:1
    command: [sh, -c, "! dd if=/dev/zero of=/staging/zero bs=1M count=8 2>/tmp/err && grep 'No space left' /tmp/err"]
    volumeMounts: [{name: staging, mountPath: /staging}]
  volumes: [{name: staging, emptyDir: {}}]
`, s.namespace))
	wantPodSucceeds(t, s.namespace, "full")
	kubectl(t, "delete", "pod", "-n", s.namespace, "full", "--wait", "--timeout=60s")
	undo()
	s.get(t, s.client["n2"], s.web["n1"], "/", 1)
	apply(t, podYAML(s.namespace, "after", "n1", "app: after", restricted))
	runningPod(t, s.namespace, "after")
}
