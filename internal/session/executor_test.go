package session

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
)

// What a server that speaks both does is for the tests on a real cluster.
func TestRemoteExecutorFallsBack(t *testing.T) {
	var requests []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests = append(requests, r.Method+" "+r.Header.Get("Upgrade")+" "+r.URL.String())
		status := apierrors.NewForbidden(podsResource, "retina-x-0", io.ErrNoProgress).Status()
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		if err := json.NewEncoder(w).Encode(status); err != nil {
			t.Error(err)
		}
	}))
	defer server.Close()
	executor, err := NewRemoteExecutor(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	pod := types.NamespacedName{Namespace: testNamespace, Name: "retina-x-0"}
	err = executor.Exec(t.Context(), pod, []string{collectorProgram, "run"}, strings.NewReader(""), io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "is forbidden") {
		t.Errorf("error %v, want the server's", err)
	}
	url := " /api/v1/namespaces/netops/pods/retina-x-0/exec?command=%2Fretina-collector&command=run&container=collector&stderr=true&stdin=true&stdout=true"
	if len(requests) != 2 || requests[0] != "GET websocket"+url || requests[1] != "POST SPDY/3.1"+url {
		t.Errorf("requests %q", requests)
	}
}
