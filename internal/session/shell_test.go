package session

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// TestShellPod: a shell has no more than it needs, and only one that enters a pod
// sees the node's processes, for as long as that takes.
func TestShellPod(t *testing.T) {
	options := podOptions{RunID: "r", Name: "retina-r-0", Namespace: testNamespace, Image: "collector:1"}
	for _, uid := range []string{"", "0d9a2b53-0000-4000-8000-000000000001"} {
		pod := shellPod("n1", options, Shell{Image: "tools:1", PodUID: uid, Namespace: "shop"})
		c, init := pod.Spec.Containers[0], pod.Spec.InitContainers[0]
		if c.Image != "tools:1" || init.Image != "collector:1" || pod.Labels[LabelComponent] != ComponentShell || pod.Spec.NodeName != "n1" {
			t.Errorf("images %s, %s, labels %v, node %s", c.Image, init.Image, pod.Labels, pod.Spec.NodeName)
		}
		enters := uid != ""
		if pod.Spec.HostPID != enters || slices.Contains(c.SecurityContext.Capabilities.Add, corev1.Capability("SYS_ADMIN")) != enters {
			t.Errorf("UID %q: hostPID %t, capabilities %v", uid, pod.Spec.HostPID, c.SecurityContext.Capabilities.Add)
		}
		if c.SecurityContext.Privileged != nil || len(pod.Spec.Volumes) != 1 || pod.Spec.Volumes[0].EmptyDir == nil || *pod.Spec.AutomountServiceAccountToken {
			t.Errorf("UID %q: security %+v, volumes %+v", uid, c.SecurityContext, pod.Spec.Volumes)
		}
		if !c.VolumeMounts[0].ReadOnly || init.SecurityContext.Privileged != nil {
			t.Errorf("UID %q: mounts %+v", uid, c.VolumeMounts)
		}
	}
}

// TestShellStartsAndEnds: its pod goes with the run.
func TestShellStartsAndEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		run, err := Open(t.Context(), c.config())
		if err != nil {
			t.Fatal(err)
		}
		pod, err := run.StartShell(t.Context(), "absent", Shell{Image: "tools:1"})
		wantError(t, err, "node absent: there is no node of this name", "")
		if pod.Name != "" {
			t.Errorf("pod %s", pod)
		}
		c.close(run)
	})
}

// TestShellTimeout: an image that is pulled for too long is a shell's, not a
// collector's.
func TestShellTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "n1")
		c.kubelet = c.says("Pulling")
		cfg := c.config()
		cfg.StartTimeout = 10 * time.Minute
		run, err := Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		_, err = run.StartShell(t.Context(), "n1", Shell{Image: "tools:1"})
		wantError(t, err, "node n1: shell is not ready after 10m0s, still pulling", "")
		c.close(run)
	})
}

func TestShellCommand(t *testing.T) {
	if got := (Shell{}).Command(nil); !slices.Equal(got, []string{"/.retina/retina-collector", "enter", "node"}) {
		t.Errorf("%q", got)
	}
	if got := (Shell{PodUID: "u"}).Command([]string{"ip", "a"}); !slices.Equal(got, []string{"/.retina/retina-collector", "enter", "u", "ip", "a"}) {
		t.Errorf("%q", got)
	}
}

// TestJudgeInit: what keeps the pod from its first container is told as well.
func TestJudgeInit(t *testing.T) {
	pod := shellPod("n1", podOptions{Image: "collector:1"}, Shell{Image: "tools:1"})
	pod.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: programContainer,
		State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "no such host"}}}}
	_, err := judge(podState{Pod: pod})
	wantError(t, err, "collector image collector:1 cannot be pulled (ErrImagePull): no such host", "--collector-image")
	pod.Status.InitContainerStatuses[0].State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "PodInitializing"}}
	if running, err := judge(podState{Pod: pod}); running || err != nil {
		t.Errorf("%t, %v", running, err)
	}
	pod.Status.InitContainerStatuses[0].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: ShellContainer,
		State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"}}}}
	_, err = judge(podState{Pod: pod})
	wantError(t, err, "image tools:1 cannot be pulled", "--image-pull-secret")
	// How a shell ended is not said of a collector.
	for reason, text := range map[string]string{
		"StartError": "shell container cannot start (StartError)", "OOMKilled": "shell was killed: it reached its memory limit of 1Gi",
	} {
		pod.Status.ContainerStatuses[0].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: reason}}
		_, err = judge(podState{Pod: pod})
		wantError(t, err, text, "")
	}
	_, err = judge(podState{Pod: shellPod("n1", podOptions{Namespace: testNamespace, Name: "p"}, Shell{}), Gone: true})
	wantError(t, err, "shell pod "+testNamespace+"/p was deleted", "")
}
