package follow

import (
	"cmp"
	"context"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"

	"github.com/kubectl-retina/kubectl-retina/internal/target"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// apiService is the Service in "default" by which pods reach the API server.
const apiService = "kubernetes"

// APIServers returns the addresses of the API server as the cluster's pods and
// nodes see them: of the Service "kubernetes", and of the servers behind it.
// They are unique and sorted, and at most wire.MaxAPIServers; the Service's own
// are never left out for others. What could be found is returned even with an
// error, which is a warning; if there are two it is the first.
func APIServers(ctx context.Context, client kubernetes.Interface) ([]netip.AddrPort, error) {
	addresses, serviceErr := serviceAddresses(ctx, client)
	servers, serversErr := serverAddresses(ctx, client)
	slices.SortFunc(servers, netip.AddrPort.Compare)
	for _, server := range servers {
		if len(addresses) < wire.MaxAPIServers && !slices.Contains(addresses, server) {
			addresses = append(addresses, server)
		}
	}
	slices.SortFunc(addresses, netip.AddrPort.Compare)
	return addresses, cmp.Or(serviceErr, serversErr)
}

func serviceAddresses(ctx context.Context, client kubernetes.Interface) ([]netip.AddrPort, error) {
	service, err := client.CoreV1().Services(metav1.NamespaceDefault).Get(ctx, apiService, metav1.GetOptions{})
	if err != nil {
		return nil, target.Asking(err, "get", "services", metav1.NamespaceDefault)
	}
	var found []netip.AddrPort
	record := newServiceRecord(service)
	for _, addr := range slices.Compact(record.clusterIPs) {
		for i := range service.Spec.Ports {
			if port := &service.Spec.Ports[i]; cmp.Or(port.Protocol, corev1.ProtocolTCP) == corev1.ProtocolTCP {
				found = appendAddrPort(found, addr, port.Port)
			}
		}
	}
	return found, nil
}

func serverAddresses(ctx context.Context, client kubernetes.Interface) ([]netip.AddrPort, error) {
	opts := metav1.ListOptions{LabelSelector: labels.Set{discoveryv1.LabelServiceName: apiService}.String()}
	found, err := target.Collect(ctx, opts, client.DiscoveryV1().EndpointSlices(metav1.NamespaceDefault).List,
		func(page *discoveryv1.EndpointSliceList) []netip.AddrPort {
			var found []netip.AddrPort
			for i := range page.Items {
				found = append(found, endpointAddresses(&page.Items[i])...)
			}
			return found
		})
	return found, target.Asking(err, "list", "endpointslices.discovery.k8s.io", metav1.NamespaceDefault)
}

// endpointAddresses returns those that are not known to be out of service.
func endpointAddresses(endpoints *discoveryv1.EndpointSlice) []netip.AddrPort {
	var found []netip.AddrPort
	for i := range endpoints.Endpoints {
		e := &endpoints.Endpoints[i]
		if e.Conditions.Ready != nil && !*e.Conditions.Ready {
			continue
		}
		for _, text := range e.Addresses {
			addr, ok := target.ParseAddr(text)
			for j := range endpoints.Ports {
				p := &endpoints.Ports[j]
				if ok && p.Port != nil && (p.Protocol == nil || *p.Protocol == corev1.ProtocolTCP) {
					found = appendAddrPort(found, addr, *p.Port)
				}
			}
		}
	}
	return found
}

// appendAddrPort appends what can be connected to and is not there yet.
func appendAddrPort(list []netip.AddrPort, addr netip.Addr, port int32) []netip.AddrPort {
	at := netip.AddrPortFrom(addr, uint16(port))
	if port <= 0 || port > 65535 || slices.Contains(list, at) {
		return list
	}
	return append(list, at)
}
