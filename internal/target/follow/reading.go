package follow

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
)

// A reading says which objects to list and watch. The server selects.
type reading struct {
	resource  string          // as RBAC writes it: "replicasets.apps"
	namespace string          // "" is all of them, or none
	name      string          // "" is any
	labels    labels.Selector // nil is any
}

// options returns o with the selectors of r.
func (r reading) options(o metav1.ListOptions) metav1.ListOptions {
	if r.name != "" {
		o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, r.name).String()
	}
	if r.labels != nil {
		o.LabelSelector = r.labels.String()
	}
	return o
}

// objectList is a page of objects.
type objectList interface {
	runtime.Object
	metav1.ListInterface
}

// access is how objects of one kind are read.
type access struct {
	list  func(context.Context, metav1.ListOptions) (objectList, error)
	watch func(context.Context, metav1.ListOptions) (watch.Interface, error)
}

// listWatcher is the part of a typed client that is used here.
type listWatcher[L objectList] interface {
	List(context.Context, metav1.ListOptions) (L, error)
	Watch(context.Context, metav1.ListOptions) (watch.Interface, error)
}

func accessOf[L objectList](c listWatcher[L]) access {
	return access{
		list: func(ctx context.Context, o metav1.ListOptions) (objectList, error) {
			return c.List(ctx, o)
		},
		watch: c.Watch,
	}
}

// access returns how to read the objects of r.
func (r reading) access(client kubernetes.Interface) (access, error) {
	switch r.resource {
	case "pods":
		return accessOf(client.CoreV1().Pods(r.namespace)), nil
	case "services":
		return accessOf(client.CoreV1().Services(r.namespace)), nil
	case "nodes":
		return accessOf(client.CoreV1().Nodes()), nil
	case "namespaces":
		return accessOf(client.CoreV1().Namespaces()), nil
	case "replicationcontrollers":
		return accessOf(client.CoreV1().ReplicationControllers(r.namespace)), nil
	case "deployments.apps":
		return accessOf(client.AppsV1().Deployments(r.namespace)), nil
	case "statefulsets.apps":
		return accessOf(client.AppsV1().StatefulSets(r.namespace)), nil
	case "daemonsets.apps":
		return accessOf(client.AppsV1().DaemonSets(r.namespace)), nil
	case "replicasets.apps":
		return accessOf(client.AppsV1().ReplicaSets(r.namespace)), nil
	case "jobs.batch":
		return accessOf(client.BatchV1().Jobs(r.namespace)), nil
	case "cronjobs.batch":
		return accessOf(client.BatchV1().CronJobs(r.namespace)), nil
	case "endpointslices.discovery.k8s.io":
		return accessOf(client.DiscoveryV1().EndpointSlices(r.namespace)), nil
	case "networkpolicies.networking.k8s.io":
		return accessOf(client.NetworkingV1().NetworkPolicies(r.namespace)), nil
	}
	return access{}, fmt.Errorf("%s are not read here", r.resource)
}
