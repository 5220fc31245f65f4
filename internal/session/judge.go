package session

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

const (
	hintImage        = "check the tag, or pass --image; for a private registry pass --image-pull-secret"
	hintProgramImage = "check --collector-image; for a private registry pass --image-pull-secret"
	hintImageKind    = "this does not look like a collector image; check --image"
	hintProgramKind  = "this does not look like a collector image; check --collector-image"
)

// ErrImage is in the error of a Start whose node cannot get the image.
var ErrImage = errors.New("cannot be pulled")

// judge says whether a pod's collector runs, may still start (false and no
// error), or never will.
func judge(s podState) (running bool, err error) {
	if s.Pod == nil {
		return false, nil
	}
	if s.Pod.DeletionTimestamp != nil {
		// How the container ended after that was the kubelet's doing.
		return false, deleted(s.Pod)
	}
	if err := judgeStatus(s.Pod); err != nil {
		return false, err
	}
	if s.Gone {
		return false, deleted(s.Pod)
	}
	status := containerStatus(s.Pod)
	return status != nil && status.State.Running != nil, nil
}

func deleted(pod *corev1.Pod) error {
	why := ""
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue {
			why = because(c.Reason, c.Message)
		}
	}
	return fmt.Errorf("%s pod %s/%s was deleted%s", holder(pod), pod.Namespace, pod.Name, why)
}

func judgeStatus(pod *corev1.Pod) error {
	for i := range pod.Status.InitContainerStatuses {
		state := pod.Status.InitContainerStatuses[i].State
		if w := state.Waiting; w != nil {
			if err := waiting(containerNamed(pod, pod.Status.InitContainerStatuses[i].Name), w); err != nil {
				return err
			}
		}
		if t := state.Terminated; t != nil && t.ExitCode != 0 {
			return terminated(containerNamed(pod, pod.Status.InitContainerStatuses[i].Name), t)
		}
	}
	if status := containerStatus(pod); status != nil {
		if t := status.State.Terminated; t != nil {
			return terminated(pod.Spec.Containers[0], t)
		}
		if w := status.State.Waiting; w != nil {
			return waiting(pod.Spec.Containers[0], w)
		}
	}
	if pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded {
		return fmt.Errorf("%s pod %s/%s ended%s", holder(pod), pod.Namespace, pod.Name, because(pod.Status.Reason, pod.Status.Message))
	}
	return nil
}

// containerNamed is the init container of this name; the name alone if there is none.
func containerNamed(pod *corev1.Pod, name string) corev1.Container {
	for _, c := range pod.Spec.InitContainers {
		if c.Name == name {
			return c
		}
	}
	return corev1.Container{Name: name}
}

func containerStatus(pod *corev1.Pod) *corev1.ContainerStatus {
	for i := 0; i < len(pod.Status.ContainerStatuses) && len(pod.Spec.Containers) > 0; i++ {
		if pod.Status.ContainerStatuses[i].Name == pod.Spec.Containers[0].Name {
			return &pod.Status.ContainerStatuses[i]
		}
	}
	return nil
}

// waiting tells reasons that need the user from those that pass. The kubelet
// would retry some of the first too, but for minutes. The reasons are those of
// the kubelet's pkg/kubelet/images and pkg/kubelet/kuberuntime.
func waiting(container corev1.Container, w *corev1.ContainerStateWaiting) error {
	switch w.Reason {
	case "ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName",
		"ImageInspectError", "RegistryUnavailable", "SignatureValidationFailed":
		image := "collector image"
		if container.Name == ShellContainer {
			image = "image"
		}
		err := fmt.Errorf("%s %s %w%s", image, container.Image, ErrImage, because(w.Reason, w.Message))
		if container.Name == programContainer {
			return hint.Wrap(err, hintProgramImage)
		}
		return hint.Wrap(err, hintImage)
	case "CreateContainerError", "CreateContainerConfigError", "RunContainerError", "CrashLoopBackOff",
		"PreCreateHookError", "PreStartHookError", "PostStartHookError":
		return fmt.Errorf("%s container cannot start%s", role(container), because(w.Reason, w.Message))
	}
	return nil
}

func terminated(container corev1.Container, t *corev1.ContainerStateTerminated) error {
	if t.Reason == "StartError" || t.Reason == "ContainerCannotRun" {
		err := fmt.Errorf("%s container cannot start%s", role(container), because(t.Reason, t.Message))
		switch container.Name {
		case ShellContainer: // it executes our own program, whatever the image
			return err
		case programContainer:
			return hint.Wrap(err, hintProgramKind)
		}
		return hint.Wrap(err, hintImageKind)
	}
	if t.Reason == "OOMKilled" {
		return fmt.Errorf("%s was killed: it reached its memory limit of %s%s", role(container),
			container.Resources.Limits.Memory(), because(t.Reason, t.Message))
	}
	return fmt.Errorf("%s container ended with exit code %d%s", role(container), t.ExitCode, because(t.Reason, t.Message))
}

// role is what a container is to the user.
func role(container corev1.Container) string {
	if container.Name == ShellContainer {
		return "shell"
	}
	return "collector"
}

// holder is what a pod is to the user.
func holder(pod *corev1.Pod) string {
	if len(pod.Spec.Containers) == 0 {
		return "collector"
	}
	return role(pod.Spec.Containers[0])
}

// because puts a reason and a message after what they explain.
func because(reason, message string) string {
	reason, message = oneLine(reason), oneLine(message)
	switch {
	case reason == "" && message == "":
		return ""
	case message == "":
		return " (" + reason + ")"
	case reason == "":
		return ": " + message
	}
	return " (" + reason + "): " + message
}
