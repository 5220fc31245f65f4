package clusterinfo

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
)

// resource is one kind of objects. It is listed by namespace, or got by name.
type resource struct {
	name string // as in RBAC
	kind schema.GroupVersionKind
	list func(ctx context.Context, namespace string, o metav1.ListOptions) (runtime.Object, error)
	get  func(ctx context.Context, name string) (runtime.Object, error)
}

func resources(client kubernetes.Interface) []resource {
	return []resource{
		{
			name: "pods", kind: corev1.SchemeGroupVersion.WithKind("Pod"),
			list: func(ctx context.Context, namespace string, o metav1.ListOptions) (runtime.Object, error) {
				return client.CoreV1().Pods(namespace).List(ctx, o)
			},
		},
		{
			name: "services", kind: corev1.SchemeGroupVersion.WithKind("Service"),
			list: func(ctx context.Context, namespace string, o metav1.ListOptions) (runtime.Object, error) {
				return client.CoreV1().Services(namespace).List(ctx, o)
			},
		},
		{
			name: "endpointslices", kind: discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"),
			list: func(ctx context.Context, namespace string, o metav1.ListOptions) (runtime.Object, error) {
				return client.DiscoveryV1().EndpointSlices(namespace).List(ctx, o)
			},
		},
		{
			name: "networkpolicies", kind: networkingv1.SchemeGroupVersion.WithKind("NetworkPolicy"),
			list: func(ctx context.Context, namespace string, o metav1.ListOptions) (runtime.Object, error) {
				return client.NetworkingV1().NetworkPolicies(namespace).List(ctx, o)
			},
		},
		{
			name: "events", kind: corev1.SchemeGroupVersion.WithKind("Event"),
			list: func(ctx context.Context, namespace string, o metav1.ListOptions) (runtime.Object, error) {
				return client.CoreV1().Events(namespace).List(ctx, o)
			},
		},
		{
			name: "nodes", kind: corev1.SchemeGroupVersion.WithKind("Node"),
			get: func(ctx context.Context, name string) (runtime.Object, error) {
				return client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
			},
		},
	}
}

// wanted is false for events that are too old.
func (resource) wanted(object runtime.Object, o Options) bool {
	event, ok := object.(*corev1.Event)
	return !ok || eventTime(event).After(o.Now.Add(-eventAge))
}

// eventTime is when an event was last seen, whichever API made it.
func eventTime(e *corev1.Event) metav1.Time {
	last := e.CreationTimestamp
	seen := []metav1.Time{e.FirstTimestamp, e.LastTimestamp, {Time: e.EventTime.Time}}
	if e.Series != nil {
		seen = append(seen, metav1.Time{Time: e.Series.LastObservedTime.Time})
	}
	for _, at := range seen {
		if at.After(last.Time) {
			last = at
		}
	}
	return last
}
