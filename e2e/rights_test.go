//go:build linux && !unit

package e2e

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestRights captures as a user without any right, then as one with what the
// error asked for.
func TestRights(t *testing.T) {
	s := openShop(t, "")
	const user = "e2e-someone"
	args := []string{"capture", "create", "pod/web-n1", "-n", s.namespace, "--collector-namespace", collectorNamespace, "--duration", "2s", "--as", user}
	file := func() []string { return []string{"--write", filepath.Join(t.TempDir(), "x.pcapng")} }

	wantNothingCreated(t, func() {
		retina(t, append(args, file()...)...).wantError(t, 1, "forbidden", user)
	})
	kubectl(t, "create", "role", "e2e-reader", "-n", s.namespace, "--verb=get,list", "--resource=pods")
	kubectl(t, "create", "rolebinding", "e2e-reader", "-n", s.namespace, "--role=e2e-reader", "--user="+user)

	// Now the target is seen, but collectors cannot run; the hint has the fix.
	var fix string
	wantNothingCreated(t, func() {
		r := retina(t, append(args, file()...)...)
		r.wantError(t, 1, "create pods", collectorNamespace, "hint: ", "kubectl create role")
		for line := range strings.Lines(r.stderr) {
			if text, ok := strings.CutPrefix(line, "hint: "); ok {
				fix = text
			}
		}
	})
	t.Logf("the fix: %s", fix)
	applyFix(t, fix, user)
	t.Cleanup(func() { kubectl(t, "delete", "role,rolebinding", "-n", collectorNamespace, "--all") })
	r := retina(t, append(args, file()...)...)
	r.wantCode(t, 0)
	wantNothingLeft(t)
}

// applyFix runs the commands of a hint, with the user's name in their places.
func applyFix(t *testing.T, fix, user string) {
	t.Helper()
	_, commands, ok := strings.Cut(fix, "kubectl create role")
	if !ok {
		t.Fatalf("no commands in %q", fix)
	}
	commands = strings.NewReplacer("USER", user, "<user>", user, "YOU", user).Replace("kubectl create role" + commands)
	cmd := the.Command(t.Context(), "sh", "-ec", commands)
	run(t, cmd)
}

// TestCollectorPodIsDumb looks at the real pod while it captures.
func TestCollectorPodIsDumb(t *testing.T) {
	s := openShop(t, "")
	p, _ := startCapture(t, "pod/web-n1", "-n", s.namespace, "--duration", "4s")
	p.waitFor(t, "capturing")
	pod, err := the.client.CoreV1().Pods(collectorNamespace).Get(t.Context(), collectorPod(t, p).Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	spec := pod.Spec
	if spec.AutomountServiceAccountToken == nil || *spec.AutomountServiceAccountToken {
		t.Error("it has a service-account token")
	}
	if len(spec.Volumes) > 0 || len(spec.Containers) != 1 || len(spec.InitContainers) > 0 || len(spec.EphemeralContainers) > 0 {
		t.Errorf("volumes %v, containers %v", spec.Volumes, spec.Containers)
	}
	c := spec.Containers[0]
	if c.SecurityContext.ReadOnlyRootFilesystem == nil || !*c.SecurityContext.ReadOnlyRootFilesystem {
		t.Error("its root is writable")
	}
	if len(c.Env) > 0 || len(c.EnvFrom) > 0 || len(c.VolumeMounts) > 0 {
		t.Errorf("env %v %v, mounts %v", c.Env, c.EnvFrom, c.VolumeMounts)
	}
	if spec.NodeName != "n1" || !slices.ContainsFunc(pod.OwnerReferences, func(o metav1.OwnerReference) bool { return o.Kind == "Job" }) {
		t.Errorf("node %q, owners %v", spec.NodeName, pod.OwnerReferences)
	}
	if c.Resources.Requests.Cpu().Sign() != 0 || c.Resources.Requests.Memory().Sign() != 0 || c.ImagePullPolicy != corev1.PullIfNotPresent {
		t.Errorf("requests %v, policy %s", c.Resources.Requests, c.ImagePullPolicy)
	}
	// What the processes really have.
	for _, pid := range collectors(t, "n1") {
		if mounts := onNode(t, "n1", "cat", "/proc/"+pid+"/mounts"); strings.Contains(mounts, "serviceaccount") || !strings.Contains(rootMount(mounts), "ro,") {
			t.Errorf("mounts of process %s:\n%s", pid, mounts)
		}
	}
	p.wait(t).wantCode(t, 0)
	wantNothingLeft(t)
}

func rootMount(mounts string) string {
	for line := range strings.Lines(mounts) {
		if strings.Contains(line, " / ") {
			return line
		}
	}
	return ""
}
