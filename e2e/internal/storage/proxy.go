//go:build linux

package storage

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kubectl-retina/kubectl-retina/e2e/internal/lab"
)

// Proxy stands before a server and can be told to make it fail, while it runs.
// It is safe for concurrent use.
type Proxy struct {
	URL string // without a slash at its end

	address netip.AddrPort
	listen  func(netip.AddrPort) (net.Listener, error)
	server  *http.Server
	forward *httputil.ReverseProxy // nil: there is no server behind it

	certificates []tls.Certificate // none: plain HTTP

	mu       sync.Mutex
	listener net.Listener // nil: connections are refused
	conns    map[net.Conn]bool
	fault    Fault
	until    time.Time // zero: no end of fault
	left     int       // of fault.Times
	seen     []*exchange
	next     time.Time     // when a byte may pass at fault.BytesPerSecond
	hole     chan struct{} // closed when the black hole ends; nil: there is none
}

// StartProxy starts a proxy before the server at target, the URL of an Azurite or
// an S3, and ends it at the end of the test. An empty target is none: requests are
// answered 404 unless a Fault has another Status.
func StartProxy(t testing.TB, c *lab.Cluster, target string) *Proxy {
	t.Helper()
	return startProxy(t, c, "http", target)
}

// StartTLSProxy is StartProxy for https, with a certificate that nobody trusts.
func StartTLSProxy(t testing.TB, c *lab.Cluster, target string) *Proxy {
	t.Helper()
	return startProxy(t, c, "https", target)
}

func startProxy(t testing.TB, c *lab.Cluster, scheme, target string) *Proxy {
	t.Helper()
	address, err := freeAddress(c)
	if err != nil {
		t.Fatal(err)
	}
	p, err := newProxy(scheme, address, target, c.Listen, c.Dial)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	return p
}

type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

func newProxy(scheme string, address netip.AddrPort, target string, listen func(netip.AddrPort) (net.Listener, error), dial dialFunc) (*Proxy, error) {
	p := &Proxy{URL: scheme + "://" + address.String(), address: address, listen: listen, conns: map[net.Conn]bool{}}
	silent := log.New(io.Discard, "", 0)
	p.server = &http.Server{
		Handler: p, ConnState: p.track, ErrorLog: silent,
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, conn)
		},
	}
	if scheme == "https" {
		certificate, err := selfSigned(address.Addr())
		if err != nil {
			return nil, err
		}
		p.certificates = []tls.Certificate{certificate}
	}
	if target != "" {
		to, err := url.Parse(target)
		if err != nil {
			return nil, err
		}
		p.forward = &httputil.ReverseProxy{
			Rewrite: func(r *httputil.ProxyRequest) {
				r.Out.URL.Scheme, r.Out.URL.Host, r.Out.URL.RawQuery = to.Scheme, to.Host, r.In.URL.RawQuery
				r.Out.Host = r.In.Host // it is part of what S3 signs
			},
			Transport:      &http.Transport{DialContext: dial, DisableCompression: true, MaxIdleConnsPerHost: 64},
			FlushInterval:  -1, // what was let through has arrived when the connection is cut
			ModifyResponse: p.limitResponse,
			ErrorLog:       silent,
		}
	}
	return p, p.Refuse(false)
}

// Through returns address, a URL at the server behind the proxy, as one that leads
// through the proxy.
func (p *Proxy) Through(address string) string {
	_, rest, _ := strings.Cut(address, "://")
	_, path, _ := strings.Cut(rest, "/")
	return p.URL + "/" + path
}

// Set makes f what happens to requests that arrive from now on, in place of what
// was set before.
func (p *Proxy) Set(f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault, p.left, p.until, p.next = f, f.Times, time.Time{}, time.Time{}
	if f.For > 0 {
		p.until = time.Now().Add(f.For)
	}
}

// Requests returns what the proxy has seen since it was started or reset.
func (p *Proxy) Requests() []Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []Request
	for _, e := range p.seen {
		r := e.Request
		r.Header = r.Header.Clone()
		all = append(all, r)
	}
	return all
}

// Faulted is how many requests were befallen by a Fault.
func (p *Proxy) Faulted() int {
	return len(slices.DeleteFunc(p.Requests(), func(r Request) bool { return !r.Faulted }))
}

// Reset forgets the requests.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = nil
}

// Refuse makes the proxy refuse connections and reset those that there are, or
// listen again.
func (p *Proxy) Refuse(yes bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if yes {
		if p.listener == nil {
			return nil
		}
		err := p.listener.Close()
		p.listener = nil
		for conn := range p.conns {
			reset(conn)
		}
		return err
	}
	if p.listener != nil {
		return nil
	}
	l, err := p.listen(p.address)
	if err != nil {
		return err
	}
	p.listener = l
	if p.certificates != nil {
		l = tls.NewListener(l, &tls.Config{Certificates: p.certificates})
	}
	go func() { _ = p.server.Serve(l) }() // until it is closed
	return nil
}

// BlackHole makes all packets to the proxy vanish, those of connections that
// there are too, or lets them arrive again, which the peers' TCP then notices by
// itself.
func (p *Proxy) BlackHole(yes bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if yes == (p.hole != nil) {
		return nil
	}
	if yes {
		p.hole = make(chan struct{})
	} else {
		close(p.hole)
		p.hole = nil
	}
	var errs []error
	if p.listener != nil {
		errs = append(errs, discard(p.listener, yes))
	}
	for conn := range p.conns {
		if err := discard(conn, yes); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (p *Proxy) track(conn net.Conn, state http.ConnState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch state {
	case http.StateNew:
		p.conns[conn] = true
		// It has the filter that the listener had when it was made.
		_ = discard(conn, p.hole != nil)
	case http.StateClosed, http.StateHijacked:
		delete(p.conns, conn)
	}
}

func (p *Proxy) close() {
	p.Set(Fault{})
	_ = p.BlackHole(false)
	_ = p.Refuse(true)
	_ = p.server.Close()
}
