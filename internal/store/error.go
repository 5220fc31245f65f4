package store

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

// An Error is what went wrong at a Store. None of its texts holds a secret. What
// is wrapped is only what errors.Is may want to know.
type Error struct {
	Where  string // as Store.Where
	Op     string // "upload NAME", "list"
	Status int    // of the HTTP response; 0: there was none
	Code   string // the service's own: "AuthenticationFailed"; "" when it gave none
	// Cause is one line: "403 AuthenticationFailed", "connection refused".
	Cause string
	kind  error
}

func (e *Error) Error() string { return e.Where + ": " + e.Op + ": " + e.Cause }
func (e *Error) Unwrap() error { return e.kind }

// A finding is what a failure looks like to the user.
type finding struct {
	status int
	code   string
	cause  string
	hint   string
	kind   error
}

// explain makes the Error of a failed operation. examine looks at answers of
// the service; what it does not know is the network's or the caller's.
func explain(where, op string, g guard, err error, examine func(error) (finding, bool)) error {
	if err == nil {
		return nil
	}
	var done *Error
	if errors.As(err, &done) {
		return err
	}
	var content contentError
	found, ok := finding{}, errors.As(err, &content)
	if ok {
		found = finding{cause: content.Error(), hint: hint.Of(content), kind: content.err}
	} else if found, ok = examine(err); !ok {
		found = examineOwn(err)
	}
	e := &Error{Where: where, Op: op, Status: found.status, Code: g.clean(found.code), Cause: g.clean(found.cause), kind: found.kind}
	return hint.Wrap(e, g.clean(found.hint))
}

// answer is the cause of an answer that is an error: "403 AuthenticationFailed".
func answer(status int, code string) string {
	if code == "" {
		code = http.StatusText(status)
	}
	return strings.TrimSpace(fmt.Sprint(status, " ", code))
}

// examineOwn looks at what neither service nor disk said.
func examineOwn(err error) finding {
	for _, kind := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, kind) && !errors.Is(err, errStalled) && !isNetwork(err) {
			return finding{cause: kind.Error(), kind: kind}
		}
	}
	return examineNetwork(err)
}

func isNetwork(err error) bool {
	var op *net.OpError
	return errors.As(err, &op)
}

// examineNetwork looks at a request that was not answered.
func examineNetwork(err error) finding {
	// The outer ones name the URL.
	var outer *url.Error
	for errors.As(err, &outer) && outer.Err != nil {
		err = outer.Err
	}
	found := finding{cause: err.Error()}
	var dns *net.DNSError
	var op *net.OpError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &dns):
		found.cause = "look up " + dns.Name + ": " + dns.Err
		found.hint = "check the name in the URL, and whether the node can resolve it"
	case errors.As(err, &certificate), isX509(err):
		found.hint = "use an endpoint whose certificate is signed by a public authority"
	case errors.Is(err, http.ErrSchemeMismatch):
		found.cause, found.hint = "server speaks http, not https", "begin the URL with http:// if that is what you want"
	case errors.Is(err, syscall.ECONNREFUSED):
		found.hint = "check host and port of the URL, and that the server runs"
	case errors.Is(err, errStalled):
		found.cause = errStalled.Error()
		found.hint = "check that no firewall is between the node and the server"
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		found.cause = "connection was cut"
	case errors.As(err, &op) && op.Timeout():
		found.hint = "check that no firewall is between the node and the server"
	}
	if errors.As(err, &op) && found.cause == err.Error() {
		found.cause = op.Error()
	}
	return found
}

func isX509(err error) bool {
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	return errors.As(err, &authority) || errors.As(err, &host) || errors.As(err, &invalid)
}

// transient reports whether a request that was not answered may be next time.
func transient(err error) bool {
	var dns *net.DNSError
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	switch {
	case errors.Is(err, errStalled):
		return true
	case errors.As(err, &dns):
		return !dns.IsNotFound
	case errors.As(err, &certificate), isX509(err), errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return false
	}
	return !errors.Is(err, context.Canceled)
}

// transientStatus reports whether a request that was answered so may do better
// next time.
func transientStatus(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}
