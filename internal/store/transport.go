package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// How long a server may take to be reached.
const (
	dialTimeout      = 10 * time.Second
	handshakeTimeout = 10 * time.Second
)

// sendBufferBytes is what the kernel may keep of a connection's data. Whole
// blocks in there would look like a server that does not answer: see stallGuard.
const sendBufferBytes = 256 << 10

// errStalled ends a request through which nothing moves.
var errStalled = errors.New("server does not answer")

// newClient returns the HTTP client of a Store. It follows no redirects: what is
// sent would reach somebody else than the user named.
func newClient(o Options) *http.Client {
	next := o.Transport
	if next == nil {
		next = &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           dial,
			TLSHandshakeTimeout:   handshakeTimeout,
			ForceAttemptHTTP2:     true,
			MaxIdleConnsPerHost:   blocksInMemory,
			IdleConnTimeout:       time.Minute,
			ExpectContinueTimeout: time.Second,
		}
	}
	return &http.Client{
		Transport:     stallGuard{next: next, after: o.Stall},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, network, address)
	if tcp, ok := conn.(*net.TCPConn); ok && err == nil {
		_ = tcp.SetWriteBuffer(sendBufferBytes)
	}
	return conn, err
}

// A stallGuard gives up a request when nothing has moved for a while, in either
// direction. Unlike a timeout it lets a slow line take its time.
type stallGuard struct {
	next  http.RoundTripper
	after time.Duration
}

// RoundTrip implements http.RoundTripper.
func (g stallGuard) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	watch := &watch{after: g.after}
	watch.timer = time.AfterFunc(g.after, func() { cancel(fmt.Errorf("%w for %s", errStalled, g.after)) })
	watched := req.Clone(ctx)
	watched.Body = watch.body(req.Body)
	if get := req.GetBody; get != nil {
		watched.GetBody = func() (io.ReadCloser, error) {
			body, err := get()
			return watch.body(body), err
		}
	}
	response, err := g.next.RoundTrip(watched)
	watch.timer.Stop()
	if err != nil {
		if cause := context.Cause(ctx); errors.Is(cause, errStalled) {
			err = cause
		}
		cancel(nil)
		return nil, err
	}
	response.Body = &watchedResponse{ReadCloser: response.Body, watch: watch, ctx: ctx, cancel: cancel}
	return response, nil
}

// A watch waits for the next move.
type watch struct {
	timer *time.Timer
	after time.Duration
}

func (w *watch) body(body io.ReadCloser) io.ReadCloser {
	if body == nil || body == http.NoBody {
		return body
	}
	return watchedRequest{body, w}
}

// A watchedRequest is the body of a request: the next piece is read when the one
// before has been sent.
type watchedRequest struct {
	io.ReadCloser
	watch *watch
}

func (r watchedRequest) Read(p []byte) (int, error) {
	r.watch.timer.Reset(r.watch.after)
	return r.ReadCloser.Read(p)
}

// A watchedResponse is watched while somebody waits for it, and not while
// nobody reads.
type watchedResponse struct {
	io.ReadCloser
	watch  *watch
	ctx    context.Context
	cancel context.CancelCauseFunc
}

func (r *watchedResponse) Read(p []byte) (int, error) {
	r.watch.timer.Reset(r.watch.after)
	n, err := r.ReadCloser.Read(p)
	r.watch.timer.Stop()
	if err != nil && !errors.Is(err, io.EOF) {
		if cause := context.Cause(r.ctx); errors.Is(cause, errStalled) {
			err = cause
		}
	}
	return n, err
}

func (r *watchedResponse) Close() error {
	err := r.ReadCloser.Close()
	r.watch.timer.Stop()
	r.cancel(nil)
	return err
}
