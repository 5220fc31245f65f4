package follow

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// apiWorld is the Service of an API server with n servers.
func apiWorld(n int) []runtime.Object {
	service := &corev1.Service{ObjectMeta: objectMeta("default", "kubernetes")}
	service.Spec.ClusterIP, service.Spec.ClusterIPs = "10.96.0.1", []string{"10.96.0.1", "fd96::1"}
	service.Spec.Ports = []corev1.ServicePort{{Port: 443, Protocol: corev1.ProtocolTCP}, {Port: 53, Protocol: corev1.ProtocolUDP}}
	port, no := int32(6443), false
	endpoints := &discoveryv1.EndpointSlice{
		ObjectMeta: objectMeta("default", "kubernetes", discoveryv1.LabelServiceName+"=kubernetes"),
		Ports:      []discoveryv1.EndpointPort{{Port: &port}, {}},
		Endpoints:  []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.250"}, Conditions: discoveryv1.EndpointConditions{Ready: &no}}, {Addresses: []string{"nonsense"}}},
	}
	for i := n; i > 0; i-- {
		endpoints.Endpoints = append(endpoints.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.0.0.%d", i)}})
	}
	again := endpoints.DeepCopy()
	again.Name = "kubernetes-again"
	other := endpoints.DeepCopy()
	other.Name, other.Labels = "other", nil
	other.Endpoints = []discoveryv1.Endpoint{{Addresses: []string{"10.9.9.9"}}}
	return []runtime.Object{service, endpoints, again, other}
}

func TestAPIServers(t *testing.T) {
	tests := map[string]struct {
		objects []runtime.Object
		deny    string // what to list or get
		want    string
		err     string
	}{
		"all":          {objects: apiWorld(2), want: "[10.0.0.1:6443 10.0.0.2:6443 10.96.0.1:443 [fd96::1]:443]"},
		"no endpoints": {objects: apiWorld(2), deny: "list endpointslices", want: "[10.96.0.1:443 [fd96::1]:443]", err: "list endpointslices.discovery.k8s.io in namespace default: endpointslices.discovery.k8s.io is forbidden: user jane cannot list it"},
		"no service":   {objects: apiWorld(1), deny: "get services", want: "[10.0.0.1:6443]", err: "get services in namespace default: services is forbidden: user jane cannot get it"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, test.objects...)
			if test.deny != "" {
				var verb, resource string
				if _, err := fmt.Sscan(test.deny, &verb, &resource); err != nil {
					t.Fatal(err)
				}
				c.forbid(verb, resource, "default")
			}
			got, err := APIServers(t.Context(), c)
			if fmt.Sprint(got) != test.want {
				t.Errorf("got  %v\nwant %s", got, test.want)
			}
			if text := fmt.Sprint(err); text != test.err && (err != nil || test.err != "") {
				t.Errorf("error %q, want %q", text, test.err)
			}
			if err != nil && hint.Of(err) == "" {
				t.Error("no hint")
			}
		})
	}
}

func TestManyAPIServers(t *testing.T) {
	got, err := APIServers(t.Context(), newCluster(t, apiWorld(40)...))
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != wire.MaxAPIServers || !slices.IsSortedFunc(got, netip.AddrPort.Compare) || !slices.Contains(got, netip.MustParseAddrPort("[fd96::1]:443")) {
		t.Errorf("got %v", got)
	}
}
