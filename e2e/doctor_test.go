//go:build linux && !unit

package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubectl-retina/kubectl-retina/internal/doctor"
)

// examination runs doctor and returns its report.
func examination(t *testing.T, code int, args ...string) *doctor.Report {
	t.Helper()
	r := retina(t, append([]string{"doctor", "--collector-namespace", collectorNamespace, "-o", "json"}, args...)...)
	r.wantCode(t, code)
	report := &doctor.Report{}
	if err := json.Unmarshal([]byte(r.stdout), report); err != nil {
		t.Fatalf("%v: %s", err, r)
	}
	if report.APIVersion != doctor.APIVersion || report.Kind != doctor.Kind {
		t.Errorf("schema %s %s", report.APIVersion, report.Kind)
	}
	return report
}

// verdict is the check of this name on a node, "" for the cluster's.
func verdict(t *testing.T, r *doctor.Report, name, node string) doctor.Check {
	t.Helper()
	i := slices.IndexFunc(r.Checks, func(c doctor.Check) bool { return c.Name == name && c.Node == node })
	if i < 0 {
		t.Fatalf("no check %s of node %q in %+v", name, node, r.Checks)
	}
	return r.Checks[i]
}

// wantVerdict checks a verdict and a part of what it says, hint included.
func wantVerdict(t *testing.T, r *doctor.Report, name, node string, status doctor.Status, text string) {
	t.Helper()
	c := verdict(t, r, name, node)
	if c.Status != status || !strings.Contains(c.Detail+" "+c.Hint, text) {
		t.Errorf("%+v, want %s and %q", c, status, text)
	}
}

// olderKernel reports a verdict of kernels without TCX, or without all that a
// plugin reads, see docs/kernels.md: it works, with less.
func olderKernel(c doctor.Check) bool {
	return c.Status == doctor.Warn && (c.Name == doctor.CheckTCX ||
		strings.HasPrefix(c.Name, doctor.PluginCheck) && strings.HasPrefix(c.Detail, "works, except"))
}

// TestDoctor examines both nodes of a cluster that is well.
func TestDoctor(t *testing.T) {
	r := examination(t, 0)
	for _, node := range []string{"n1", "n2"} {
		for _, name := range []string{"collector", "kernel", "btf", "tcx", "clock", "stream",
			"plugin/packets", "plugin/packetforward", "plugin/dropreason", "plugin/packetparser", "plugin/tcpretrans", "plugin/dns", "plugin/linuxutil"} {
			c := verdict(t, r, name, node)
			if c.Status != doctor.OK && !olderKernel(c) {
				t.Errorf("%+v, want ok", c)
			}
		}
		if c := verdict(t, r, "stream", node); c.Value == nil || *c.Value < 1 || c.Unit != "MB/s" {
			t.Errorf("stream of %s: %+v", node, c)
		}
		if c := verdict(t, r, "clock", node); c.Value == nil || *c.Value < -1 || *c.Value > 1 {
			t.Errorf("clock of %s: %+v", node, c) // it is this machine's
		}
	}
	for _, name := range []string{"rights", "rights/targets", "rights/extras", "namespace", "nodes"} {
		wantVerdict(t, r, name, "", doctor.OK, "")
	}
	// One node, for people.
	table := retina(t, "doctor", "node/n2", "--collector-namespace", collectorNamespace, "--stream-time", "0")
	table.wantCode(t, 0)
	if !strings.HasPrefix(table.stdout, "CHECK ") || strings.Contains(table.stdout, " n1 ") || strings.Contains(table.stdout, "stream ") {
		t.Errorf("table: %s", table)
	}
	wantNothingLeft(t)
}

