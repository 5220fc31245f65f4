//go:build linux

package apiserver

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// serve listens on loopback and hands each connection to f.
func serve(t *testing.T, f func(net.Conn)) netip.AddrPort {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				f(conn)
			}()
		}
	}()
	return listener.Addr().(*net.TCPAddr).AddrPort()
}

// server answers TLS after a delay, and sends what it then hears to heard.
func server(t *testing.T, config *tls.Config, delay time.Duration, heard chan<- []byte) netip.AddrPort {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	config.Certificates = []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}
	return serve(t, func(conn net.Conn) {
		time.Sleep(delay)
		said, err := io.ReadAll(tls.Server(conn, config))
		if heard != nil && err == nil {
			heard <- said
		}
	})
}

func closedPort(t *testing.T) netip.AddrPort {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).AddrPort()
}

func TestAttempt(t *testing.T) {
	reset := func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 1)) // what is left unread makes it a reset
	}
	tests := []struct {
		name      string
		to        netip.AddrPort
		connected bool
		want      string
	}{
		{"TLS 1.3", server(t, &tls.Config{}, 0, nil), true, ""},
		{"TLS 1.2", server(t, &tls.Config{MaxVersion: tls.VersionTLS12}, 0, nil), true, ""},
		{"a certificate of ours is asked for", server(t, &tls.Config{ClientAuth: tls.RequestClientCert}, 0, nil), true, ""},
		{"TLS 1.1", server(t, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, 0, nil), true, errTLS},
		{"no TLS", serve(t, func(conn net.Conn) {
			_, _ = conn.Read(make([]byte, 1024))
			_, _ = io.WriteString(conn, "HTTP/1.0 400 Bad Request\r\n\r\n")
			_, _ = io.Copy(io.Discard, conn)
		}), true, errTLS},
		{"reset", serve(t, reset), true, errReset},
		{"closed", serve(t, func(conn net.Conn) { _, _ = conn.Read(make([]byte, 1024)) }), true, errReset},
		{"refused", closedPort(t), false, errRefused},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := attempt(t.Context(), test.to)
			if got.err != test.want || (got.handshake > 0) != test.connected || (got.latency > 0) != (test.want == "") {
				t.Errorf("%+v, want the error %q", got, test.want)
			}
		})
	}
}

// The latency is that of the answer, the handshake that of TCP alone; after its
// hello the client says nothing but goodbye.
func TestTimes(t *testing.T) {
	const delay = 100 * time.Millisecond
	heard := make(chan []byte, 1)
	got := attempt(t.Context(), server(t, &tls.Config{}, delay, heard))
	if got.err != "" || got.latency < delay || got.latency > 10*delay || got.handshake >= delay {
		t.Errorf("%+v, want a latency from %v on", got, delay)
	}
	select {
	case said := <-heard:
		if len(said) > 0 {
			t.Errorf("the server has heard %q", said)
		}
	case <-time.After(10 * time.Second):
		t.Error("the handshake was not ended in order")
	}
}

func TestTimeout(t *testing.T) {
	silent := serve(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
	begin := time.Now()
	if got := attempt(t.Context(), silent); got.err != errTimeout || got.handshake == 0 {
		t.Errorf("%+v, want a timeout", got)
	}
	if took := time.Since(begin); took < timeout || took > 2*timeout {
		t.Errorf("it took %v, want %v", took, timeout)
	}
}

func TestReason(t *testing.T) {
	tests := map[error]string{
		fmt.Errorf("read: %w", os.ErrDeadlineExceeded):      errTimeout,
		os.NewSyscallError("connect", syscall.EHOSTUNREACH): errUnreachable,
		syscall.ENETUNREACH:      errUnreachable,
		syscall.EMFILE:           errOurs,
		errors.New("odd"):        "otherwise",
		context.DeadlineExceeded: errTimeout,
	}
	for err, want := range tests {
		if got := reason(err, "otherwise"); got != want {
			t.Errorf("%v is %q, want %q", err, got, want)
		}
	}
}

// plugin is one that measures these addresses.
func plugin(t *testing.T, to ...netip.AddrPort) *Plugin {
	t.Helper()
	p := &Plugin{}
	for _, to := range to {
		p.addresses = append(p.addresses, &address{to: to, total: wire.APIServerSample{Address: to}})
	}
	t.Cleanup(func() { must(t, p.Close()) })
	return p
}

func TestSamples(t *testing.T) {
	good, bad := server(t, &tls.Config{}, 0, nil), closedPort(t)
	p := plugin(t, good, bad)
	var first wire.Sample
	must(t, p.Sample(&first))
	if len(first.APIServers) > 0 || len(p.Missing()) > 0 {
		t.Errorf("before go: %+v, missing %+v", first.APIServers, p.Missing())
	}
	must(t, p.Start())
	now := map[netip.AddrPort]wire.APIServerSample{}
	for deadline := time.Now().Add(10 * time.Second); now[good].Attempts < 2 || now[bad].Attempts < 2; {
		if time.Now().After(deadline) {
			t.Fatalf("after 10 s: %+v", now)
		}
		time.Sleep(20 * time.Millisecond)
		var s wire.Sample
		must(t, p.Sample(&s))
		for _, a := range s.APIServers {
			if a.Attempts == now[a.Address].Attempts {
				t.Errorf("%+v has not changed", a)
			}
			now[a.Address] = a
		}
	}
	if g := now[good]; len(g.Errors) > 0 || count(g.Handshake) != g.Attempts || count(g.Latency) != g.Attempts || g.Latency.Sum == 0 {
		t.Errorf("%+v, want no errors and two times for each attempt", g)
	}
	if b := now[bad]; !maps.Equal(b.Errors, map[string]uint64{errRefused: b.Attempts}) || count(b.Handshake) > 0 {
		t.Errorf("%+v, want nothing but refusals", b)
	}
}

// What this process could not try is not held against the server.
func TestLost(t *testing.T) {
	p := plugin(t, closedPort(t))
	p.addresses[0].add(result{err: errOurs})
	var s wire.Sample
	must(t, p.Sample(&s))
	must(t, p.Sample(&s))
	if len(s.APIServers) > 0 || len(s.Lost) != 1 || s.Lost[0].Count != 1 || s.Lost[0].Plugin != Name {
		t.Errorf("%+v, want one lost attempt, once", s)
	}
}

func TestCloseEndsAtOnce(t *testing.T) {
	accepted := make(chan bool, 8)
	silent := serve(t, func(conn net.Conn) {
		accepted <- true
		_, _ = io.Copy(io.Discard, conn)
	})
	p := plugin(t, silent)
	must(t, p.Start())
	<-accepted
	begin := time.Now()
	must(t, p.Close())
	if took := time.Since(begin); took > timeout/2 {
		t.Errorf("closing took %v", took)
	}
	var s wire.Sample
	must(t, p.Sample(&s))
	if len(s.APIServers) > 0 {
		t.Errorf("an attempt that we have broken off is told as %+v", s.APIServers)
	}
}

func TestNobodyToConnectTo(t *testing.T) {
	p := plugin(t)
	must(t, p.Start())
	if missing := p.Missing(); len(missing) != 1 || missing[0].Plugin != Name || missing[0].Hint == "" {
		t.Errorf("missing: %+v", missing)
	}
}

func count(h wire.Histogram) uint64 {
	var n uint64
	for b := range slices.Values(h.Buckets) {
		n += b
	}
	return n
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
