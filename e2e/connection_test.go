//go:build linux && !unit

package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	v1 "k8s.io/client-go/tools/clientcmd/api/v1"
	"sigs.k8s.io/yaml"
)

// TestConnections captures over each way to a cluster that a kubeconfig, the
// environment or a flag can name.
func TestConnections(t *testing.T) {
	s := openShop(t, "")
	proxy := startConnectProxy(t)
	asItIs := func(*clientcmdapi.Config) {}
	for _, test := range []struct {
		name    string
		change  func(*clientcmdapi.Config) // of the kubeconfig
		env     []string
		args    []string
		proxied bool
	}{
		{"requests time out sooner than the capture ends", asItIs, nil, []string{"--request-timeout", "2s"}, false},
		{"proxy of the environment", asItIs, []string{"HTTPS_PROXY=" + proxy.url}, nil, true},
		{"proxy of the kubeconfig", func(c *clientcmdapi.Config) { c.Clusters["retina-e2e"].ProxyURL = proxy.url }, nil, nil, true},
		{"host that needs no proxy", asItIs, []string{"HTTPS_PROXY=http://127.0.0.1:1", "NO_PROXY=10.98.0.0/16"}, nil, false},
		{"credentials of a program", func(c *clientcmdapi.Config) { execCredential(t, c) }, nil, nil, false},
		{"impersonation", asItIs, nil, []string{"--as", "somebody", "--as-group", "system:masters"}, false},
		{"context without a namespace", func(c *clientcmdapi.Config) { c.Contexts["retina-e2e"].Namespace = "" }, nil, nil, false},
		{"context with a namespace", func(c *clientcmdapi.Config) { c.Contexts["retina-e2e"].Namespace = collectorNamespace }, nil, nil, false},
		{"context of a flag", func(c *clientcmdapi.Config) {
			c.Contexts["other"] = c.Contexts["retina-e2e"]
			delete(c.Contexts, "retina-e2e")
			c.CurrentContext = ""
		}, nil, []string{"--context", "other"}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			config, err := clientcmd.LoadFromFile(the.Kubeconfig())
			if err != nil {
				t.Fatal(err)
			}
			test.change(config)
			file := filepath.Join(t.TempDir(), "config with spaces")
			if err := clientcmd.WriteToFile(*config, file); err != nil {
				t.Fatal(err)
			}
			before := proxy.tunnels.Load()
			dir := t.TempDir()
			args := []string{
				"capture", "create", "pod/web-n1", "-n", s.namespace, "--kubeconfig", file, "--duration", "4s", "--write", "web.pcapng",
				"--collector-namespace", collectorNamespace,
			}
			p := startIn(t, dir, test.env, append(args, test.args...)...)
			p.waitFor(t, "capturing")
			s.get(t, s.client["n2"], s.web["n1"], "/", 5)
			p.wait(t).wantCode(t, 0)
			if got := requests(t, filepath.Join(dir, "web.pcapng")); got != 5 {
				t.Errorf("%d requests in the file, want 5", got)
			}
			if proxied := proxy.tunnels.Load() > before; proxied != test.proxied {
				t.Errorf("%d connections through the proxy", proxy.tunnels.Load()-before)
			}
		})
	}
	wantNothingLeft(t)
}

// TestBadConnections gives ways to a cluster that lead nowhere: one line, one hint,
// soon, and the right exit code.
func TestBadConnections(t *testing.T) {
	for _, test := range []struct {
		args []string
		env  []string
		code int
		want string
	}{
		{args: []string{"--request-timeout", "soon"}, code: 2, want: `error: --request-timeout "soon" is not a time`},
		{args: []string{"--context", "nowhere"}, code: 1, want: `error: kubeconfig has no context "nowhere"`},
		{args: []string{"--server", "https://10.98.0.1:1"}, code: 1, want: "connection refused"},
		{args: []string{"--as", "nobody"}, code: 1, want: `"nobody"`},
		{env: []string{"HTTPS_PROXY=http://10.98.0.1:1"}, code: 1, want: "proxyconnect"},
	} {
		p := startIn(t, t.TempDir(), test.env, append([]string{"capture", "create", "node/n1", "--duration", "2s"}, test.args...)...)
		r := p.wait(t)
		if r.code != test.code || !strings.Contains(r.stderr, test.want) || !strings.Contains(r.stderr, "\nhint: ") || strings.Count(r.stderr, "\n") != 2 {
			t.Errorf("%q %q: want exit code %d and %q: %s", test.args, test.env, test.code, test.want, r)
		}
	}
}

// requests counts the HTTP requests in a file.
func requests(t testing.TB, file string) int {
	t.Helper()
	return len(strings.Fields(tshark(t, file, "-Y", "http.request", "-T", "fields", "-e", "frame.number")))
}

// execCredential makes the user's credentials those that a program prints.
func execCredential(t testing.TB, c *clientcmdapi.Config) {
	t.Helper()
	user := c.AuthInfos["admin"]
	content, err := yaml.Marshal(map[string]any{
		"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
		"status": map[string]string{"clientCertificateData": string(user.ClientCertificateData), "clientKeyData": string(user.ClientKeyData)},
	})
	if err != nil {
		t.Fatal(err)
	}
	if content, err = yaml.YAMLToJSON(content); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "credential.json"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	c.AuthInfos["admin"] = &clientcmdapi.AuthInfo{Exec: &clientcmdapi.ExecConfig{
		APIVersion: "client.authentication.k8s.io/v1", Command: "cat", Args: []string{filepath.Join(dir, "credential.json")},
		InteractiveMode: clientcmdapi.ExecInteractiveMode(v1.NeverExecInteractiveMode),
	}}
}

// A connectProxy is an HTTP proxy for what asks with CONNECT, where the API server
// answers (RFC 9110, 9.3.6).
type connectProxy struct {
	url     string
	tunnels atomic.Int64
}

func startConnectProxy(t testing.TB) *connectProxy {
	t.Helper()
	l, err := the.Listen(netip.AddrPort{})
	if err != nil {
		t.Fatal(err)
	}
	p := &connectProxy{url: "http://" + l.Addr().String()}
	server := &http.Server{Handler: p, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return p
}

func (p *connectProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		http.Error(w, "this proxy knows CONNECT only", http.StatusMethodNotAllowed)
		return
	}
	to, err := the.Dial(context.Background(), "tcp", r.Host)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer to.Close()
	from, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer from.Close()
	p.tunnels.Add(1)
	if _, err := fmt.Fprint(from, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	var both sync.WaitGroup
	tunnel := func(to net.Conn, from io.Reader) {
		_, _ = io.Copy(to, from) // an end of the connection, of whichever kind, is one
		if half, ok := to.(*net.TCPConn); ok {
			_ = half.CloseWrite()
		}
	}
	both.Go(func() { tunnel(to, buffered) })
	both.Go(func() { tunnel(from, to) })
	both.Wait()
}