// TestDoctorFinds has it look at what is wrong.
func TestDoctorFinds(t *testing.T) {
	// An image that no node can pull is a failure, and told as fast.
	r := examination(t, 1, "n1", "--image", absentImage)
	wantVerdict(t, r, "collector", "n1", doctor.Fail, "cannot be pulled")
	wantVerdict(t, r, "collector", "n1", doctor.Fail, "--image-pull-secret")

	// A namespace that refuses collectors: nothing is tried on nodes.
	restricted := uniqueName(t)
	apply(t, namespaceYAML(restricted, "pod-security.kubernetes.io/enforce: restricted"))
	wantNothingCreated(t, func() {
		r = examination(t, 1, "n1", "--collector-namespace", restricted)
	})
	wantVerdict(t, r, "namespace", "", doctor.Fail, "kubectl label")

	// More nodes than may be without a question, which nobody can be asked.
	wantNothingCreated(t, func() { r = examination(t, 3, "--max-nodes", "1") })
	wantVerdict(t, r, "rights", "", doctor.OK, "")
	wantVerdict(t, r, "nodes", "", doctor.Unknown, "to go on without being asked: --max-nodes 2")

	// A user without rights, on nodes that he may not see.
	r = examination(t, 1, "n1", "--as", "e2e-nobody")
	wantVerdict(t, r, "rights", "", doctor.Fail, "create pods/exec")
	wantVerdict(t, r, "rights/targets", "", doctor.Fail, "--print-rbac")
	wantVerdict(t, r, "namespace", "", doctor.Unknown, "")
	wantNothingLeft(t)
}

// TestDoctorFindsLeftovers: a collector without a lease, which nobody needs.
func TestDoctorFindsLeftovers(t *testing.T) {
	pods := the.client.CoreV1().Pods(collectorNamespace)
	left := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "retina-e2eleft-0", Labels: map[string]string{
			"app.kubernetes.io/name": "kubectl-retina", "app.kubernetes.io/managed-by": "kubectl-retina", "retina.sh/component": "collector", "retina.sh/run": "e2eleft",
		}},
		Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, NodeSelector: map[string]string{"absent": "true"},
			Containers: []corev1.Container{{Name: "collector", Image: absentImage}}},
	}
	if _, err := pods.Create(t.Context(), left, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kubectl(t, "delete", "pod", "-n", collectorNamespace, left.Name, "--ignore-not-found") })
	r := examination(t, 0, "n1", "--stream-time", "0")
	wantVerdict(t, r, "leftovers", "", doctor.Warn, collectorNamespace+"/pod/retina-e2eleft-0")
	wantVerdict(t, r, "leftovers", "", doctor.Warn, "kubectl retina cleanup -A")
}

// TestDoctorInterrupted leaves nothing when the user has no patience.
func TestDoctorInterrupted(t *testing.T) {
	p := start(t, "doctor", "--collector-namespace", collectorNamespace, "--stream-time", "10s")
	eventually(t, 30e9, func() error {
		list, err := the.client.CoreV1().Pods(collectorNamespace).List(t.Context(), metav1.ListOptions{LabelSelector: ours})
		if err == nil && len(list.Items) < 2 {
			err = fmt.Errorf("%d collectors", len(list.Items))
		}
		return err
	})
	p.signal(t, syscall.SIGINT)
	r := p.wait(t)
	r.wantError(t, 130, "interrupted")
	wantNothingLeft(t)
}

// TestDoctorUsage refuses what cannot be meant, before anything is asked.
func TestDoctorUsage(t *testing.T) {
	for want, args := range map[string][]string{
		"is not a node":      {"pod/web"},
		"cannot be the name": {"N_1"},
		"-o \"wide\"":        {"-o", "wide"},
		"negative":           {"--max-nodes", "-1"},
		"--stream-time 1m0s": {"--stream-time", "1m"},
		"--print-rbac=some":  {"--print-rbac=some"},
		"add --print-rbac":   {"--bind-to", "user/ann"},
		"names nobody":       {"--print-rbac", "--bind-to", "ann"},
		"exclude each other": {"--print-rbac", "n1"},
	} {
		wantNothingCreated(t, func() { retina(t, append([]string{"doctor"}, args...)...).wantError(t, 2, want) })
	}
	retina(t, "doctor", "absent").wantError(t, 1, "absent")
}
