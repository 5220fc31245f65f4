//go:build linux

package storage

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// behind returns a proxy on the loopback interface before a server that answers a
// PUT with the size of its body, and anything else with so many bytes as its query
// asks for.
func behind(t *testing.T) *Proxy {
	t.Helper()
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			n, err := io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, n, err)
			return
		}
		n, _ := strconv.Atoi(r.FormValue("bytes"))
		_, _ = w.Write(make([]byte, n))
	}))
	t.Cleanup(target.Close)
	return before(t, "http", target.URL)
}

func before(t *testing.T, scheme, target string) *Proxy {
	t.Helper()
	any, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := netip.MustParseAddrPort(any.Addr().String())
	if err := any.Close(); err != nil {
		t.Fatal(err)
	}
	p, err := newProxy(scheme, address, target, listenTCP, new(net.Dialer).DialContext)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	return p
}

type reply struct {
	status int
	body   string
	err    error
	took   time.Duration
}

func (r reply) String() string {
	return fmt.Sprintf("status %d, %d bytes %.100q after %s, error %v", r.status, len(r.body), r.body, r.took, r.err)
}

// ask makes one request, on a connection of its own unless the client is given.
func ask(t *testing.T, client *http.Client, method, url string, body []byte) reply {
	t.Helper()
	if client == nil {
		transport := &http.Transport{DisableKeepAlives: true}
		client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	response, err := client.Do(request)
	if err != nil {
		return reply{err: err, took: time.Since(began)}
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return reply{response.StatusCode, string(text), err, time.Since(began)}
}

func TestProxyForwards(t *testing.T) {
	p := behind(t)
	if r := ask(t, nil, http.MethodPut, p.Through("http://server:1/a/b?sig=x%2By&a"), make([]byte, 100_000)); r.body != "100000 <nil>" {
		t.Errorf("answer %s", r)
	}
	got := p.Requests()
	if len(got) != 1 || got[0].Line() != "PUT /a/b?sig=x%2By&a" || got[0].Status != 200 || got[0].Body != 100_000 || got[0].Faulted {
		t.Errorf("requests %+v", got)
	}
	if p.Reset(); len(p.Requests()) != 0 {
		t.Errorf("requests after Reset: %+v", p.Requests())
	}
}

func TestProxyAnswers(t *testing.T) {
	p := behind(t)
	p.Set(Fault{Times: 2, Status: 503, Header: http.Header{"Retry-After": {"1"}}})
	var got []int
	for range 3 {
		got = append(got, ask(t, nil, http.MethodPut, p.URL, make([]byte, 1000)).status)
	}
	if diff := cmp.Diff([]int{503, 503, 200}, got); diff != "" {
		t.Error(diff)
	}
	if p.Faulted() != 2 {
		t.Errorf("%d faulted, want 2", p.Faulted())
	}
	p.Set(Fault{Status: 500, Code: "SlowDown", Match: func(r *http.Request) bool { return r.URL.Path == "/a" }})
	if r := ask(t, nil, http.MethodGet, p.URL+"/a", nil); r.status != 500 || !strings.Contains(r.body, "<Code>SlowDown</Code>") {
		t.Errorf("matching: %s", r)
	}
	if r := ask(t, nil, http.MethodGet, p.URL+"/b", nil); r.status != 200 {
		t.Errorf("not matching: %s", r)
	}
	p.Set(Fault{Status: 500, For: time.Nanosecond})
	if r := ask(t, nil, http.MethodGet, p.URL, nil); r.status != 200 {
		t.Errorf("after its time: %s", r)
	}
}

func TestProxyBeforeNothing(t *testing.T) {
	p := before(t, "http", "")
	if r := ask(t, nil, http.MethodGet, p.URL, nil); r.status != 404 {
		t.Errorf("answer %s", r)
	}
	p.Set(Fault{Status: 307, Header: http.Header{"Location": {"http://192.0.2.1/"}}})
	if r := ask(t, nil, http.MethodGet, p.URL, nil); r.status != 307 {
		t.Errorf("answer %s", r)
	}
}

func TestProxyCutsRequest(t *testing.T) {
	p := behind(t)
	p.Set(Fault{Times: 1, CutRequest: 200_000})
	if r := ask(t, nil, http.MethodPut, p.URL, make([]byte, 200_000)); r.body != "200000 <nil>" {
		t.Errorf("not more than that: %s", r)
	}
	body := make([]byte, 20<<20) // more than the kernel buffers
	if r := ask(t, nil, http.MethodPut, p.URL, body); r.err == nil {
		t.Errorf("cut: %s", r)
	}
	if r := ask(t, nil, http.MethodPut, p.URL, body); r.body != "20971520 <nil>" {
		t.Errorf("the second: %s", r)
	}
	if got := p.Requests()[1]; got.Body != 200_000 || got.Status != 0 || !got.Faulted {
		t.Errorf("the request that was cut: %+v", got)
	}
}

func TestProxyCutsResponse(t *testing.T) {
	p := behind(t)
	p.Set(Fault{CutResponse: 100_000})
	if r := ask(t, nil, http.MethodGet, p.URL+"?bytes=1000000", nil); !errors.Is(r.err, io.ErrUnexpectedEOF) || len(r.body) != 100_000 {
		t.Errorf("%d bytes, %v", len(r.body), r.err)
	}
}

func TestProxySlows(t *testing.T) {
	p := behind(t)
	p.Set(Fault{Delay: 300 * time.Millisecond})
	if r := ask(t, nil, http.MethodGet, p.URL, nil); r.took < 300*time.Millisecond {
		t.Errorf("delay: %s", r)
	}
	p.Set(Fault{BytesPerSecond: 1 << 20})
	if r := ask(t, nil, http.MethodPut, p.URL, make([]byte, 512<<10)); r.took < 400*time.Millisecond || r.took > 3*time.Second {
		t.Errorf("512 KiB at 1 MiB/s up: %s", r)
	}
	if r := ask(t, nil, http.MethodGet, p.URL+"?bytes=524288", nil); r.took < 400*time.Millisecond || len(r.body) != 512<<10 {
		t.Errorf("512 KiB at 1 MiB/s down: %s, %d bytes", r.took, len(r.body))
	}
}

func TestProxyRefuses(t *testing.T) {
	p := behind(t)
	if err := p.Refuse(true); err != nil {
		t.Fatal(err)
	}
	if r := ask(t, nil, http.MethodGet, p.URL, nil); !errors.Is(r.err, syscall.ECONNREFUSED) {
		t.Errorf("refusing: %s", r)
	}
	if err := p.Refuse(false); err != nil {
		t.Fatal(err)
	}
	if r := ask(t, nil, http.MethodGet, p.URL, nil); r.status != 200 {
		t.Errorf("listening again: %s", r)
	}
}

// TestProxyBlackHole opens the hole under a connection that is in use, and looks
// at a new one too: neither is answered nor refused, and both go on later.
func TestProxyBlackHole(t *testing.T) {
	p := behind(t)
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	if r := ask(t, client, http.MethodGet, p.URL, nil); r.status != 200 {
		t.Fatalf("before: %s", r)
	}
	if err := p.BlackHole(true); err != nil {
		t.Fatal(err)
	}
	replies := make(chan reply)
	go func() { replies <- ask(t, client, http.MethodGet, p.URL+"?old", nil) }()
	go func() { replies <- ask(t, nil, http.MethodGet, p.URL+"?new", nil) }()
	select {
	case r := <-replies:
		t.Errorf("in the hole: %s", r)
	case <-time.After(time.Second):
	}
	if got := len(p.Requests()); got != 1 {
		t.Errorf("%d requests came through, want the 1 from before", got)
	}
	if err := p.BlackHole(false); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if r := <-replies; r.status != 200 {
			t.Errorf("after: %s", r)
		}
	}
}

func TestProxySpeaksTLS(t *testing.T) {
	p := before(t, "https", behind(t).URL)
	var unknown x509.UnknownAuthorityError
	if r := ask(t, nil, http.MethodGet, p.URL, nil); !errors.As(r.err, &unknown) {
		t.Errorf("certificate of nobody: %s", r)
	}
	trusting := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer trusting.CloseIdleConnections()
	if r := ask(t, trusting, http.MethodPut, p.URL, make([]byte, 1000)); r.body != "1000 <nil>" {
		t.Errorf("answer %s", r)
	}
	p.Set(Fault{CutRequest: 10})
	if r := ask(t, trusting, http.MethodPut, p.URL, make([]byte, 1000)); r.err == nil {
		t.Errorf("cut: %s", r)
	}
	if err := errors.Join(p.BlackHole(true), p.BlackHole(false), p.Refuse(true)); err != nil {
		t.Error(err)
	}
}

// listenTCP listens here.
func listenTCP(address netip.AddrPort) (net.Listener, error) {
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	return config.Listen(context.Background(), "tcp", address.String())
}
