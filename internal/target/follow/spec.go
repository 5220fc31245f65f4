package follow

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubectl-retina/kubectl-retina/internal/target"
)

// specOf says what to read to follow a part of a selection.
func specOf(p target.Part) spec {
	s := spec{reading: reading{namespace: p.Namespace, name: p.Name, labels: p.Labels}, names: p.Names}
	switch p.Kind {
	case "pod":
		s.resource, s.named = "pods", p.Name != ""
	case "node":
		s.resource = "nodes"
	case "namespace":
		s.resource, s.grow = "namespaces", func(object any) map[string]spec { return ofNamespace(object, p.Pods) }
	case "service":
		s.resource, s.grow = "services", ofService
	case "deployment":
		s.resource, s.grow = "deployments.apps", ofDeployment
	case "cronjob":
		s.resource, s.grow = "cronjobs.batch", ofCronJob
	case "job":
		s.resource, s.grow = "jobs.batch", ofWorkload
	case "replicationcontroller":
		s.resource, s.grow = "replicationcontrollers", ofWorkload
	default: // statefulset, daemonset, replicaset
		s.resource, s.grow = p.Kind+"s.apps", ofWorkload
	}
	return s
}

// ownPods is the spec of a controller's pods: those that match its selector and
// that it owns.
func ownPods(owner metav1.Object, selector *metav1.LabelSelector) map[string]spec {
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil || parsed.Empty() {
		return nil // the API server lets neither through
	}
	pods := spec{
		reading: reading{resource: "pods", namespace: owner.GetNamespace(), labels: parsed},
		owner:   owner.GetUID(),
	}
	return map[string]spec{fmt.Sprintf("%s %s", pods.owner, parsed): pods}
}

func ofNamespace(object any, pods labels.Selector) map[string]spec {
	ns, ok := object.(*corev1.Namespace)
	if !ok {
		return nil
	}
	return map[string]spec{string(ns.UID): {reading: reading{resource: "pods", namespace: ns.Name, labels: pods}}}
}

// ofWorkload is for controllers that own their pods themselves.
func ofWorkload(object any) map[string]spec {
	switch w := object.(type) {
	case *appsv1.StatefulSet:
		return ownPods(w, w.Spec.Selector)
	case *appsv1.DaemonSet:
		return ownPods(w, w.Spec.Selector)
	case *appsv1.ReplicaSet:
		return ownPods(w, w.Spec.Selector)
	case *batchv1.Job:
		return ownPods(w, w.Spec.Selector)
	case *corev1.ReplicationController:
		return ownPods(w, &metav1.LabelSelector{MatchLabels: w.Spec.Selector})
	}
	return nil
}

func ofDeployment(object any) map[string]spec {
	deployment, ok := object.(*appsv1.Deployment)
	if !ok {
		return nil
	}
	parsed, err := metav1.LabelSelectorAsSelector(deployment.Spec.Selector)
	if err != nil {
		return nil
	}
	uid := deployment.UID
	return map[string]spec{fmt.Sprintf("%s %s", uid, parsed): {
		reading: reading{resource: "replicasets.apps", namespace: deployment.Namespace, labels: parsed},
		grow:    func(object any) map[string]spec { return ofReplicaSet(object, uid) },
		sticky:  true,
	}}
}

// ofReplicaSet leaves out the ReplicaSets that a Deployment keeps as its history,
// without pods.
func ofReplicaSet(object any, deployment types.UID) map[string]spec {
	rs, ok := object.(*appsv1.ReplicaSet)
	if !ok || !controlledBy(rs, deployment) {
		return nil
	}
	if rs.Spec.Replicas != nil && *rs.Spec.Replicas == 0 && rs.Status.Replicas == 0 {
		return nil
	}
	return ownPods(rs, rs.Spec.Selector)
}

func ofCronJob(object any) map[string]spec {
	cronJob, ok := object.(*batchv1.CronJob)
	if !ok {
		return nil
	}
	uid := cronJob.UID
	return map[string]spec{string(uid): {
		reading: reading{resource: "jobs.batch", namespace: cronJob.Namespace},
		grow: func(object any) map[string]spec {
			job, ok := object.(*batchv1.Job)
			if !ok || !controlledBy(job, uid) || target.Finished(job) {
				return nil
			}
			return ownPods(job, job.Spec.Selector)
		},
		sticky: true,
	}}
}

func controlledBy(object metav1.Object, uid types.UID) bool {
	ref := metav1.GetControllerOfNoCopy(object)
	return ref != nil && ref.UID == uid
}

// ofService is the pods that a Service's selector selects or, if it has none,
// those that its EndpointSlices refer to.
func ofService(object any) map[string]spec {
	service, ok := object.(*corev1.Service)
	if !ok {
		return nil
	}
	if len(service.Spec.Selector) > 0 && service.Spec.Type != corev1.ServiceTypeExternalName {
		selector := labels.SelectorFromSet(service.Spec.Selector)
		return map[string]spec{"selector " + selector.String(): {
			reading: reading{resource: "pods", namespace: service.Namespace, labels: selector},
		}}
	}
	return map[string]spec{"endpoints": {
		reading: reading{
			resource:  "endpointslices.discovery.k8s.io",
			namespace: service.Namespace,
			labels:    labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: service.Name}),
		},
		grow: ofEndpointSlice,
	}}
}

func ofEndpointSlice(object any) map[string]spec {
	endpoints, ok := object.(*discoveryv1.EndpointSlice)
	if !ok {
		return nil
	}
	specs := make(map[string]spec)
	for _, name := range target.EndpointPods(endpoints) {
		specs[name] = spec{reading: reading{resource: "pods", namespace: endpoints.Namespace, name: name}}
	}
	return specs
}
