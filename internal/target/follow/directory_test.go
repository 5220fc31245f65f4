package follow

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
	"github.com/kubectl-retina/kubectl-retina/internal/target"
)

// directoryOf starts a Directory, waits until it is in sync, and returns it with
// what it warns of.
func directoryOf(t *testing.T, c *cluster, options Options) (*Directory, func() string) {
	t.Helper()
	var mu sync.Mutex
	var warnings []string
	options.Warn = func(err error) {
		mu.Lock()
		defer mu.Unlock()
		text, _, _ := strings.Cut(err.Error(), ":")
		warnings = append(warnings, text)
	}
	d := NewDirectory(t.Context(), c, options)
	if err := d.WaitForSync(t.Context()); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	return d, func() string {
		mu.Lock()
		defer mu.Unlock()
		return strings.Join(warnings, ", ")
	}
}

// partyText writes all of a party, but its kind as a word.
func partyText(p metrics.Party) string {
	words := []string{p.Kind}
	for _, field := range []struct{ name, value string }{
		{"", p.String()}, {"on ", p.Node}, {"of ", p.Workload}, {"svc ", p.Service}, {"zone ", p.Zone}, {"policies ", strings.Join(p.Policies, ",")},
	} {
		if field.value != "" {
			words = append(words, field.name+field.value)
		}
	}
	return strings.Join(words, " ") + " " + fmt.Sprint(p.Addresses)
}

func zoneNode(name, zone, ip string) *corev1.Node {
	node := newNode(name, "linux", "topology.kubernetes.io/zone="+zone)
	node.Status.Addresses = []corev1.NodeAddress{
		{Type: corev1.NodeHostName, Address: "10.9.9.9"}, {Type: corev1.NodeInternalIP, Address: ip}, {Type: corev1.NodeExternalIP, Address: "2001:db8::1"},
	}
	node.Spec.PodCIDR, node.Spec.PodCIDRs = "10.0.0.0/24", []string{"10.0.0.0/24", "fd00::/64"}
	return node
}

func newPolicy(name, selects string) *networkingv1.NetworkPolicy {
	p := &networkingv1.NetworkPolicy{ObjectMeta: objectMeta("shop", name)}
	if selects != "" {
		p.Spec.PodSelector = *selector(selects)
	}
	return p
}

func shop() []kruntime.Object {
	web := newService("web", "app=web")
	web.Spec.ClusterIP, web.Spec.ClusterIPs = "10.96.0.1", []string{"10.96.0.1", "fd96::1"}
	web.Spec.ExternalIPs = []string{"192.0.2.80"}
	web.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.168.0.1"}, {Hostname: "lb.example.com"}}
	headless := newService("all", "tier=front")
	headless.Spec.ClusterIP, headless.Spec.ClusterIPs = "None", []string{"None"}
	elsewhere := newService("a", "app=web")
	elsewhere.Namespace = "pay"
	outside := newService("aaa", "app=web")
	outside.Spec.Type, outside.Spec.ExternalName = corev1.ServiceTypeExternalName, "db.example.com"
	hostPod := with(newPod("shop", "proxy", "192.168.0.1", "DaemonSet/proxy", "app=proxy"), func(p *corev1.Pod) { p.Spec.HostNetwork = true })
	return []kruntime.Object{
		zoneNode("n1", "z1", "192.168.0.1"), web, headless, elsewhere, outside, hostPod,
		newPolicy("deny", ""), newPolicy("allow-web", "app=web"), newPolicy("till", "app=till"),
		newPod("shop", "web-1", "10.0.0.5", "app=web", "tier=front", "pod-template-hash=7c9d", "ReplicaSet/web-7c9d"),
		with(newPod("shop", "job-1", "10.0.0.7", "Job/job"), inPhase(corev1.PodSucceeded)),
		newPod("pay", "bare", "10.0.0.6"),
	}
}

