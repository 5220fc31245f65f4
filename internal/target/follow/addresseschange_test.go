package follow

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Who may not watch is warned once, however often the list is read instead, and the
// addresses follow nevertheless.
func TestAddressesWithoutWatchWarnOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, newNamespace("shop"), addressPod("web-1", "Running", false, "10.1.0.1"))
		c.forbid("watch", "pods", "shop")
		var warnings atomic.Int32
		a, err := WatchAddresses(t.Context(), c, []Object{{"pod", "shop", "web-1"}}, func(error) { warnings.Add(1) })
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		c.put(addressPod("web-1", "Running", false, "10.1.0.2"))
		time.Sleep(2 * relistEvery)
		if got, want := known(a), "10.1.0.2=1"; got != want {
			t.Errorf("addresses %s, want %s", got, want)
		}
		if n := warnings.Load(); n != 1 {
			t.Errorf("%d warnings in a minute, want 1", n)
		}
	})
}

// An address belongs to the pod that has it now: not to one that had it before, and
// to nobody while that is none of the filter's.
func TestAddressThatAnotherPodGets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := addressPod("old", "Running", false, "10.1.0.1")
		c := newCluster(t, newNamespace("shop"), old, addressPod("new", "Pending", false))
		a, err := WatchAddresses(t.Context(), c, []Object{{"pod", "shop", "old"}, {"pod", "shop", "new"}}, func(err error) { t.Error(err) })
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct {
			what   string
			change func()
			want   string
		}{
			{"at the beginning", func() {}, "10.1.0.1=1"},
			{"it has ended, and the object is still there", func() { c.put(addressPod("old", "Succeeded", false, "10.1.0.1")) }, ""},
			{"a stranger has its address", func() { c.put(addressPod("stranger", "Running", false, "10.1.0.1")) }, ""},
			{"the other has it", func() { c.put(addressPod("new", "Running", false, "10.1.0.1")) }, "10.1.0.1=2"},
			{"the first is gone", func() { c.remove(old) }, "10.1.0.1=2"},
			{"the first is back with another", func() { c.put(addressPod("old", "Running", false, "10.1.0.9")) }, "10.1.0.1=2 10.1.0.9=1"},
		} {
			step.change()
			synctest.Wait()
			if got := known(a); got != step.want {
				t.Errorf("%s: addresses %q, want %q", step.what, got, step.want)
			}
		}
	})
}
