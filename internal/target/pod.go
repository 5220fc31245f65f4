package target

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"unique"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// Reasons why a pod cannot be captured, beside the names of the phases.
const (
	reasonDeleted = "being deleted"
	reasonWindows = "on Windows"
)

// A candidate is a pod that was selected, with what is needed to decide on it.
type candidate struct {
	pod        Pod
	controller types.UID // "" without one
	running    bool      // at least one of its containers runs
	named      bool      // it was asked for by its name
	reason     string    // why it cannot be captured; "" if it can
}

// listPods returns the pods of a namespace ("": all) that match selector.
func listPods(ctx context.Context, client kubernetes.Interface, namespace string, selector labels.Selector) ([]candidate, error) {
	pods, err := Collect(ctx, metav1.ListOptions{LabelSelector: selector.String()},
		client.CoreV1().Pods(namespace).List,
		func(page *corev1.PodList) []candidate {
			out := make([]candidate, len(page.Items))
			for i := range page.Items {
				out[i] = newCandidate(&page.Items[i])
			}
			return out
		})
	return pods, Asking(err, "list", "pods", namespace)
}

func getPod(ctx context.Context, client kubernetes.Interface, namespace, name string) (candidate, error) {
	pod, err := client.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return candidate{}, err
	}
	return newCandidate(pod), nil
}

// byName returns c as a pod that was asked for by its name. Unlike one that was
// selected in another way, it can be captured while it is being deleted, for as
// long as one of its containers runs: that is what the user wants to see then.
func (c candidate) byName() candidate {
	c.named = true
	if c.reason == reasonDeleted && c.running {
		c.reason = ""
	}
	return c
}

// Observe returns what is kept of pod and why it cannot be captured, "" if it
// can. A pod that is known, because it was named itself or is captured already,
// can be while it is being deleted, for as long as one of its containers runs.
func Observe(pod *corev1.Pod, known bool) (Pod, string) {
	c := newCandidate(pod)
	if known {
		c = c.byName()
	}
	return c.pod, c.reason
}

func isRunning(s corev1.ContainerStatus) bool { return s.State.Running != nil }

// newCandidate keeps of pod what is needed. Strings that many pods have in
// common are kept once.
func newCandidate(pod *corev1.Pod) candidate {
	c := candidate{
		pod: Pod{
			Namespace:   shared(pod.Namespace),
			Name:        pod.Name,
			UID:         string(pod.UID),
			CgroupUID:   cgroupUID(pod),
			Node:        shared(pod.Spec.NodeName),
			HostNetwork: pod.Spec.HostNetwork,
			IPs:         podIPs(pod),
			Containers:  containers(pod),
			ManagedBy:   shared(pod.Labels["app.kubernetes.io/managed-by"]),
		},
		running: slices.ContainsFunc(pod.Status.ContainerStatuses, isRunning),
		reason:  unusable(pod),
	}
	if ref := metav1.GetControllerOfNoCopy(pod); ref != nil {
		c.controller = types.UID(shared(string(ref.UID)))
		c.pod.Owner = shared(owner(pod, ref))
	}
	return c
}

func shared(s string) string { return unique.Make(s).Value() }

// unusable returns why pod cannot be captured, or "".
func unusable(pod *corev1.Pod) string {
	windows := string(corev1.Windows)
	switch {
	case pod.Spec.OS != nil && pod.Spec.OS.Name == corev1.Windows, pod.Spec.NodeSelector[corev1.LabelOSStable] == windows:
		return reasonWindows
	case pod.Status.Phase == "" || pod.Spec.NodeName == "" && pod.Status.Phase == corev1.PodRunning:
		return string(corev1.PodPending)
	case pod.Status.Phase != corev1.PodRunning:
		return string(pod.Status.Phase)
	case pod.DeletionTimestamp != nil:
		return reasonDeleted
	}
	return ""
}

// cgroupUID returns the UID that the kubelet named the pod's cgroup after. A
// static pod is run under the hash of its manifest; the pod in the API is a
// mirror of it and has another UID (kubelet: pkg/kubelet/pod/mirror_client.go).
// The kubelet writes the hash twice; a pod that has it once only wants to be
// taken for another.
func cgroupUID(pod *corev1.Pod) string {
	hash := pod.Annotations["kubernetes.io/config.hash"]
	if hash != "" && hash == pod.Annotations[corev1.MirrorPodAnnotationKey] {
		return hash
	}
	return string(pod.UID)
}

func podIPs(pod *corev1.Pod) []netip.Addr {
	ips := make([]netip.Addr, 0, len(pod.Status.PodIPs))
	for _, ip := range pod.Status.PodIPs {
		if a, ok := ParseAddr(ip.IP); ok {
			ips = append(ips, a)
		}
	}
	if a, ok := ParseAddr(pod.Status.PodIP); ok && len(ips) == 0 {
		ips = append(ips, a)
	}
	return ips
}

// ParseAddr parses an address as it stands in a packet: without a zone, IPv4 as
// IPv4.
func ParseAddr(s string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(s)
	return a.Unmap().WithZone(""), err == nil
}

func containers(pod *corev1.Pod) []string {
	names := make([]string, 0, len(pod.Spec.Containers))
	for i := range pod.Spec.Containers {
		names = append(names, shared(pod.Spec.Containers[i].Name))
	}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			names = append(names, shared(c.Name))
		}
	}
	return names
}

// owner names the workload behind a pod's controller. A Deployment names its
// ReplicaSets after itself and the hash that their pods carry as a label, so no
// request is needed to get back to it.
func owner(pod *corev1.Pod, ref *metav1.OwnerReference) string {
	if hash := pod.Labels["pod-template-hash"]; ref.Kind == "ReplicaSet" && hash != "" {
		if name, ok := strings.CutSuffix(ref.Name, "-"+hash); ok {
			return "Deployment/" + name
		}
	}
	return ref.Kind + "/" + ref.Name
}
