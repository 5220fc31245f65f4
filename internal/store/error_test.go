package store

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

func destination(u ContainerURL) wire.Destination {
	return wire.Destination{Blob: &wire.BlobDestination{URL: u.URL}}
}

// stores are a Store of each service at the same server, whose secrets are in
// secrets.
func stores(t testing.TB, server string, o Options) map[string]Store {
	t.Helper()
	if o.RetryDelay == 0 {
		o.RetryDelay, o.MaxRetryDelay = time.Millisecond, 20*time.Millisecond
	}
	found := map[string]Store{}
	for name, d := range map[string]wire.Destination{
		"blob": {Blob: &wire.BlobDestination{URL: wire.Secret(sasURL(server + "/devstoreaccount1/captures"))}},
		"s3": {S3: &wire.S3Destination{
			Endpoint: server, Region: "us-east-1", Bucket: "captures", Path: "p",
			AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "TOPSECRETKEY", SessionToken: "SESSIONTOKEN",
		}},
	} {
		s, err := Open(d, o)
		if err != nil {
			t.Fatal(err)
		}
		found[name] = s
	}
	return found
}

// shown returns all that a user or a program may see of err, and fails if there
// is a secret in it.
func shown(t testing.TB, err error) string {
	t.Helper()
	said := hint.Of(err)
	for _, verb := range []string{"%v", "%+v", "%#v", "%q"} {
		said += fmt.Sprintf("; "+verb, err)
	}
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		said += fmt.Sprintf("; %+v", inner)
	}
	if look := leaks(said, plainSignature, "2024-11-04", "AKIDEXAMPLE", "TOPSECRETKEY", "SESSIONTOKEN"); look != "" {
		t.Errorf("error shows %q: %s", look, said)
	}
	return said
}

// unreachable are servers that give no answer, and what is said of them.
func TestErrorsOfTheNetwork(t *testing.T) {
	closed := httptest.NewServer(nil)
	closed.Close()
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	defer secure.Close()
	secure.Config.ErrorLog = nil
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	cutting := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	defer cutting.Close()
	tests := map[string]struct {
		server    string
		transport http.RoundTripper
		want      string
		tries     int64
	}{
		"refused":     {closed.URL, nil, "connection refused", 3},
		"certificate": {secure.URL, nil, "certificate", 1},
		"scheme":      {strings.Replace(plain.URL, "http:", "https:", 1), nil, "server speaks http, not https", 1},
		"cut":         {cutting.URL, nil, "connection was cut", 3},
		"name":        {"http://127.0.0.1:1", failing{&net.DNSError{Err: "no such host", Name: "acct.example", IsNotFound: true}}, "look up acct.example: no such host", 1},
		"name server": {"http://127.0.0.1:1", failing{&net.DNSError{Err: "server misbehaving", Name: "acct.example", IsTemporary: true}}, "look up acct.example: server misbehaving", 3},
		"host":        {"http://127.0.0.1:1", failing{x509.HostnameError{Certificate: &x509.Certificate{}, Host: "acct.example"}}, "acct.example", 1},
		"timeout":     {"http://127.0.0.1:1", failing{&net.OpError{Op: "dial", Net: "tcp", Err: os.ErrDeadlineExceeded}}, "i/o timeout", 3},
		"unknown":     {"http://127.0.0.1:1", failing{errors.New("boom https://h/p?sig=" + testSignature)}, "boom https://h/p", 3},
	}
	for name, test := range tests {
		transport := test.transport
		if transport == nil {
			transport = http.DefaultTransport.(*http.Transport).Clone()
		}
		for service := range stores(t, test.server, Options{}) {
			counting := &counting{next: transport}
			s := stores(t, test.server, Options{Transport: counting, Tries: 3})[service]
			_, err := s.Put(t.Context(), archiveNamed("a"), text("hello"), nil)
			said := shown(t, err)
			var e *Error
			if !strings.Contains(said, test.want) || !errors.As(err, &e) || e.Status != 0 {
				t.Errorf("%s of %s: %s, want %q", name, service, said, test.want)
			}
			if got := counting.requests.Load(); got != test.tries {
				t.Errorf("%s of %s: %d requests, want %d", name, service, got, test.tries)
			}
		}
	}
}

type failing struct{ err error }

func (f failing) RoundTrip(*http.Request) (*http.Response, error) { return nil, f.err }

type counting struct {
	next     http.RoundTripper
	requests atomic.Int64
}

func (c *counting) RoundTrip(r *http.Request) (*http.Response, error) {
	c.requests.Add(1)
	return c.next.RoundTrip(r)
}