func TestDirectory(t *testing.T) {
	tests := map[string]string{
		"10.0.0.5":        "pod shop/web-1 on n1 of Deployment/web svc all zone z1 policies allow-web,deny [10.0.0.5]",
		"::ffff:10.0.0.5": "pod shop/web-1 on n1 of Deployment/web svc all zone z1 policies allow-web,deny [10.0.0.5]",
		"10.0.0.6":        "pod pay/bare on n1 of Pod/bare zone z1 [10.0.0.6]",
		"10.0.0.7":        "unknown 10.0.0.7 [10.0.0.7]", // of a pod that has ended
		"10.0.0.1":        "unknown 10.0.0.1 [10.0.0.1]", // a gateway
		"fd00::1":         "unknown fd00::1 [fd00::1]",
		"10.96.0.1":       "service svc shop/web [10.96.0.1]",
		"fd96::1":         "service svc shop/web [fd96::1]",
		"192.0.2.80":      "service svc shop/web [192.0.2.80]",
		"192.168.0.1":     "node node n1 zone z1 [192.168.0.1]", // and a pod's and a load balancer's
		"2001:db8::1":     "node node n1 zone z1 [2001:db8::1]",
		"fe80::1%eth0":    "external fe80::1 [fe80::1]",
		"10.9.9.9":        "external 10.9.9.9 [10.9.9.9]",
		"192.0.2.1":       "external 192.0.2.1 [192.0.2.1]",
	}
	synctest.Test(t, func(t *testing.T) {
		d, warnings := directoryOf(t, newCluster(t, shop()...), Options{})
		for addr, want := range tests {
			if got := partyText(d.Party(netip.MustParseAddr(addr))); got != want {
				t.Errorf("%s is %q, want %q", addr, got, want)
			}
		}
		if got, want := partyText(d.NodeParty("n1")), "node node n1 zone z1 [192.168.0.1 2001:db8::1]"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if got, want := partyText(d.NodeParty("n9")), "node node n9 []"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if w := warnings(); w != "" {
			t.Errorf("warnings: %s", w)
		}
	})
}

func TestPodParty(t *testing.T) {
	addrs := []netip.Addr{netip.MustParseAddr("10.0.0.5"), netip.MustParseAddr("fd00::5")}
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, shop()...)
		d, _ := directoryOf(t, c, Options{})
		web := target.Pod{Namespace: "shop", Name: "web-1", UID: "u-web-1", Node: "n1", IPs: addrs}
		const known = "pod shop/web-1 on n1 of Deployment/web svc all zone z1 policies allow-web,deny [10.0.0.5 fd00::5]"
		if got := partyText(d.PodParty(web)); got != known {
			t.Errorf("got %q, want %q", got, known)
		}
		other := web
		other.UID, other.Owner = "u-2", "StatefulSet/web"
		if got, want := partyText(d.PodParty(other)), "pod shop/web-1 on n1 of StatefulSet/web zone z1 [10.0.0.5 fd00::5]"; got != want {
			t.Errorf("one that the directory does not know yet: got %q, want %q", got, want)
		}
		proxy := target.Pod{Namespace: "shop", Name: "proxy", UID: "u-proxy", Node: "n1", HostNetwork: true}
		if got, want := partyText(d.PodParty(proxy)), "pod shop/proxy on n1 of DaemonSet/proxy zone z1 policies deny []"; got != want {
			t.Errorf("on its node's network: got %q, want %q", got, want)
		}
		c.remove(newPod("shop", "web-1", ""))
		synctest.Wait()
		if got := partyText(d.PodParty(web)); got != known {
			t.Errorf("when it has just ended: got %q, want %q", got, known)
		}
	})
}

