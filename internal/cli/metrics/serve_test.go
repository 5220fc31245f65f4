package metrics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/kube"
	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// Whoever looks after the command hears that it is starting while it still waits for
// the cluster.
func TestServeAnswersWhileStarting(t *testing.T) {
	asked := make(chan struct{}, 100)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		select {
		case <-r.Context().Done():
		case <-ctx.Done():
		}
	}))
	defer slow.Close()
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	t.Setenv("HOME", t.TempDir())
	listen := freeAddress(t)
	streams, _, _, _ := genericiooptions.NewTestIOStreams()
	root := &cobra.Command{SilenceErrors: true, SilenceUsage: true}
	flags := kube.NewFlags()
	flags.AddTo(root)
	root.AddCommand(Commands(flags, streams)...)
	root.SetArgs([]string{"serve", "--listen", listen, "--server", slow.URL})
	ended := make(chan error, 1)
	go func() { ended <- root.ExecuteContext(ctx) }()
	select {
	case <-asked:
	case err := <-ended:
		t.Fatal(err)
	case <-time.After(30 * time.Second):
		t.Fatal("the cluster is not asked")
	}
	for _, path := range []string{"/readyz", "/healthz", "/metrics"} {
		if code, text := get(t, "http://"+listen+path); code != http.StatusServiceUnavailable || text != "starting\n" {
			t.Errorf("%s: %d %q", path, code, text)
		}
	}
	stop()
	if err := <-ended; exit.Code(err) != exit.Interrupted {
		t.Errorf("ended with code %d: %v", exit.Code(err), err)
	}
	if _, err := net.DialTimeout("tcp", listen, time.Second); err == nil {
		t.Error("it still listens")
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func get(t *testing.T, url string) (int, string) {
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
	return response.StatusCode, string(body)
}

// A node that fails is told of while something is wanted of it, and not for ever: one
// that is deleted would keep the endpoint from being healthy.
func TestHealthForgetsDeletedNodes(t *testing.T) {
	fold := metrics.NewFold(metrics.Options{})
	handler, err := (&serveOptions{options: &options{}}).handler(fold)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	defer server.Close()
	want := func(code int, text string, up ...string) {
		t.Helper()
		if got, body := get(t, server.URL+"/healthz"); got != code || body != text+"\n" {
			t.Errorf("/healthz is %d %q, want %d %q", got, body, code, text)
		}
		if got, body := get(t, server.URL+"/readyz"); got != http.StatusOK || body != "ok\n" {
			t.Errorf("/readyz is %d %q", got, body)
		}
		_, body := get(t, server.URL+"/metrics")
		var got []string
		for line := range strings.Lines(body) {
			if rest, ok := strings.CutPrefix(line, "networkobservability_collector_up{"); ok {
				got = append(got, strings.TrimSpace(rest))
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(up) {
			t.Errorf("collector_up is of %v, want %v", got, up)
		}
	}
	fold.SetNode("n1", "Linux 6.18", nil, nil)
	fold.SetTarget("n1", 0, metrics.Party{Kind: metrics.KindNode, Name: "n1"})
	fold.SetNode("n2", "", nil, errors.New("the connection was cut"))
	fold.SetTarget("n2", 0, metrics.Party{Kind: metrics.KindNode, Name: "n2"})
	fold.Forget(0)
	want(http.StatusServiceUnavailable, "n1: no sample yet\nn2: the connection was cut", `node="n1"} 0`, `node="n2"} 0`)
	fold.Add("n1", &wire.Sample{})
	want(http.StatusServiceUnavailable, "n2: the connection was cut", `node="n1"} 1`, `node="n2"} 0`)
	fold.EndTarget("n2", 0)
	fold.Forget(0)
	want(http.StatusOK, "ok", `node="n1"} 1`)
	if got, body := get(t, server.URL+"/"); got != http.StatusNotFound || !strings.Contains(body, "/metrics") {
		t.Errorf("/ is %d %q", got, body)
	}
	fold.SetTarget("n3", 0, metrics.Party{Kind: metrics.KindNode, Name: "n3"}) // its collector is starting
	want(http.StatusServiceUnavailable, "n3: no sample yet", `node="n1"} 1`, `node="n3"} 0`)
	fold.EndTarget("n3", 0)
	fold.Forget(0)
	want(http.StatusOK, "ok", `node="n1"} 1`)
}
