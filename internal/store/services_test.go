//go:build linux && !unit

package store

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	azsas "github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// Sizes of archives around those of blocks and parts.
func sizes() []int64 { return []int64{2, 4 << 20, 4<<20 + 1, 8 << 20, 8<<20 + 1, 37<<20 + 3} }

func TestBlobLifeCycle(t *testing.T) {
	server := startAzurite(t)
	server.create(t, "captures")
	s := opened(t, server.destination(t, "captures"), Options{})
	for _, size := range sizes() {
		t.Run(fmt.Sprint(size), func(t *testing.T) { lifeCycle(t, s, size, true) })
	}
	if _, err := s.Put(t.Context(), archiveNamed("empty"), text(""), nil); err != nil {
		t.Errorf("empty archive: %v", err)
	}
}

func TestS3LifeCycle(t *testing.T) {
	address, buckets := startS3(t)
	for _, path := range []string{"", "a/b"} {
		s := opened(t, s3At("http://"+address, path), Options{})
		for _, size := range sizes() {
			t.Run(fmt.Sprintf("%s/%d", path, size), func(t *testing.T) { lifeCycle(t, s, size, false) })
		}
		if _, err := s.Put(t.Context(), archiveNamed("empty"), text(""), nil); err != nil {
			t.Errorf("empty archive: %v", err)
		}
	}
	if left := leftParts(t, buckets); left != nil {
		t.Errorf("parts left: %q", left)
	}
}

// With checksums in trailers, as AWS wants them, and with signed bodies, with
// and without TLS.
func TestS3Checksums(t *testing.T) {
	trusted := httptest.NewTLSServer(nil) // only for its certificate
	defer trusted.Close()
	cert, key := filepath.Join(t.TempDir(), "cert"), filepath.Join(t.TempDir(), "key")
	pair := trusted.TLS.Certificates[0]
	private, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	write(t, cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]})))
	write(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	plain, _ := startS3(t)
	secure, _ := startS3(t, "--cert", cert, "--key", key)
	for _, endpoint := range []string{"http://" + plain, "https://" + secure} {
		for _, checksums := range []bool{true, false} {
			o := Options{Transport: trusted.Client().Transport, Tries: 1}.withDefaults()
			s := newS3(*s3At(endpoint, "sums").S3, o, checksums)
			for _, size := range []int64{1 << 20, 17<<20 + 1} {
				t.Run(fmt.Sprintf("%.5s/%v/%d", endpoint, checksums, size), func(t *testing.T) { lifeCycle(t, s, size, false) })
			}
		}
	}
}

func TestListByPrefix(t *testing.T) {
	blobs := startAzurite(t)
	blobs.create(t, "captures")
	address, _ := startS3(t)
	for _, d := range []wire.Destination{blobs.destination(t, "captures"), s3At("http://"+address, "p")} {
		s := opened(t, d, Options{})
		const many = 25
		for i := range many {
			name := fmt.Sprintf("c%02d-n1-20261122T201500Z.tar.gz", many-1-i)
			if _, err := s.Put(t.Context(), s.Name(name), text(name), nil); err != nil {
				t.Fatal(err)
			}
		}
		objects, err := s.List(t.Context(), "c0")
		if err != nil || len(objects) != 10 {
			t.Errorf("%s: %d objects, %v", s.Where(), len(objects), err)
		}
		for i, object := range objects {
			if want := s.Name(fmt.Sprintf("c%02d-n1-20261122T201500Z.tar.gz", i)); object.Name != want {
				t.Errorf("%s: %q at %d, want %q", s.Where(), object.Name, i, want)
			}
		}
	}
}

// More than a page, among objects of others and in directories below.
func TestS3ListOfManyPages(t *testing.T) {
	address, buckets := startS3(t)
	const many = 1100
	for i := range many {
		write(t, filepath.Join(buckets, "captures", "p", fmt.Sprintf("c%04d-n1-20261122T201500Z.tar.gz", i)), "x")
		write(t, filepath.Join(buckets, "captures", "p", fmt.Sprintf("c%04d.txt", i)), "x")
	}
	write(t, filepath.Join(buckets, "captures", "p", "c", archiveNamed("below")), "x")
	write(t, filepath.Join(buckets, "captures", archiveNamed("beside")), "x")
	objects, err := opened(t, s3At("http://"+address, "p"), Options{}).List(t.Context(), "c")
	if err != nil || len(objects) != many {
		t.Errorf("%d objects, want %d: %v", len(objects), many, err)
	}
}