// Addresses, selectors and labels change hands.
func TestDirectoryFollows(t *testing.T) {
	web1 := newPod("shop", "web-1", "10.0.0.5", "app=web", "pod-template-hash=7c9d", "ReplicaSet/web-7c9d")
	addr := netip.MustParseAddr("10.0.0.5")
	deleteLate := func(c *cluster) {
		c.put(newPod("shop", "late", "10.0.0.5"))
		c.remove(web1)
	}
	const kept = "pod shop/web-1 on n1 of Deployment/web svc all zone z1 policies allow-web,deny [10.0.0.5]"
	const noService = "pod shop/web-1 on n1 of Deployment/web svc web zone z1 policies allow-web,deny [10.0.0.5]"
	tests := map[string]struct {
		do    func(*cluster)
		after time.Duration
		want  string
	}{
		"just gone":          {remove(web1), 29 * time.Second, kept},
		"gone for long":      {remove(web1), 31 * time.Second, "unknown 10.0.0.5 [10.0.0.5]"},
		"ended":              {put(with(web1, inPhase(corev1.PodFailed))), time.Second, kept},
		"taken":              {func(c *cluster) { c.remove(web1); c.put(newPod("pay", "next", "10.0.0.5")) }, 0, "pod pay/next on n1 of Pod/next zone z1 [10.0.0.5]"},
		"taken before":       {deleteLate, time.Minute, "pod shop/late on n1 of Pod/late zone z1 policies deny [10.0.0.5]"},
		"taken by a node":    {func(c *cluster) { c.remove(web1); c.put(zoneNode("n2", "z2", "10.0.0.5")) }, 0, "node node n2 zone z2 [10.0.0.5]"},
		"another address":    {put(with(web1, func(p *corev1.Pod) { p.Status.PodIPs = []corev1.PodIP{{IP: "10.0.0.8"}} })), time.Minute, "unknown 10.0.0.5 [10.0.0.5]"},
		"replaced":           {put(with(web1, withUID("u-2"))), time.Minute, noService},
		"service relabelled": {put(newService("all", "tier=back")), 0, noService},
		"service gone":       {remove(newService("all", "")), 0, noService},
		"policy gone":        {remove(newPolicy("deny", "")), 0, "pod shop/web-1 on n1 of Deployment/web svc all zone z1 policies allow-web [10.0.0.5]"},
		"policy changed":     {put(newPolicy("till", "app=web")), 0, "pod shop/web-1 on n1 of Deployment/web svc all zone z1 policies allow-web,deny,till [10.0.0.5]"},
		"pod relabelled":     {put(newPod("shop", "web-1", "10.0.0.5", "app=till")), 0, "pod shop/web-1 on n1 of Pod/web-1 zone z1 policies deny,till [10.0.0.5]"},
		"node moved":         {put(zoneNode("n1", "z9", "192.168.0.1")), 0, strings.Replace(kept, "z1", "z9", 1)},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, shop()...)
				d, _ := directoryOf(t, c, Options{})
				if got := partyText(d.Party(addr)); got != kept {
					t.Fatalf("at first: got %q", got)
				}
				test.do(c)
				synctest.Wait()
				time.Sleep(test.after)
				if got := partyText(d.Party(addr)); got != test.want {
					t.Errorf("got  %q\nwant %q", got, test.want)
				}
			})
		})
	}
}

// What is known does not become wrong after a list that stands in for a watch.
func TestDirectoryRelists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, shop()...)
		d, _ := directoryOf(t, c, Options{})
		for _, resource := range []string{"pods", "services", "nodes", "networkpolicies"} {
			c.breakWatches(resource, gone())
		}
		c.remove(newPod("pay", "bare", ""))
		c.put(newPod("pay", "next", "10.0.0.66"))
		c.remove(newService("web", ""))
		c.remove(newPolicy("allow-web", ""))
		c.put(zoneNode("n2", "z2", "192.168.0.2"))
		time.Sleep(time.Minute)
		for addr, want := range map[string]string{
			"10.0.0.6":    "unknown 10.0.0.6 [10.0.0.6]",
			"10.0.0.66":   "pod pay/next on n1 of Pod/next zone z1 [10.0.0.66]",
			"10.0.0.5":    "pod shop/web-1 on n1 of Deployment/web svc all zone z1 policies deny [10.0.0.5]",
			"10.96.0.1":   "external 10.96.0.1 [10.96.0.1]",
			"192.168.0.2": "node node n2 zone z2 [192.168.0.2]",
		} {
			if got := partyText(d.Party(netip.MustParseAddr(addr))); got != want {
				t.Errorf("%s is %q, want %q", addr, got, want)
			}
		}
	})
}

func TestDirectoryEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		d := NewDirectory(ctx, newCluster(t, shop()...), Options{})
		cancel()
		d.Wait()
		_ = d.Party(netip.MustParseAddr("10.0.0.5"))
		if err := d.WaitForSync(ctx); err == nil {
			t.Error("in sync although it ended at once")
		}
	})
}

func TestConcurrentLookups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, shop()...)
		d, _ := directoryOf(t, c, Options{})
		var lookups sync.WaitGroup
		for i := range 4 {
			lookups.Go(func() {
				for j := range 500 {
					d.Party(netip.AddrFrom4([4]byte{10, 0, 0, byte(i + j)}))
					d.NodeParty("n1")
					time.Sleep(time.Millisecond)
				}
			})
		}
		for i := range 100 {
			c.put(newPod("shop", "web-1", fmt.Sprintf("10.0.0.%d", i), "app=web", fmt.Sprintf("n=%d", i%3)))
			c.put(newService("web", fmt.Sprintf("n=%d", i%3)))
			time.Sleep(5 * time.Millisecond)
		}
		lookups.Wait()
		synctest.Wait()
		if got := d.Party(netip.MustParseAddr("10.0.0.99")); got.Name != "web-1" || got.Service != "web" {
			t.Errorf("got %+v", got)
		}
	})
}