// A service that repeats secrets in its answers: only its code comes out, and
// what is not worth another try gets none.
func TestErrorsOfTheServices(t *testing.T) {
	tests := []struct {
		status  int
		code    string
		tries   int64
		missing bool
	}{
		{403, "AuthenticationFailed", 1, false},
		{403, "AuthorizationPermissionMismatch", 1, false},
		{403, "AccessDenied", 1, false},
		{403, "SignatureDoesNotMatch", 1, false},
		{404, "ContainerNotFound", 1, false},
		{404, "NoSuchBucket", 1, false},
		{409, "ContainerBeingDeleted", 1, false},
		{301, "PermanentRedirect", 1, false},
		{302, "", 1, false},
		{408, "RequestTimeout", 3, false},
		{429, "TooManyRequests", 3, false},
		{500, "InternalError", 3, false},
		{502, "", 3, false},
		{503, "ServerBusy", 3, false},
		{504, "", 3, false},
	}
	for _, test := range tests {
		var requests atomic.Int64
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			requests.Add(1)
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Location", "http://127.0.0.1:1/?sig="+testSignature)
			if test.code != "" {
				w.Header().Set("x-ms-error-code", test.code)
			}
			w.WriteHeader(test.status)
			fmt.Fprintf(w, "<Error><Code>%s</Code><Message>You sent %s with key AKIDEXAMPLE, TOPSECRETKEY, SESSIONTOKEN\n%s</Message></Error>",
				test.code, r.URL, plainSignature)
		}))
		for service, s := range stores(t, server.URL, Options{Tries: 3}) {
			requests.Store(0)
			_, err := s.Put(t.Context(), archiveNamed("a"), text("hello"), nil)
			said := shown(t, err)
			var e *Error
			if !errors.As(err, &e) || e.Status != test.status || e.Code != test.code || !strings.HasPrefix(e.Cause, fmt.Sprint(test.status)) {
				t.Errorf("%d %s of %s: %s", test.status, test.code, service, said)
			}
			if !strings.HasPrefix(err.Error(), s.Where()+": upload "+archiveNamed("a")+": ") {
				t.Errorf("error %q", err)
			}
			if requests.Load() != test.tries {
				t.Errorf("%d %s of %s: %d requests, want %d", test.status, test.code, service, requests.Load(), test.tries)
			}
			_, err = s.List(t.Context(), "")
			shown(t, err)
			_, err = s.Stat(t.Context(), archiveNamed("a"))
			shown(t, err)
			_, err = s.Open(t.Context(), archiveNamed("a"), 7)
			shown(t, err)
			shown(t, s.Delete(t.Context(), archiveNamed("a")))
		}
		server.Close()
	}
}

func TestHintsForSignatures(t *testing.T) {
	s, err := parseSAS("sr=c&sp=rl&st=2026-11-22T10:00:00Z&se=2026-11-22T20:00:00Z&sig=" + testSignature)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		code, need string
		now        time.Time
		want       string
	}{
		{"AuthenticationFailed", "w", sasNow, "expired at 2026-11-22T20:00:00Z"},
		{"AuthorizationFailure", "w", sasNow, "expired at 2026-11-22T20:00:00Z"},
		{"AuthenticationFailed", "w", sasNow.Add(-24 * time.Hour), "not valid before 2026-11-22T10:00:00Z"},
		{"AuthenticationFailed", "w", sasNow.Add(-time.Hour), "whole and in quotes"},
		{"AuthenticationFailed", "w", time.Time{}, "whole and in quotes"},
		{"AuthorizationPermissionMismatch", "w", sasNow, "permits to write (sp has rl)"},
		{"AuthorizationPermissionMismatch", "l", sasNow, "permits to list"},
		{"AuthorizationFailure", "w", sasNow.Add(-time.Hour), "firewall"},
		{"ContainerNotFound", "w", sasNow, "container's name"},
	} {
		if got := s.hint("", test.need, test.now); got != "" {
			t.Errorf("hint without a code: %q", got)
		}
		if got := s.hint(bloberror.Code(test.code), test.need, test.now); !strings.Contains(got, test.want) {
			t.Errorf("%s: %q, want %q", test.code, got, test.want)
		}
	}
}

func TestOwnErrorsKeepTheirKind(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}))
	defer server.Close()
	broken := hint.Wrap(fmt.Errorf("read staged file: %w", syscall.EIO), "look at the disk")
	for service, s := range stores(t, server.URL, Options{}) {
		_, err := s.Put(t.Context(), archiveNamed("a"), func(io.Writer) error { return broken }, nil)
		if !errors.Is(err, syscall.EIO) || hint.Of(err) != "look at the disk" || !strings.Contains(err.Error(), "read staged file") {
			t.Errorf("%s: %v", service, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err = s.Put(ctx, archiveNamed("a"), text("hello"), nil)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", service, err)
		}
		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, cancel)
		if _, err := s.List(ctx, ""); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", service, err)
		}
	}
}

func TestMissingArchiveIsNotExist(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/devstoreaccount1/") {
			w.Header().Set("x-ms-error-code", "BlobNotFound")
		}
		w.WriteHeader(http.StatusNotFound)
		if r.Method != http.MethodHead {
			_, _ = io.WriteString(w, "<Error><Code>NoSuchKey</Code></Error>")
		}
	}))
	defer server.Close()
	for service, s := range stores(t, server.URL, Options{}) {
		_, open := s.Open(t.Context(), archiveNamed("a"), 0)
		_, stat := s.Stat(t.Context(), archiveNamed("a"))
		if !errors.Is(open, fs.ErrNotExist) || !errors.Is(stat, fs.ErrNotExist) {
			t.Errorf("%s: %v, %v", service, open, stat)
		}
		if err := s.Delete(t.Context(), archiveNamed("a")); err != nil {
			t.Errorf("%s: %v", service, err)
		}
	}
}

// The URL of an http client's error, as Go makes it.
func TestURLErrorsLoseTheirURL(t *testing.T) {
	err := &url.Error{Op: "Put", URL: sasURL(sasPlace), Err: &url.Error{Op: "proxyconnect", URL: sasURL(sasPlace), Err: io.ErrUnexpectedEOF}}
	if got := examineNetwork(fmt.Errorf("wrapped: %w", err)); got.cause != "connection was cut" {
		t.Errorf("%q", got.cause)
	}
}
