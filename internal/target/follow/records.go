package follow

import (
	"net/netip"
	"unique"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/kubectl-retina/kubectl-retina/internal/target"
)

// newPodRecord returns nil for a pod that has ended: its status still has its
// addresses, but another may have them by now.
func newPodRecord(pod *corev1.Pod) *podRecord {
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return nil
	}
	kept, _ := target.Observe(pod, true)
	record := &podRecord{
		name:     kept.String(),
		uid:      kept.UID,
		node:     kept.Node,
		workload: workloadOf(kept),
		labels:   unique.Make(labels.Set(pod.Labels).String()),
		created:  pod.CreationTimestamp.Unix(),
	}
	if !kept.HostNetwork {
		record.addrs = kept.IPs
	}
	if kept.Node != "" {
		for _, host := range pod.Status.HostIPs {
			record.hostAddrs = appendAddr(record.hostAddrs, host.IP)
		}
		if len(record.hostAddrs) == 0 {
			record.hostAddrs = appendAddr(nil, pod.Status.HostIP)
		}
	}
	return record
}

func workloadOf(pod target.Pod) string {
	if pod.Owner == "" {
		return "Pod/" + pod.Name
	}
	return pod.Owner
}

func newServiceRecord(service *corev1.Service) *serviceRecord {
	record := &serviceRecord{name: keyOf(service), selector: unique.Make("")}
	if service.Spec.Type != corev1.ServiceTypeExternalName {
		record.selector = unique.Make(labels.Set(service.Spec.Selector).String())
	}
	for _, ip := range append(service.Spec.ClusterIPs[:len(service.Spec.ClusterIPs):len(service.Spec.ClusterIPs)], service.Spec.ClusterIP) {
		record.clusterIPs = appendAddr(record.clusterIPs, ip) // "None" is not an address
	}
	for _, ip := range service.Spec.ExternalIPs {
		record.outerIPs = appendAddr(record.outerIPs, ip)
	}
	for i := range service.Status.LoadBalancer.Ingress {
		record.outerIPs = appendAddr(record.outerIPs, service.Status.LoadBalancer.Ingress[i].IP)
	}
	return record
}

func newPolicyRecord(policy *networkingv1.NetworkPolicy) *policyRecord {
	selector, err := metav1.LabelSelectorAsSelector(&policy.Spec.PodSelector)
	if err != nil {
		return nil // the API server lets none through
	}
	return &policyRecord{name: keyOf(policy), selector: selector}
}

func newNodeRecord(node *corev1.Node) *nodeRecord {
	record := &nodeRecord{name: node.Name, zone: node.Labels[corev1.LabelTopologyZone]}
	for _, a := range node.Status.Addresses {
		if a.Type == corev1.NodeInternalIP || a.Type == corev1.NodeExternalIP {
			record.addrs = appendAddr(record.addrs, a.Address)
		}
	}
	for _, cidr := range append(node.Spec.PodCIDRs[:len(node.Spec.PodCIDRs):len(node.Spec.PodCIDRs)], node.Spec.PodCIDR) {
		if prefix, err := netip.ParsePrefix(cidr); err == nil {
			record.ranges = append(record.ranges, prefix)
		}
	}
	return record
}

// appendAddr appends the address that text is, if it is one.
func appendAddr(addrs []netip.Addr, text string) []netip.Addr {
	if addr, ok := target.ParseAddr(text); ok {
		return append(addrs, addr)
	}
	return addrs
}
