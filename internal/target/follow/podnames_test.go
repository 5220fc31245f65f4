package follow

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// An address is named after the pod that has got it last. What else happens to the one
// that had it before does not take it back.
func TestWatchPodNames(t *testing.T) {
	for _, denied := range []string{"", "watch"} {
		t.Run("without "+denied, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, newNamespace("shop"), addressPod("a", "Running", false, "10.1.0.1"), addressPod("host", "Running", true, "192.0.2.1"))
				if denied != "" {
					c.forbid(denied, "pods", "shop")
				}
				var mu sync.Mutex
				var told []string
				note := func(names []NamedAddress) {
					mu.Lock()
					defer mu.Unlock()
					for _, n := range names {
						told = append(told, fmt.Sprintf("%s=%s/%s", n.Addr, n.Namespace, n.Pod))
					}
				}
				go func() {
					if err := WatchPodNames(t.Context(), c, []string{"shop"}, note); err != nil {
						t.Error(err)
					}
				}()
				for _, step := range []struct {
					what   string
					change func()
					want   string
				}{
					{"at the beginning", func() {}, "10.1.0.1=shop/a"},
					{"no address yet", func() { c.put(addressPod("b", "Pending", false)) }, ""},
					{"the address of another", func() { c.put(addressPod("b", "Running", false, "10.1.0.1")) }, "10.1.0.1=shop/b"},
					{"news of the other", func() {
						a := addressPod("a", "Running", false, "10.1.0.1")
						a.Labels = map[string]string{"x": "y"}
						c.put(a)
					}, ""},
					{"the end of the other", func() {
						a := addressPod("a", "Running", false, "10.1.0.1")
						now := metav1.Now()
						a.DeletionTimestamp, a.Finalizers = &now, []string{"x/y"}
						c.put(a)
					}, ""},
					{"one more address", func() { c.put(addressPod("b", "Running", false, "10.1.0.1", "fd00::1")) }, "fd00::1=shop/b"},
					{"gone", func() { c.remove(addressPod("b", "Running", false)) }, ""},
					{"back under its name", func() { c.put(addressPod("b", "Running", false, "10.1.0.2")) }, "10.1.0.2=shop/b"},
				} {
					step.change()
					time.Sleep(2 * relistEvery)
					mu.Lock()
					if got := strings.Join(told, " "); got != step.want {
						t.Errorf("%s: told %q, want %q", step.what, got, step.want)
					}
					told = nil
					mu.Unlock()
				}
			})
		})
	}
}
