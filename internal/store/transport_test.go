package store

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// A server that takes longer than Stall as a whole, but never pauses that long.
func TestSlowIsNotStalled(t *testing.T) {
	const piece, pieces = 256 << 10, 12
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		received, _ := io.Copy(io.Discard, slowReader{r.Body, piece, 50 * time.Millisecond})
		for range pieces {
			_, _ = w.Write(make([]byte, received/pieces))
			_ = http.NewResponseController(w).Flush()
			<-time.After(50 * time.Millisecond)
		}
	}))
	defer server.Close()
	client := newClient(Options{Stall: 400 * time.Millisecond}.withDefaults())
	begin := time.Now()
	response, err := client.Post(server.URL, "", bytes.NewReader(make([]byte, piece*pieces)))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || len(body) != piece*pieces {
		t.Errorf("%d bytes: %v", len(body), err)
	}
	if took := time.Since(begin); took < time.Second {
		t.Errorf("took %s: not slow enough to show anything", took)
	}
}

// A slowReader waits after each piece.
type slowReader struct {
	r     io.Reader
	piece int
	pause time.Duration
}

func (s slowReader) Read(p []byte) (int, error) {
	n, err := io.ReadFull(s.r, p[:min(len(p), s.piece)])
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	if err == nil {
		<-time.After(s.pause * time.Duration(n) / time.Duration(s.piece))
	}
	return n, err
}

func TestStalled(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	for name, handler := range map[string]http.HandlerFunc{
		"before the body": func(http.ResponseWriter, *http.Request) { <-release },
		"after the body": func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-release
		},
		"in the answer": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write(make([]byte, 50))
			_ = http.NewResponseController(w).Flush()
			<-release
		},
	} {
		server := httptest.NewServer(handler)
		client := newClient(Options{Stall: 100 * time.Millisecond}.withDefaults())
		begin := time.Now()
		response, err := client.Post(server.URL, "", bytes.NewReader(make([]byte, 8<<20)))
		if err == nil {
			_, err = io.ReadAll(response.Body)
			_ = response.Body.Close()
		}
		if !errors.Is(err, errStalled) || !transient(err) || time.Since(begin) > 5*time.Second {
			t.Errorf("%s: after %s: %v", name, time.Since(begin), err)
		}
		server.CloseClientConnections()
	}
}

// While nobody reads, an answer may wait as long as it likes.
func TestPausedReaderIsNotStalled(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 8<<20)) }))
	defer server.Close()
	const stall = 50 * time.Millisecond
	response, err := newClient(Options{Stall: stall}.withDefaults()).Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	_, err = io.CopyN(io.Discard, response.Body, 10)
	<-time.After(4 * stall)
	n, err2 := io.Copy(io.Discard, response.Body)
	if err != nil || err2 != nil || n != 8<<20-10 {
		t.Errorf("%d bytes: %v %v", n, err, err2)
	}
}
