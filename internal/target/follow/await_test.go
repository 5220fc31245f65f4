package follow

import (
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kubectl-retina/kubectl-retina/internal/target"
)

// A first pod is waited for as long as the user wants, and only if there may be one.
func TestAwait(t *testing.T) {
	web := newPod("shop", "web-1", "10.0.0.1", "app=web")
	for _, test := range []struct {
		name     string
		request  target.Request
		objects  []runtime.Object
		patience time.Duration
		after    time.Duration // when the pod comes; 0: never
		found    bool
		took     time.Duration
		waited   bool
	}{
		{"there", target.Request{Namespace: "shop", Selector: "app=web"}, []runtime.Object{web}, time.Minute, 0, true, 0, false},
		{"late", target.Request{Namespace: "shop", Selector: "app=web"}, nil, time.Minute, 10 * time.Second, true, 10 * time.Second, true},
		{"too late", target.Request{Namespace: "shop", Selector: "app=web"}, nil, time.Minute, 2 * time.Minute, false, time.Minute, true},
		{"without patience", target.Request{Namespace: "shop", Selector: "app=web"}, nil, 0, 10 * time.Second, false, 0, false},
		{"no such thing", target.Request{Namespace: "shop", Args: []string{"deploy/web"}}, nil, time.Minute, 10 * time.Second, false, 0, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, append(test.objects, newNamespace("shop"))...)
				selection, err := test.request.Selection()
				if err != nil {
					t.Fatal(err)
				}
				if test.after > 0 {
					timer := time.AfterFunc(test.after, func() { c.put(web) })
					defer timer.Stop()
				}
				began, waited := time.Now(), false
				resolved, err := Await(t.Context(), c, selection, Waiting{
					Patience: test.patience, Began: func() { waited = true }, Warn: func(err error) { t.Error(err) },
				})
				if (err == nil) != test.found || test.found && len(resolved.Nodes) != 1 {
					t.Errorf("resolved %+v, error %v", resolved, err)
				}
				if took := time.Since(began); took < test.took || took > test.took+time.Second || waited != test.waited {
					t.Errorf("took %s, waited %v; want %s, %v", took, waited, test.took, test.waited)
				}
			})
		})
	}
}
