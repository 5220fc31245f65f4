//go:build linux && !unit

package store

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// A fault decides what a proxy does with a request: true when it has dealt with
// it, false to pass it on.
type fault func(w http.ResponseWriter, r *http.Request, pass http.Handler) bool

// proxied returns a server before that at target, with faults.
func proxied(t testing.TB, target string, f fault) *httptest.Server {
	t.Helper()
	to, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	pass := &httputil.ReverseProxy{
		// The host is a part of the signatures of S3: it stays.
		Rewrite:      func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = to.Scheme, to.Host },
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !f(w, r, pass) {
			pass.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(func() {
		proxy.CloseClientConnections()
		proxy.Close()
	})
	return proxy
}

// first makes a fault of the first n requests that fit.
func first(n int64, fits func(*http.Request) bool, f func(w http.ResponseWriter, r *http.Request, pass http.Handler)) fault {
	var seen atomic.Int64
	return func(w http.ResponseWriter, r *http.Request, pass http.Handler) bool {
		if !fits(r) || seen.Add(1) > n {
			return false
		}
		f(w, r, pass)
		return true
	}
}

func anything(*http.Request) bool { return true }

// isBlock reports whether a request brings a block or a part.
func isBlock(r *http.Request) bool {
	return r.URL.Query().Get("comp") == "block" || r.URL.Query().Has("partNumber")
}

// isCommit reports whether a request makes an archive of its blocks or parts.
func isCommit(r *http.Request) bool {
	return r.URL.Query().Get("comp") == "blocklist" || r.Method == http.MethodPost && r.URL.Query().Has("uploadId")
}

func answering(status int, header ...string) func(http.ResponseWriter, *http.Request, http.Handler) {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		_, _ = io.Copy(io.Discard, r.Body)
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
	}
}

// cut resets the connection.
func cut(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	_ = conn.(*net.TCPConn).SetLinger(0)
	_ = conn.Close()
}

// swallow never reads and never answers.
func swallow(t testing.TB) func(http.ResponseWriter, *http.Request, http.Handler) {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
}

// services are the destinations of one test, each as seen through a proxy.
func services(t testing.TB) map[string]func(f fault) wire.Destination {
	blobs := startAzurite(t)
	blobs.create(t, "captures")
	query := blobs.signed(t, "captures", everything(), time.Time{}, time.Now().Add(time.Hour))
	address, buckets := startS3(t)
	t.Cleanup(func() {
		if left := leftParts(t, buckets); left != nil {
			t.Errorf("parts left: %q", left)
		}
	})
	return map[string]func(f fault) wire.Destination{
		"blob": func(f fault) wire.Destination {
			account := strings.TrimSuffix(blobs.url, "/"+azuriteAccount)
			return blobAt(proxied(t, account, f).URL+"/"+azuriteAccount+"/captures", query)
		},
		"s3": func(f fault) wire.Destination { return s3At(proxied(t, "http://"+address, f).URL, "p") },
	}
}

// impatient is for faults that are over soon.
func impatient() Options {
	return Options{RetryDelay: time.Millisecond, MaxRetryDelay: 20 * time.Millisecond, Stall: 2 * time.Second}
}

