//go:build linux

package main

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

func TestTCPEcho(t *testing.T) {
	s := startServer(t)
	for _, size := range []int64{0, 1, 3 << 20} {
		var out bytes.Buffer
		o := tcpEcho{to: s.echo.Addr().String(), bytes: size}
		if err := o.run(t.Context(), &out); err != nil {
			t.Fatal(err)
		}
		if want := "echoed "; !strings.HasPrefix(out.String(), want) {
			t.Errorf("tcp-echo of %d bytes printed %q", size, out.String())
		}
	}
}

func TestTCPEchoNoticesOtherBytes(t *testing.T) {
	s := startServer(t)
	o := tcpEcho{to: s.http.Addr().String(), bytes: 100}
	if err := o.run(t.Context(), io.Discard); err == nil || !strings.Contains(err.Error(), "other bytes") {
		t.Errorf("echo by a server of HTTP: %v", err)
	}
}

func TestTCPConnect(t *testing.T) {
	s := startServer(t)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for to, want := range map[string]string{
		s.echo.Addr().String(): "opened 5, refused 0, unanswered 0\n",
		closed.Addr().String(): "opened 0, refused 5, unanswered 0\n",
	} {
		var out bytes.Buffer
		o := tcpConnect{to: to, count: 5, timeout: 10 * time.Second}
		if err := o.run(t.Context(), &out); err != nil || out.String() != want {
			t.Errorf("tcp-connect to %s printed %q, %v, want %q", to, out.String(), err, want)
		}
	}
}

func TestTCPConnectTimeout(t *testing.T) {
	var out bytes.Buffer
	o := tcpConnect{to: "127.0.0.1:9", count: 2, timeout: time.Nanosecond}
	if err := o.run(t.Context(), &out); err != nil || out.String() != "opened 0, refused 0, unanswered 2\n" {
		t.Errorf("tcp-connect without time printed %q, %v", out.String(), err)
	}
}