// What the service refuses is told with its own code at the first try, with a
// hint, and without the signature.
func TestBlobRefusals(t *testing.T) {
	server := startAzurite(t)
	server.create(t, "captures")
	now := time.Now()
	all := everything()
	good := server.signed(t, "captures", all, time.Time{}, now.Add(time.Hour))
	changed := func(query string) string { // a signature of the right length
		values := strings.Split(query, "sig=")
		if values[1][0] == 'A' {
			return values[0] + "sig=B" + values[1][1:]
		}
		return values[0] + "sig=A" + values[1][1:]
	}
	tests := map[string]struct {
		container, query string
		operation        func(context.Context, Store) error
		status           int
		codes            []string // Azurite does not always say what Azure says
		hint             string
	}{
		"expired":     {"captures", server.signed(t, "captures", all, time.Time{}, now.Add(-time.Hour)), put, 403, []string{"AuthenticationFailed", "AuthorizationFailure"}, "expired at"},
		"too early":   {"captures", server.signed(t, "captures", all, now.Add(time.Hour), now.Add(2*time.Hour)), put, 403, []string{"AuthenticationFailed", "AuthorizationFailure"}, "not valid before"},
		"signature":   {"captures", changed(good), put, 403, []string{"AuthenticationFailed", "AuthorizationFailure"}, ""},
		"missing":     {"nowhere", server.signed(t, "nowhere", all, time.Time{}, now.Add(time.Hour)), put, 404, []string{"ContainerNotFound"}, "container's name"},
		"other":       {"others", good, put, 403, []string{"AuthenticationFailed", "AuthorizationFailure"}, ""},
		"read only":   {"captures", server.signed(t, "captures", azsas.ContainerPermissions{Read: true, List: true}, time.Time{}, now.Add(time.Hour)), put, 403, []string{"AuthorizationPermissionMismatch"}, "permits to write (sp has rl)"},
		"no list":     {"captures", server.signed(t, "captures", azsas.ContainerPermissions{Write: true}, time.Time{}, now.Add(time.Hour)), list, 403, []string{"AuthorizationPermissionMismatch"}, "permits to list"},
		"no deletion": {"captures", server.signed(t, "captures", azsas.ContainerPermissions{Write: true}, time.Time{}, now.Add(time.Hour)), remove, 403, []string{"AuthorizationPermissionMismatch"}, "permits to delete"},
	}
	for name, test := range tests {
		d := blobAt(server.url+"/"+test.container, test.query)
		requests := &counting{next: http.DefaultTransport}
		err := test.operation(t.Context(), opened(t, d, Options{Transport: requests}))
		var e *Error
		if !errors.As(err, &e) || e.Status != test.status || !strings.Contains(strings.Join(test.codes, " "), e.Code) || e.Code == "" {
			t.Errorf("%s: %v, want %d %q", name, err, test.status, test.codes)
			continue
		}
		t.Logf("%s: %v (%s)", name, err, hint.Of(err))
		if !strings.Contains(hint.Of(err), test.hint) || hint.Of(err) == "" {
			t.Errorf("%s: hint %q, want %q", name, hint.Of(err), test.hint)
		}
		if n := requests.requests.Load(); n > blocksInMemory {
			t.Errorf("%s: %d requests", name, n)
		}
		_, signature, _ := strings.Cut(test.query, "sig=")
		signature, _, _ = strings.Cut(signature, "&")
		if look := leaks(shown(t, err), signature); look != "" {
			t.Errorf("%s: shows %q: %v", name, look, err)
		}
	}
}

func put(ctx context.Context, s Store) error {
	_, err := s.Put(ctx, s.Name(archiveNamed("x")), generated(10<<20, 1), nil)
	return err
}

func list(ctx context.Context, s Store) error {
	_, err := s.List(ctx, "")
	return err
}

