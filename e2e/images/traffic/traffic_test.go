//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// startServer runs a server on free ports of the loopback device until the
// test ends.
func startServer(t *testing.T) *server {
	t.Helper()
	s, err := listen("127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("server: %v", err)
		}
	})
	return s
}

func TestUDPSendToServer(t *testing.T) {
	s := startServer(t)
	var out bytes.Buffer
	o := udpSend{to: s.sink.LocalAddr().String(), count: 200, size: 64, rate: 100_000}
	if err := o.run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	if out.String() != "sent 200\n" {
		t.Errorf("udp-send printed %q", out.String())
	}
	// The socket's buffer holds all of them; the server may need a moment.
	url := fmt.Sprintf("http://%s/received", s.http.Addr())
	for deadline := time.Now().Add(10 * time.Second); ; {
		body := get(t, url)
		if body == "200\n" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("server received %q datagrams, want 200", body)
		}
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestUDPSendPayloads(t *testing.T) {
	sink, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	o := udpSend{to: sink.LocalAddr().String(), count: 3, size: 16}
	if err := o.run(t.Context(), io.Discard); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		buffer := make([]byte, 100)
		n, _, err := sink.ReadFrom(buffer)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := string(buffer[:n]), fmt.Sprintf("seq=%010d..", i); got != want {
			t.Errorf("datagram %d: %q, want %q", i, got, want)
		}
	}
}

func TestUDPSendKeepsItsRate(t *testing.T) {
	sink, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	start := time.Now()
	o := udpSend{to: sink.LocalAddr().String(), count: 101, size: 16, rate: 1000}
	if err := o.run(t.Context(), io.Discard); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < 99*time.Millisecond {
		t.Errorf("101 datagrams at 1000/s took %s, want 100ms or more", took)
	}
}

func TestUDPSendStops(t *testing.T) {
	sink, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out bytes.Buffer
	o := udpSend{to: sink.LocalAddr().String(), size: 16}
	if err := o.run(ctx, &out); err != nil || out.String() != "sent 0\n" {
		t.Errorf("endless udp-send, stopped: %q, %v", out.String(), err)
	}
}

func TestUDPSendRefusesSize(t *testing.T) {
	for _, size := range []int{-1, 13, 65508} {
		o := udpSend{to: "127.0.0.1:9", count: 1, size: size}
		if err := o.run(t.Context(), io.Discard); err == nil || !strings.Contains(err.Error(), "--size") {
			t.Errorf("size %d: %v, want an error about --size", size, err)
		}
	}
}

func TestHTTPGet(t *testing.T) {
	s := startServer(t)
	tests := []struct{ url, want, errors string }{
		{"http://" + s.http.Addr().String() + "/x", "got 3, failed 0\n", ""},
		{"http://" + s.echo.Addr().String(), "got 0, failed 3\n", "request 3, begun "},
		{"http://" + s.echo.Addr().String(), "got 0, failed 3\n", "malformed HTTP"},
	}
	for _, test := range tests {
		var out, errOut bytes.Buffer
		o := httpGet{url: test.url, every: time.Millisecond, count: 3, client: http.DefaultClient}
		if err := o.run(t.Context(), &out, &errOut); err != nil {
			t.Fatal(err)
		}
		if out.String() != test.want || !strings.Contains(errOut.String(), test.errors) {
			t.Errorf("http-get %s printed %q and %q, want %q and %q", test.url, out.String(), errOut.String(), test.want, test.errors)
		}
	}
}

func TestEcho(t *testing.T) {
	s := startServer(t)
	conn, err := net.Dial("tcp", s.echo.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "hello"); err != nil {
		t.Fatal(err)
	}
	back := make([]byte, 5)
	if _, err := io.ReadFull(conn, back); err != nil || string(back) != "hello" {
		t.Errorf("echo: %q, %v", back, err)
	}
}
