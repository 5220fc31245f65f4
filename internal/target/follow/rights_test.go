package follow

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/target"
)

// Without the right to watch there is one warning, and a list every 5 s.
func TestWatchForbidden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		web1 := newPod("shop", "web-1", "", "app=web")
		c := newCluster(t, newNamespace("shop"), web1)
		allow := c.forbid("watch", "pods", "shop")
		told := c.follow(target.Request{Namespace: "shop", Selector: "app=web"})
		const want = `! watch pods in namespace shop: pods is forbidden: user jane cannot watch it; what changes there is noticed up to 5s late`
		if got := told.text(); got != want {
			t.Errorf("told %q, want %q", got, want)
		}
		c.put(newPod("shop", "web-2", "", "app=web"))
		c.remove(web1)
		time.Sleep(relistEvery)
		if got, want := told.text(), "+shop/web-2(u-web-2) -shop/web-1(u-web-1)"; got != want {
			t.Errorf("told %q, want %q", got, want)
		}
		before := len(c.Actions())
		time.Sleep(time.Minute)
		if n := (len(c.Actions()) - before) / 2; n < 10 || n > 13 {
			t.Errorf("%d lists in a minute, want one each %s", n, relistEvery)
		}
		allow()
		time.Sleep(relistEvery)
		c.put(newPod("shop", "web-3", "", "app=web"))
		if got, want := told.text(), "+shop/web-3(u-web-3)"; got != want {
			t.Errorf("with the right: told %q, want %q", got, want)
		}
	})
}

// What may not be listed is not said to have ended.
func TestListForbidden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		web1, db0 := newPod("shop", "web-1", "", "app=web"), newPod("shop", "db-0", "")
		c := newCluster(t, newDeployment("web", "app=web"), newReplicaSet("rs", 1, "Deployment/web"), db0, web1)
		selection, err := target.Request{Namespace: "shop", Args: []string{"deploy/web", "pod/db-0"}}.Selection()
		if err != nil {
			t.Fatal(err)
		}
		allow := c.forbid("list", "replicasets", "shop")
		out := collect(Watch(t.Context(), c, selection, &target.Resolved{Nodes: []target.Node{{Name: "n1", Pods: []target.Pod{
			{Namespace: "shop", Name: "web-1", UID: "u-web-1"}, {Namespace: "shop", Name: "db-0", UID: "u-db-0"}}}}}))
		const want = `! list replicasets.apps in namespace shop: replicasets.apps is forbidden: user jane cannot list it`
		if got := out.text(); got != want {
			t.Errorf("told %q, want %q", got, want)
		}
		c.remove(db0)
		c.remove(web1)
		time.Sleep(3 * refusedEvery)
		if got, want := out.text(), "-shop/db-0(u-db-0)"; got != want {
			t.Errorf("told %q, want %q", got, want)
		}
		allow()
		time.Sleep(refusedEvery)
		if got, want := out.text(), "-shop/web-1(u-web-1)"; got != want {
			t.Errorf("with the right: told %q, want %q", got, want)
		}
	})
}

func TestForbiddenHint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, newNamespace("shop"))
		c.forbid("watch", "pods", "*")
		selection, err := target.Request{AllNamespaces: true, Everything: true}.Selection()
		if err != nil {
			t.Fatal(err)
		}
		change := <-Watch(t.Context(), c, selection, &target.Resolved{})
		if len(change.Warnings) != 1 || !strings.Contains(hint.Of(change.Warnings[0]), "kubectl auth can-i watch pods -A") {
			t.Errorf("warnings %v", change.Warnings)
		}
	})
}

// A server that is away for a while costs a warning, and nothing is lost.
func TestServerAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		web1 := newPod("shop", "web-1", "", "app=web")
		c := newCluster(t, newNamespace("shop"), web1)
		told := c.follow(target.Request{Namespace: "shop", Selector: "app=web"})
		told.text()
		var away atomic.Bool
		away.Store(true)
		c.PrependReactor("list", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
			return away.Load(), nil, errors.New("connection refused")
		})
		c.breakWatches("pods", gone())
		c.remove(web1)
		time.Sleep(time.Minute)
		const want = "! the API server does not answer as it should, changes may come late: connection refused"
		if got := told.text(); got != want {
			t.Errorf("told %q, want %q", got, want)
		}
		away.Store(false)
		time.Sleep(retryMax)
		if got, want := told.text(), "-shop/web-1(u-web-1)"; got != want {
			t.Errorf("told %q, want %q", got, want)
		}
	})
}