// Whatever happens for a while: the archive arrives, and it is the right one.
func TestTransientFaults(t *testing.T) {
	const size = 21<<20 + 5
	want := sumOfBytes(whole(t, generated(size, 7)))
	faults := map[string]struct {
		fault func() fault
		o     Options
		least time.Duration
	}{
		"500":               {func() fault { return first(5, anything, answering(500)) }, impatient(), 0},
		"503":               {func() fault { return first(5, anything, answering(503)) }, impatient(), 0},
		"429":               {func() fault { return first(5, isBlock, answering(429)) }, impatient(), 0},
		"503 at the commit": {func() fault { return first(3, isCommit, answering(503)) }, impatient(), 0},
		"503 come again": {func() fault { return first(1, isBlock, answering(503, "Retry-After", "1")) },
			Options{RetryDelay: time.Millisecond, MaxRetryDelay: 2 * time.Second}, time.Second},
		"cut in the middle of a block": {func() fault {
			return first(5, isBlock, func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
				_, _ = io.CopyN(io.Discard, r.Body, 1<<20)
				cut(w)
			})
		}, impatient(), 0},
		"cut before the answer": {func() fault {
			return first(4, isBlock, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
				pass.ServeHTTP(httptest.NewRecorder(), r)
				cut(w)
			})
		}, impatient(), 0},
		"cut before the answer to the commit": {func() fault {
			return first(1, isCommit, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
				pass.ServeHTTP(httptest.NewRecorder(), r)
				cut(w)
			})
		}, impatient(), 0},
		"damaged block": {func() fault {
			return first(2, isBlock, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
				block, _ := io.ReadAll(r.Body)
				block[len(block)/2] ^= 1
				r.Body = io.NopCloser(bytes.NewReader(block))
				pass.ServeHTTP(w, r)
			})
		}, impatient(), 0},
		"black hole": {func() fault {
			return first(3, isBlock, swallow(t))
		}, Options{RetryDelay: time.Millisecond, Stall: 300 * time.Millisecond}, 0},
		// Each block takes twice as long as nothing may move.
		"slow": {func() fault {
			return func(_ http.ResponseWriter, r *http.Request, _ http.Handler) bool {
				if isBlock(r) {
					r.Body = io.NopCloser(slowReader{r.Body, 256 << 10, 60 * time.Millisecond})
				}
				return false
			}
		}, Options{Stall: 500 * time.Millisecond, Tries: 1}, 900 * time.Millisecond},
	}
	for service, destination := range services(t) {
		for name, test := range faults {
			t.Run(service+" "+name, func(t *testing.T) {
				s := opened(t, destination(test.fault()), test.o)
				archive := s.Name(archiveNamed("x"))
				begin := time.Now()
				receipt, err := s.Put(t.Context(), archive, generated(size, 7), nil)
				if err != nil || receipt.SHA256 != want || receipt.Bytes != size {
					t.Fatalf("%+v %v", receipt, err)
				}
				if took := time.Since(begin); took < test.least {
					t.Errorf("took %s, want at least %s", took, test.least)
				}
				if got := readSum(t, s, archive); got != want {
					t.Errorf("stored %s, want %s", got, want)
				}
				if err := s.Delete(t.Context(), archive); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func readSum(t testing.TB, s Store, name string) string {
	t.Helper()
	body, err := s.Open(t.Context(), name, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	sums := newSums()
	if _, err := io.Copy(sums, body); err != nil {
		t.Fatal(err)
	}
	return sums.sha256()
}

// What lasts is told with its code, and no part of the upload stays.
func TestLastingFaults(t *testing.T) {
	for service, destination := range services(t) {
		for name, test := range map[string]struct {
			fault fault
			want  string
		}{
			"503":        {first(1<<40, isBlock, answering(503, "x-ms-error-code", "ServerBusy")), "503 S"},
			"507":        {first(1<<40, isBlock, answering(507)), "507 Insufficient"},
			"403 late":   {later(2, isBlock, answering(403)), "403 Forbidden"},
			"cut":        {first(1<<40, isBlock, func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { cut(w) }), "connection was cut"},
			"black hole": {first(1<<40, isBlock, swallow(t)), "server does not answer"},
			"at the end": {first(1<<40, isCommit, answering(500)), "500 Internal"},
		} {
			o := impatient()
			o.Tries = 3
			if name == "black hole" {
				o.Stall = 300 * time.Millisecond
			}
			d := destination(test.fault)
			s := opened(t, d, o)
			_, err := s.Put(t.Context(), s.Name(archiveNamed("x")), generated(21<<20, 7), nil)
			var e *Error
			if !errors.As(err, &e) || !strings.HasPrefix(e.Cause, test.want) {
				t.Errorf("%s of %s: %v, want %q", name, service, err, test.want)
			}
			shown(t, err)
			if objects, err := opened(t, d, Options{}).List(t.Context(), ""); err != nil || len(objects) != 0 {
				t.Errorf("%s of %s: left %+v, %v", name, service, objects, err)
			}
		}
	}
}

// later lets n requests that fit pass.
func later(n int64, fits func(*http.Request) bool, f func(http.ResponseWriter, *http.Request, http.Handler)) fault {
	var seen atomic.Int64
	return func(w http.ResponseWriter, r *http.Request, pass http.Handler) bool {
		if !fits(r) || seen.Add(1) <= n {
			return false
		}
		f(w, r, pass)
		return true
	}
}

// A download goes on where its connection broke, from the same archive only.
func TestDownloadOverBreakingConnections(t *testing.T) {
	const size = 5<<20 + 1
	isGet := func(r *http.Request) bool {
		return r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, ".tar.gz")
	}
	breaking := func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		recorder := httptest.NewRecorder()
		pass.ServeHTTP(recorder, r)
		for key, values := range recorder.Header() {
			w.Header()[key] = values
		}
		w.WriteHeader(recorder.Code)
		body := recorder.Body.Bytes()
		_, _ = w.Write(body[:min(len(body), 1<<20)])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	for service, destination := range services(t) {
		s := opened(t, destination(first(4, isGet, breaking)), impatient())
		name := s.Name(archiveNamed("x"))
		if _, err := s.Put(t.Context(), name, generated(size, 7), nil); err != nil {
			t.Fatal(err)
		}
		if got, want := readSum(t, s, name), sumOfBytes(whole(t, generated(size, 7))); got != want {
			t.Errorf("%s: read %s, want %s", service, got, want)
		}
		var replaced atomic.Bool // the server's goroutine sets it
		s = opened(t, destination(first(1, isGet, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
			defer func() { // the connection breaks after the archive was replaced
				_, err := opened(t, destination(func(http.ResponseWriter, *http.Request, http.Handler) bool { return false }), impatient()).
					Put(t.Context(), name, generated(size, 8), nil)
				replaced.Store(err == nil)
				panic(http.ErrAbortHandler)
			}()
			defer func() { _ = recover() }()
			breaking(w, r, pass)
		})), impatient())
		body, err := s.Open(t.Context(), name, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(io.Discard, body)
		var e *Error
		if !replaced.Load() || !errors.As(err, &e) || e.Status != http.StatusPreconditionFailed {
			t.Errorf("%s: read of a replaced archive: %v", service, err)
		}
		_ = body.Close()
		if err := s.Delete(t.Context(), name); err != nil {
			t.Error(err)
		}
	}
}
