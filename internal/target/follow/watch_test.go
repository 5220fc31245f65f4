package follow

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	clienttesting "k8s.io/client-go/testing"

	"github.com/kubectl-retina/kubectl-retina/internal/target"
)

func TestRollout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		oldPod := newPod("shop", "web-old-1", "", "app=web", "rs=old", "ReplicaSet/old")
		c := newCluster(t, newDeployment("web", "app=web"), oldPod,
			newReplicaSet("old", 1, "Deployment/web"), newReplicaSet("history", 0, "Deployment/web"), newReplicaSet("alien", 1, "Deployment/other"),
			newPod("shop", "alien-1", "", "app=web", "rs=alien", "ReplicaSet/alien"))
		told := c.follow(target.Request{Namespace: "shop", Args: []string{"deploy/web"}})
		if got := told.text(); got != "" {
			t.Errorf("at first: told %q", got)
		}
		if got, want := c.watches(), "deployments 1, pods 1, replicasets 1"; got != want {
			t.Errorf("watches %s, want %s: none for history and strangers", got, want)
		}
		c.put(newReplicaSet("new", 1, "Deployment/web"))
		c.put(newPod("shop", "web-new-1", "", "app=web", "rs=new", "ReplicaSet/new"))
		if got, want := told.text(), "+shop/web-new-1(u-web-new-1)"; got != want {
			t.Errorf("new ReplicaSet: told %q, want %q", got, want)
		}
		c.put(newReplicaSet("old", 0, "Deployment/web"))
		c.put(with(oldPod, deleting))
		if got := told.text(); got != "" {
			t.Errorf("a pod that still runs has ended: %q", got)
		}
		c.remove(oldPod)
		if got, want := told.text(), "-shop/web-old-1(u-web-old-1)"; got != want {
			t.Errorf("told %q, want %q", got, want)
		}
		c.put(newReplicaSet("history", 1, "Deployment/web"))
		c.put(newPod("shop", "web-h-1", "", "app=web", "rs=history", "ReplicaSet/history"))
		if got, want := told.text(), "+shop/web-h-1(u-web-h-1)"; got != want {
			t.Errorf("undone: told %q, want %q", got, want)
		}
	})
}

// A pod that moves from one source to another is not said to have ended while
// the other is being listed.
func TestPodChangesSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		web1, old := newPod("shop", "web-1", "", "app=web", "all=yes"), newPod("shop", "old-1", "", "app=web")
		c := newCluster(t, newService("web", "app=web"), web1, old)
		told := c.follow(target.Request{Namespace: "shop", Args: []string{"svc/web"}})
		told.text()
		c.PrependReactor("list", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
			time.Sleep(time.Second)
			return false, nil, nil
		})
		c.put(newService("web", "all=yes"))
		if got := told.text(); got != "" {
			t.Errorf("before the list: told %q", got)
		}
		time.Sleep(time.Second)
		if got, want := told.text(), "-shop/old-1(u-old-1)"; got != want {
			t.Errorf("after it: told %q, want %q", got, want)
		}
	})
}

// What changed while there was no watch is told, whatever way it broke.
func TestWatchResumes(t *testing.T) {
	for name, event := range map[string]*watch.Event{"closed": nil, "expired": gone()} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				web1, web2 := newPod("shop", "web-1", "", "app=web"), newPod("shop", "web-2", "", "app=web")
				c := newCluster(t, newNamespace("shop"), web1)
				told := c.follow(target.Request{Namespace: "shop", Selector: "app=web"})
				told.text()
				time.Sleep(time.Minute)
				want := "+shop/web-2(u-web-2)"
				c.breakWatches("pods", event)
				if event != nil { // the fake cannot tell what was deleted since a version
					c.remove(web1)
					want += " -shop/web-1(u-web-1)"
				}
				c.put(web2)
				time.Sleep(500 * time.Millisecond)
				if got := told.text(); got != want {
					t.Errorf("told %q, want %q", got, want)
				}
			})
		})
	}
}

// A receiver that does not receive finds the sum of what it missed.
func TestSlowReceiver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, newNamespace("shop"))
		selection, err := target.Request{Namespace: "shop", Everything: true}.Selection()
		if err != nil {
			t.Fatal(err)
		}
		first, err := selection.ResolveAny(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		changes := Watch(t.Context(), c, selection, first)
		step := func(object *corev1.Pod, there bool) {
			if there {
				c.put(object)
			} else {
				c.remove(object)
			}
			time.Sleep(time.Second)
		}
		a, b, d := newPod("shop", "a", ""), newPod("shop", "b", ""), newPod("shop", "d", "")
		step(a, true) // is on its way at once
		step(a, false)
		step(b, true)
		step(b, false)
		step(d, true)
		out := collect(changes)
		if got, want := out.text(), "+shop/a(u-a) +shop/d(u-d) -shop/a(u-a)"; got != want {
			t.Errorf("told %q, want %q", got, want)
		}
	})
}

// Nothing is left running when the context has ended: synctest would not return.
func TestWatchEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, newDeployment("web", "app=web"), newReplicaSet("rs", 1, "Deployment/web"), newNode("n1", "linux"))
		ctx, cancel := context.WithCancel(t.Context())
		selection, err := target.Request{Namespace: "shop", Args: []string{"deploy/web", "node/n1"}}.Selection()
		if err != nil {
			t.Fatal(err)
		}
		out := collect(Watch(ctx, c, selection, &target.Resolved{}))
		if got, want := out.text(), "+node n1"; got != want {
			t.Errorf("told %q, want %q", got, want)
		}
		cancel()
		synctest.Wait()
		if !out.closed {
			t.Error("the channel is open")
		}
		if got := c.watches(); got != "" {
			t.Errorf("still open: %s", got)
		}
	})
}
