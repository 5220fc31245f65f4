package follow

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

func addressPod(name, phase string, hostNetwork bool, ips ...string) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Status: corev1.PodStatus{Phase: corev1.PodPhase(phase)}}
	pod.Spec.HostNetwork = hostNetwork
	for _, ip := range ips {
		pod.Status.PodIPs = append(pod.Status.PodIPs, corev1.PodIP{IP: ip})
	}
	return pod
}

func addressWorld() *fake.Clientset {
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "shop", Name: name} }
	slice := &discoveryv1.EndpointSlice{ObjectMeta: meta("web-x"), Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.1.0.9"}}}}
	slice.Labels = map[string]string{discoveryv1.LabelServiceName: "web"}
	return fake.NewClientset(
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}},
		addressPod("web-1", "Running", false, "10.1.0.1", "fd00::1"), addressPod("web-2", "Succeeded", false, "10.1.0.2"),
		addressPod("agent", "Running", true, "192.0.2.1"),
		&corev1.Service{ObjectMeta: meta("web"), Spec: corev1.ServiceSpec{ClusterIPs: []string{"10.96.0.5"}, ExternalIPs: []string{"198.51.100.7"}}},
		&corev1.Service{ObjectMeta: meta("mail"), Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "mail.example.com"}},
		slice,
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: "192.0.2.1"}, {Type: corev1.NodeHostName, Address: "n1"}}}},
	)
}

// known is what is known, as text.
func known(a *Addresses) string {
	all, _ := a.Current()
	var lines []string
	for _, addr := range slices.SortedFunc(maps.Keys(all), netip.Addr.Compare) {
		lines = append(lines, fmt.Sprintf("%s=%d", addr, all[addr]))
	}
	return strings.Join(lines, " ")
}

func TestAddresses(t *testing.T) {
	client := addressWorld()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	a, err := WatchAddresses(ctx, client, []Object{
		{"pod", "shop", "web-1"}, {"namespace", "", "shop"}, {"service", "shop", "web"}, {"node", "", "n1"}, {"pod", "shop", "agent"},
	}, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	// The fake client does not select by name, so each pod has the bits of both pods.
	if got, want := known(a), "10.1.0.1=19 10.1.0.9=4 10.96.0.5=4 192.0.2.1=25 198.51.100.7=4 fd00::1=19"; got != want {
		t.Errorf("addresses %s, want %s", got, want)
	}
	if got := a.HostNetwork(); got != 1|16 {
		t.Errorf("on their node's network: %b", got)
	}
	steps := []struct {
		change func() error
		want   string
	}{
		{func() error {
			_, err := client.CoreV1().Pods("shop").UpdateStatus(ctx, addressPod("web-1", "Running", false, "10.1.0.7"), metav1.UpdateOptions{})
			return err
		}, "10.1.0.7=19 10.1.0.9=4 10.96.0.5=4 192.0.2.1=25 198.51.100.7=4"},
		{func() error { return client.CoreV1().Pods("shop").Delete(ctx, "web-1", metav1.DeleteOptions{}) },
			"10.1.0.9=4 10.96.0.5=4 192.0.2.1=25 198.51.100.7=4"},
		{func() error {
			return client.DiscoveryV1().EndpointSlices("shop").Delete(ctx, "web-x", metav1.DeleteOptions{})
		},
			"10.96.0.5=4 192.0.2.1=25 198.51.100.7=4"},
	}
	for _, step := range steps {
		if err := step.change(); err != nil {
			t.Fatal(err)
		}
		for {
			_, changed := a.Current()
			if known(a) == step.want {
				break
			}
			select {
			case <-changed:
			case <-ctx.Done():
				t.Fatalf("addresses %s, want %s", known(a), step.want)
			}
		}
	}
	cancel()
	a.Wait()
}

func TestAddressesRefused(t *testing.T) {
	for _, tt := range []struct {
		object     Object
		want, hint string
	}{
		{Object{"pod", "shop", "web-3"}, `pod "web-3" not found in namespace "shop"`, "did you mean web-1 or web-2?"},
		{Object{"pod", "shpo", "web-1"}, `namespace "shpo" not found`, "did you mean shop?"},
		{Object{"service", "shop", "wbe"}, `service "wbe" not found in namespace "shop"`, "did you mean web?"},
		{Object{"service", "shop", "mail"}, `service "mail" in namespace "shop" stands for mail.example.com outside the cluster, and has no addresses`, "write: host mail.example.com"},
		{Object{"node", "", "n2"}, `node "n2" not found`, "did you mean n1?"},
		{Object{"namespace", "", "shopp"}, `namespace "shopp" not found`, "did you mean shop?"},
	} {
		_, err := WatchAddresses(t.Context(), addressWorld(), []Object{tt.object}, nil)
		if err == nil || err.Error() != tt.want || hint.Of(err) != tt.hint {
			t.Errorf("%+v: %v (hint %q), want %s (%s)", tt.object, err, hint.Of(err), tt.want, tt.hint)
		}
	}
	client := addressWorld()
	client.PrependReactor("list", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "", nil)
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := WatchAddresses(ctx, client, []Object{{"namespace", "", "shop"}}, nil)
	if err == nil || !strings.Contains(err.Error(), "list pods in namespace shop") || !strings.Contains(hint.Of(err), "ask for the right to list pods in namespace shop") {
		t.Errorf("error %v (hint %q)", err, hint.Of(err))
	}
}

// Who may list but not watch is warned, also while another list is still under way.
func TestAddressesUnwatched(t *testing.T) {
	client := addressWorld()
	denied := make(chan struct{})
	client.PrependWatchReactor("services", func(clienttesting.Action) (bool, watch.Interface, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "services"}, "web", nil)
	})
	client.PrependReactor("list", "endpointslices", func(clienttesting.Action) (bool, runtime.Object, error) {
		select {
		case <-denied:
			return false, nil, nil
		default:
			return true, nil, apierrors.NewTooManyRequests("later", 0)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var once sync.Once
	var warnings atomic.Int32
	a, err := WatchAddresses(ctx, client, []Object{{"service", "shop", "web"}}, func(err error) {
		if strings.Contains(err.Error(), "watch services in namespace shop") {
			warnings.Add(1)
			once.Do(func() { close(denied) })
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := known(a), "10.1.0.9=1 10.96.0.5=1 198.51.100.7=1"; got != want || warnings.Load() == 0 {
		t.Errorf("addresses %s, want %s; %d warnings", got, want, warnings.Load())
	}
	cancel()
	a.Wait()
}
