package store

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// recording answers everything well, and keeps the first request.
type recording struct {
	request *http.Request
	body    []byte
}

func (r *recording) RoundTrip(request *http.Request) (*http.Response, error) {
	var err error
	if r.request == nil {
		r.request = request
		r.body, err = io.ReadAll(request.Body)
	}
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Length": {"5"}}, ContentLength: 5, Body: http.NoBody, Request: request,
	}, err
}

// Hosts, paths and what protects the body, as AWS and as other servers want it.
func TestS3Requests(t *testing.T) {
	const name = "x-n1-20261122T201500Z.tar.gz"
	sum := sha256.Sum256([]byte("hello"))
	signed := hex.EncodeToString(sum[:])
	for endpoint, want := range map[string]struct{ url, sum, trailer string }{
		"":                         {"https://captures.s3.eu-west-1.amazonaws.com/p/" + name, "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "x-amz-checksum-crc32"},
		"http://10.0.0.1:9000":     {"http://10.0.0.1:9000/captures/p/" + name, signed, ""},
		"https://s3.example.com":   {"https://s3.example.com/captures/p/" + name, signed, ""},
		"https://example.com/s3/":  {"https://example.com/s3/captures/p/" + name, signed, ""},
		"https://[fd00::1]:9000/x": {"https://[fd00::1]:9000/x/captures/p/" + name, signed, ""},
	} {
		first := &recording{}
		s, err := Open(wire.Destination{S3: &wire.S3Destination{
			Endpoint: endpoint, Region: "eu-west-1", Bucket: "captures", Path: "/p/", AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "TOPSECRETKEY", SessionToken: "TOKEN",
		}}, Options{Transport: first})
		if err != nil {
			t.Error(err)
			continue
		}
		if _, err := s.Put(t.Context(), s.Name(name), text("hello"), nil); err != nil {
			t.Error(err)
		}
		r := first.request
		url, _, _ := strings.Cut(r.URL.String(), "?")
		if url != want.url || r.Method != http.MethodPut {
			t.Errorf("endpoint %q: %s %s, want %s", endpoint, r.Method, url, want.url)
		}
		if got := r.Header.Get("X-Amz-Content-Sha256"); got != want.sum || r.Header.Get("X-Amz-Trailer") != want.trailer {
			t.Errorf("endpoint %q: sum %q, trailer %q, want %+v", endpoint, got, r.Header.Get("X-Amz-Trailer"), want)
		}
		if r.Header.Get("X-Amz-Meta-Sha256") != signed || r.Header.Get("X-Amz-Security-Token") != "TOKEN" || !strings.Contains(string(first.body), "hello") {
			t.Errorf("endpoint %q: %v", endpoint, r.Header)
		}
	}
}
