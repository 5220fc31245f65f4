package target

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
)

const protobuf = "application/vnd.kubernetes.protobuf"

// A listServer answers lists of pods and nodes as the API server does, page by
// page, in JSON or protobuf.
type listServer struct {
	pods, nodes int                       // how many there are
	pod         func(int) corev1.Pod      // the one with that number
	node        func(int) corev1.Node     // likewise
	fail        func(*http.Request) error // refuses a request; nil: none

	mu    sync.Mutex
	asked []string // the query of each request
}

func (s *listServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked = append(s.asked, r.URL.RawQuery)
	s.mu.Unlock()
	if s.fail != nil {
		if err := s.fail(r); err != nil {
			var status apierrors.APIStatus
			errors.As(err, &status)
			answer := status.Status()
			reply(w, r, int(answer.Code), &answer)
			return
		}
	}
	query := r.URL.Query()
	begin, _ := strconv.Atoi(query.Get("continue"))
	limit, _ := strconv.Atoi(query.Get("limit"))
	switch {
	case strings.HasSuffix(r.URL.Path, "/pods"):
		list := &corev1.PodList{}
		end := listMeta(&list.ListMeta, begin, limit, s.pods)
		for i := begin; i < end; i++ {
			list.Items = append(list.Items, s.pod(i))
		}
		reply(w, r, http.StatusOK, list)
	case r.URL.Path == "/api/v1/nodes":
		list := &corev1.NodeList{}
		end := listMeta(&list.ListMeta, begin, limit, s.nodes)
		for i := begin; i < end; i++ {
			list.Items = append(list.Items, s.node(i))
		}
		reply(w, r, http.StatusOK, list)
	default:
		reply(w, r, http.StatusOK, &corev1.ServiceList{})
	}
}

// listMeta describes the page that begins at begin and returns its end.
func listMeta(m *metav1.ListMeta, begin, limit, n int) int {
	m.ResourceVersion = "1"
	if limit == 0 || begin+limit >= n {
		return n
	}
	m.Continue = strconv.Itoa(begin + limit)
	return begin + limit
}

func reply(w http.ResponseWriter, r *http.Request, code int, object runtime.Object) {
	mediaType := "application/json"
	if strings.Contains(r.Header.Get("Accept"), protobuf) {
		mediaType = protobuf
	}
	info, _ := runtime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), mediaType)
	w.Header().Set("Content-Type", mediaType)
	w.WriteHeader(code)
	encoder := scheme.Codecs.EncoderForVersion(info.Serializer, corev1.SchemeGroupVersion)
	if err := encoder.Encode(object, w); err != nil {
		panic(err)
	}
}

func clientOf(t testing.TB, url, mediaType string) kubernetes.Interface {
	t.Helper()
	client, err := kubernetes.NewForConfig(&rest.Config{
		Host:          url,
		QPS:           -1,
		ContentConfig: rest.ContentConfig{ContentType: mediaType, AcceptContentTypes: mediaType},
	})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func TestPaging(t *testing.T) {
	expired := func(limit int) func(*http.Request) error {
		return func(r *http.Request) error {
			if r.URL.Query().Get("continue") != "1000" || limit == 0 {
				return nil
			}
			limit--
			return apierrors.NewResourceExpired("too old")
		}
	}
	tests := map[string]struct {
		fail  func(*http.Request) error
		asked []string // continue tokens
		err   string
	}{
		"three pages":     {nil, []string{"", "500", "1000"}, ""},
		"expired once":    {expired(1), []string{"", "500", "1000", "", "500", "1000"}, ""},
		"expired twice":   {expired(2), []string{"", "500", "1000", "", "500", "1000"}, "too old"},
		"expired at once": {func(*http.Request) error { return apierrors.NewResourceExpired("odd") }, []string{""}, "odd"},
		"fails": {func(r *http.Request) error {
			if r.URL.Query().Get("continue") == "500" {
				return apierrors.NewInternalError(errors.New("etcd is gone"))
			}
			return nil
		}, []string{"", "500"}, "etcd is gone"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			server := &listServer{pods: 1234, fail: tt.fail, pod: func(i int) corev1.Pod {
				return *newPod("shop", fmt.Sprintf("web-%04d", i), fmt.Sprintf("n%d", i%7), "app=web")
			}}
			web := httptest.NewServer(server)
			defer web.Close()
			r, err := selection(t, Request{Namespace: "shop", Selector: "app=web"}).
				Resolve(context.Background(), clientOf(t, web.URL, "application/json"))
			checkPaging(t, server.asked, tt.asked)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("got error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			seen := make(map[string]bool)
			for _, n := range r.Nodes {
				for _, p := range n.Pods {
					seen[p.Name] = true
				}
			}
			if len(r.Nodes) != 7 || len(seen) != 1234 || len(r.Skipped) > 0 {
				t.Errorf("%d nodes, %d pods, skipped %v", len(r.Nodes), len(seen), r.Skipped)
			}
		})
	}
}

// checkPaging checks that every request was for one page, of the newest state,
// and evaluated by the server.
func checkPaging(t *testing.T, asked, tokens []string) {
	t.Helper()
	var got []string
	for _, a := range asked {
		r, err := http.NewRequest(http.MethodGet, "/?"+a, nil)
		if err != nil {
			t.Fatal(err)
		}
		q := r.URL.Query()
		got = append(got, q.Get("continue"))
		if q.Get("limit") != "500" || q.Get("labelSelector") != "app=web" || q.Has("resourceVersion") {
			t.Errorf("asked %s", a)
		}
	}
	if diff := cmp.Diff(tokens, got); diff != "" {
		t.Errorf("continue tokens (-want +got):\n%s", diff)
	}
}

func TestResolveCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	server := &listServer{pods: 1, pod: func(int) corev1.Pod { return corev1.Pod{} }, fail: func(r *http.Request) error {
		cancel() // while the request is on its way
		<-r.Context().Done()
		return nil
	}}
	web := httptest.NewServer(server)
	defer web.Close()
	_, err := selection(t, Request{Namespace: "shop", Selector: "app=web"}).Resolve(ctx, clientOf(t, web.URL, protobuf))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
