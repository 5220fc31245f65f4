//go:build linux

package apiserver

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// Words of wire.APIServerSample.Errors, and one of our own.
const (
	errRefused     = "refused"     // nobody listens
	errTimeout     = "timeout"     // no answer in time
	errUnreachable = "unreachable" // no way there
	errReset       = "reset"       // the other side has closed without an answer
	errTLS         = "tls"         // it answers, but not in TLS that we speak
	errOurs        = "ours"        // the attempt was not made
)

// reasons are the words for errors; the first one that fits.
var reasons = []struct {
	err  error
	word string
}{
	{os.ErrDeadlineExceeded, errTimeout},
	{context.DeadlineExceeded, errTimeout},
	{syscall.ETIMEDOUT, errTimeout},
	{syscall.ECONNREFUSED, errRefused},
	{syscall.ECONNRESET, errReset},
	{syscall.EPIPE, errReset},
	{io.EOF, errReset},
	{io.ErrUnexpectedEOF, errReset},
	{syscall.EHOSTUNREACH, errUnreachable},
	{syscall.ENETUNREACH, errUnreachable},
	{syscall.EHOSTDOWN, errUnreachable},
	{syscall.ENETDOWN, errUnreachable},
	{syscall.EMFILE, errOurs},
	{syscall.ENFILE, errOurs},
	{syscall.ENOMEM, errOurs},
	{syscall.ENOBUFS, errOurs},
	{syscall.EADDRNOTAVAIL, errOurs},
}

// result is one attempt. A time is 0 when it did not come to that.
type result struct {
	handshake, latency time.Duration
	err                string
}

// attempt connects once.
func attempt(ctx context.Context, to netip.AddrPort) result {
	dialer := net.Dialer{Timeout: timeout, KeepAlive: -1}
	begin := time.Now()
	conn, err := dialer.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return result{err: reason(err, errUnreachable)}
	}
	r := result{handshake: time.Since(begin)}
	timed := &firstRead{Conn: conn}
	defer conn.Close()
	r.err = hello(ctx, timed)
	if r.err == "" {
		r.latency = timed.at.Sub(timed.asked)
	}
	return r
}

// hello has a TLS handshake on conn, and returns why it failed, or "".
//
// The certificate is not looked at. It would have to be known here, which is not
// needed: nothing is sent on the connection that a false server could use, and
// nothing that it says is believed; that there is one, and how soon it answers, is
// all that is measured. The handshake goes to its end, though only the first answer
// is timed: the API server logs each one that is broken off.
func hello(ctx context.Context, conn net.Conn) string {
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return errReset
	}
	client := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}) //nolint:gosec // see above
	if err := client.HandshakeContext(ctx); err != nil {
		return reason(err, errTLS)
	}
	_ = client.Close() // says goodbye, so that the other side need not wonder
	return ""
}

// firstRead is a connection that remembers when it was asked something first, and
// when the first answer came.
type firstRead struct {
	net.Conn
	asked, at time.Time
}

// Write notes when the first bytes went out.
func (f *firstRead) Write(b []byte) (int, error) {
	if f.asked.IsZero() {
		f.asked = time.Now()
	}
	return f.Conn.Write(b)
}

// Read notes when the first bytes came in.
func (f *firstRead) Read(b []byte) (int, error) {
	n, err := f.Conn.Read(b)
	if n > 0 && f.at.IsZero() {
		f.at = time.Now()
	}
	return n, err
}
