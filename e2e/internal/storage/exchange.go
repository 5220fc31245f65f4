//go:build linux

package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"time"
)

// A Fault is what a proxy does to requests. The zero Fault does nothing; several
// fields may be set.
type Fault struct {
	// Match selects requests by method, URL or ContentLength; nil: every one.
	Match func(*http.Request) bool
	// Times is how many requests it befalls; 0: any number.
	Times int
	// For is how long after Set it lasts; 0: until the next Set.
	For time.Duration

	// Delay passes before anything else happens to a request that has arrived.
	Delay time.Duration
	// Status is answered, when the body has been read, in place of what the server
	// would; 0: the server is asked.
	Status int
	// Code is the error that a Status names, as both services do. Empty:
	// InternalError for 500, ServerBusy for 503, none for others.
	Code string
	// Header is added to the answer of a Status: Retry-After, Location.
	Header http.Header
	// BytesPerSecond is shared by all bodies, of requests and answers; 0: no limit.
	BytesPerSecond int64
	// CutRequest resets the connection after so many bytes of a request's body. It
	// befalls requests that have more. 0: not.
	CutRequest int64
	// CutResponse closes the connection after so many bytes of an answer's body have
	// been sent. 0: not.
	CutResponse int64
}

// A Request is one that a proxy has seen.
type Request struct {
	Time    time.Time // when it arrived
	Method  string
	URI     string // as in the request line
	Host    string
	Header  http.Header
	Body    int64 // bytes that have been read of its body
	Status  int   // of the answer; 0: none yet, or the connection was cut
	Faulted bool  // it was befallen by a Fault
}

// Line is the request line.
func (r Request) Line() string { return r.Method + " " + r.URI }

// exchange is a request and what happens to it.
type exchange struct {
	Request
	fault Fault
	conn  net.Conn
	cut   bool
}

type exchangeKey struct{}
type connKey struct{}

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	e := p.begin(r)
	if err := sleep(ctx, e.fault.Delay); err != nil {
		return
	}
	r.Body = &requestBody{ReadCloser: r.Body, ctx: ctx, proxy: p, exchange: e}
	writer := &statusWriter{ResponseWriter: w, proxy: p, exchange: e}
	switch {
	case e.fault.Status != 0:
		if _, err := io.Copy(io.Discard, r.Body); err == nil && p.pass(ctx, e, 0) == nil {
			answer(writer, e.fault)
		}
	case p.forward == nil:
		http.NotFound(writer, r)
	default:
		p.forward.ServeHTTP(writer, r.WithContext(context.WithValue(ctx, exchangeKey{}, e)))
	}
}

// begin writes down a request and decides what happens to it.
func (p *Proxy) begin(r *http.Request) *exchange {
	e := &exchange{Request: Request{
		Time: time.Now(), Method: r.Method, URI: r.RequestURI, Host: r.Host, Header: r.Header.Clone(),
	}}
	e.conn, _ = r.Context().Value(connKey{}).(net.Conn)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = append(p.seen, e)
	f := p.fault
	switch {
	case f.isZero(), f.Match != nil && !f.Match(r), !p.until.IsZero() && time.Now().After(p.until):
		return e
	case f.CutRequest > 0 && r.ContentLength >= 0 && r.ContentLength <= f.CutRequest:
		return e
	case f.Times > 0 && p.left == 0:
		return e
	}
	p.left--
	e.fault, e.Faulted = f, true
	return e
}

// isZero reports whether f does nothing.
func (f Fault) isZero() bool {
	return f.Delay == 0 && f.Status == 0 && f.BytesPerSecond == 0 && f.CutRequest == 0 && f.CutResponse == 0
}

// maxChunk is how much of a body is let through at once.
const maxChunk = 32 << 10

// chunk is how much of b may be filled at once, so that a limit of bytes a second
// does not let them through in heaps.
func (f Fault) chunk(b []byte) []byte {
	n := int64(maxChunk)
	if f.BytesPerSecond > 0 {
		n = min(n, max(f.BytesPerSecond/20, 1))
	}
	return b[:min(int64(len(b)), n)]
}