func remove(ctx context.Context, s Store) error { return s.Delete(ctx, s.Name(archiveNamed("x"))) }

// A SAS that may only write is enough to upload.
func TestBlobWriteOnly(t *testing.T) {
	server := startAzurite(t)
	server.create(t, "captures")
	d := blobAt(server.url+"/captures", server.signed(t, "captures", azsas.ContainerPermissions{Write: true}, time.Time{}, time.Now().Add(time.Hour)))
	if err := put(t.Context(), opened(t, d, Options{})); err != nil {
		t.Error(err)
	}
}

func TestS3Refusals(t *testing.T) {
	address, buckets := startS3(t)
	with := func(change func(*wire.S3Destination)) wire.Destination {
		d := s3At("http://"+address, "p")
		change(d.S3)
		return d
	}
	for name, test := range map[string]struct {
		d      wire.Destination
		status int
		code   string
	}{
		"bucket": {with(func(d *wire.S3Destination) { d.Bucket = "nowhere" }), 404, "NoSuchBucket"},
		"key":    {with(func(d *wire.S3Destination) { d.SecretAccessKey = "wrongKey/with+characters=" }), 403, "SignatureDoesNotMatch"},
		"key ID": {with(func(d *wire.S3Destination) { d.AccessKeyID = "AKIDOTHER" }), 404, "XAdminUserNotFound"},
		"region": {with(func(d *wire.S3Destination) { d.Region = "mars-1" }), 400, "AuthorizationHeaderMalformed"},
	} {
		for _, operation := range []func(context.Context, Store) error{put, list, remove} {
			requests := &counting{next: http.DefaultTransport}
			err := operation(t.Context(), opened(t, test.d, Options{Transport: requests}))
			var e *Error
			if !errors.As(err, &e) || e.Status != test.status || e.Code != test.code || hint.Of(err) == "" {
				t.Errorf("%s: %v (%s), want %d %s", name, err, hint.Of(err), test.status, test.code)
				continue
			}
			if n := requests.requests.Load(); n != 1 {
				t.Errorf("%s: %d requests", name, n)
			}
			if look := leaks(shown(t, err), s3Key, s3KeyID, "wrongKey/with+characters=", "AKIDOTHER"); look != "" {
				t.Errorf("%s: shows %q: %v", name, look, err)
			}
		}
	}
	if left := leftParts(t, buckets); left != nil {
		t.Errorf("parts left: %q", left)
	}
}

// The memory of an upload does not grow with the archive.
func TestUploadMemory(t *testing.T) {
	const size = 300 << 20
	blobs := startAzurite(t)
	blobs.create(t, "captures")
	address, _ := startS3(t)
	for name, test := range map[string]struct {
		d     wire.Destination
		bound uint64
	}{
		"blob": {blobs.destination(t, "captures"), 16<<20 + 16<<20}, // 4 blocks of 4 MiB, and garbage
		"s3":   {s3At("http://"+address, "p"), 32<<20 + 32<<20},     // 4 parts of 8 MiB
	} {
		s := opened(t, test.d, Options{})
		runtime.GC()
		peak, done := watchHeap()
		begin := time.Now()
		receipt, err := s.Put(t.Context(), s.Name(archiveNamed("big")), generated(size, 9), nil)
		took := time.Since(begin)
		close(done)
		if err != nil || receipt.Bytes != size {
			t.Fatalf("%s: %+v %v", name, receipt, err)
		}
		t.Logf("%s: %d MB in %s, peak of HeapInuse %.1f MB over the start", name, size>>20, took.Round(time.Millisecond), float64(peak.Load())/(1<<20))
		if got := peak.Load(); got > test.bound {
			t.Errorf("%s: peak of %d bytes, want at most %d", name, got, test.bound)
		}
	}
}

// watchHeap samples how much the heap grows until done is closed.
func watchHeap() (*atomic.Uint64, chan struct{}) {
	var peak atomic.Uint64
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	start, done := stats.HeapInuse, make(chan struct{})
	go func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				var now runtime.MemStats
				runtime.ReadMemStats(&now)
				if now.HeapInuse > start {
					peak.Store(max(peak.Load(), now.HeapInuse-start))
				}
			}
		}
	}()
	return &peak, done
}
