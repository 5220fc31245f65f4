package clusterinfo

import (
	"fmt"
	"regexp"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
)

// removed stands where something was.
const removed = "[removed]"

// copies are annotations in which tools keep the whole object, with what is
// removed from it here.
func copies() []string {
	return []string{corev1.LastAppliedConfigAnnotation, "kapp.k14s.io/original", "objectset.rio.cattle.io/applied"}
}

// clean removes what is secret or of no use from an object, which is changed.
func clean(object runtime.Object, o Options) error {
	accessor, err := meta.Accessor(object)
	if err != nil {
		return fmt.Errorf("metadata of an object: %w", err)
	}
	accessor.SetManagedFields(nil)
	annotations := accessor.GetAnnotations()
	for _, name := range copies() {
		delete(annotations, name)
	}
	accessor.SetAnnotations(annotations)
	switch object := object.(type) {
	case *corev1.Pod:
		cleanPod(object, o)
	case *corev1.Event:
		if o.HeadersOnly && object.Reason == "Unhealthy" { // quotes what a probe printed
			object.Message = removed
		}
	}
	return nil
}

func cleanPod(pod *corev1.Pod, o Options) {
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			cleanContainer(&containers[i], o)
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		// The two types have the same fields, by the API's promise.
		container := corev1.Container(pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		cleanContainer(&container, o)
		pod.Spec.EphemeralContainers[i].EphemeralContainerCommon = corev1.EphemeralContainerCommon(container)
	}
	if !o.HeadersOnly {
		return
	}
	for _, statuses := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses, pod.Status.EphemeralContainerStatuses} {
		for i := range statuses {
			for _, state := range []*corev1.ContainerState{&statuses[i].State, &statuses[i].LastTerminationState} {
				if state.Terminated != nil {
					blank(&state.Terminated.Message)
				}
			}
		}
	}
}

// signature is that of a shared access signature, such as one that a pod passes to
// this very program.
var signature = regexp.MustCompile(`(?i)\bsig=[^&"'\s]+`)

func withoutSignatures(words []string) {
	for i, word := range words {
		words[i] = signature.ReplaceAllString(word, "sig="+removed)
	}
}

func cleanContainer(c *corev1.Container, o Options) {
	for i := range c.Env {
		blank(&c.Env[i].Value)
	}
	if o.HeadersOnly {
		c.Command, c.Args = blankAll(c.Command), blankAll(c.Args)
	}
	withoutSignatures(c.Command)
	withoutSignatures(c.Args)
	for _, probe := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		if probe != nil {
			cleanHandler(probe.Exec, probe.HTTPGet, o)
		}
	}
	if c.Lifecycle == nil {
		return
	}
	for _, handler := range []*corev1.LifecycleHandler{c.Lifecycle.PostStart, c.Lifecycle.PreStop} {
		if handler != nil {
			cleanHandler(handler.Exec, handler.HTTPGet, o)
		}
	}
}

func cleanHandler(exec *corev1.ExecAction, get *corev1.HTTPGetAction, o Options) {
	if exec != nil && o.HeadersOnly {
		exec.Command = blankAll(exec.Command)
	}
	if get != nil {
		for i := range get.HTTPHeaders {
			blank(&get.HTTPHeaders[i].Value)
		}
	}
}

func blank(value *string) {
	if *value != "" {
		*value = removed
	}
}

func blankAll(words []string) []string {
	if len(words) == 0 {
		return nil
	}
	return []string{removed}
}