// pass waits until n more bytes may go through the proxy.
func (p *Proxy) pass(ctx context.Context, e *exchange, n int) error {
	p.mu.Lock()
	var pause time.Duration
	if e.fault.BytesPerSecond > 0 {
		now := time.Now()
		if p.next.Before(now) {
			p.next = now
		}
		p.next = p.next.Add(time.Duration(n) * time.Second / time.Duration(e.fault.BytesPerSecond))
		pause = p.next.Sub(now)
	}
	hole := p.hole
	p.mu.Unlock()
	if hole != nil {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-hole:
		}
	}
	return sleep(ctx, pause)
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

var errCut = errors.New("connection is cut")

// requestBody is the body of a request on its way to the server.
type requestBody struct {
	io.ReadCloser
	ctx      context.Context
	proxy    *Proxy
	exchange *exchange
}

// Read implements io.Reader.
func (r *requestBody) Read(b []byte) (int, error) {
	e := r.exchange
	b = e.fault.chunk(b)
	if cut := e.fault.CutRequest; cut > 0 {
		b = b[:min(int64(len(b)), cut-e.Body)]
		if e.Body == cut {
			r.proxy.mu.Lock()
			e.cut = true
			r.proxy.mu.Unlock()
			reset(e.conn)
			return 0, errCut
		}
	}
	n, err := r.ReadCloser.Read(b)
	r.proxy.mu.Lock()
	e.Body += int64(n)
	r.proxy.mu.Unlock()
	if passed := r.proxy.pass(r.ctx, e, n); passed != nil {
		return n, passed
	}
	return n, err
}

// limitResponse befalls the answer of the server.
func (p *Proxy) limitResponse(response *http.Response) error {
	e, ok := response.Request.Context().Value(exchangeKey{}).(*exchange)
	if !ok {
		return errors.New("answer to no request")
	}
	response.Body = &responseBody{ReadCloser: response.Body, ctx: response.Request.Context(), proxy: p, exchange: e}
	return p.pass(response.Request.Context(), e, 0)
}

// responseBody is the body of an answer on its way from the server.
type responseBody struct {
	io.ReadCloser
	ctx      context.Context
	proxy    *Proxy
	exchange *exchange
	sent     int64
}

// Read implements io.Reader. An error makes the reverse proxy close the connection
// to the client.
func (r *responseBody) Read(b []byte) (int, error) {
	f := r.exchange.fault
	b = f.chunk(b)
	if f.CutResponse > 0 {
		if r.sent == f.CutResponse {
			return 0, errCut
		}
		b = b[:min(int64(len(b)), f.CutResponse-r.sent)]
	}
	n, err := r.ReadCloser.Read(b)
	r.sent += int64(n)
	if passed := r.proxy.pass(r.ctx, r.exchange, n); passed != nil {
		return n, passed
	}
	return n, err
}

// answer writes the error that f asks for, in the words of both services.
func answer(w http.ResponseWriter, f Fault) {
	code := f.Code
	if code == "" {
		code = map[int]string{http.StatusInternalServerError: "InternalError", http.StatusServiceUnavailable: "ServerBusy"}[f.Status]
	}
	maps.Copy(w.Header(), f.Header)
	w.Header().Set("Content-Type", "application/xml")
	if code != "" {
		w.Header().Set("x-ms-error-code", code)
	}
	w.WriteHeader(f.Status)
	fmt.Fprintf(w, `<?xml version="1.0" encoding="utf-8"?><Error><Code>%s</Code><Message>The test wants it so.</Message></Error>`, code)
}

// statusWriter writes down the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	proxy    *Proxy
	exchange *exchange
}

// WriteHeader implements http.ResponseWriter.
func (w *statusWriter) WriteHeader(status int) {
	w.proxy.mu.Lock()
	if status >= http.StatusOK && !w.exchange.cut {
		w.exchange.Status = status
	}
	w.proxy.mu.Unlock()
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
