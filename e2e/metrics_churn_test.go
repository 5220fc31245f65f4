//go:build linux && !unit

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
)

// senderYAML is a pod that sends datagrams for some seconds and ends.
func senderYAML(namespace, name, node, to string, count, rate int) string {
	return fmt.Sprintf(`---
apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: %s, labels: {app: sender}}
spec:
  nodeName: %s
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: "%s", imagePullPolicy: IfNotPresent, args: [udp-send, --to, "%s:9090", --count, "%d", --rate, "%d"]}]
`, name, namespace, node, trafficImage, to, count, rate)
}

// TestMetricsPodChurn creates pods and deletes them while commands measure: they
// are followed, and do not disturb.
func TestMetricsPodChurn(t *testing.T) {
	s := openShop(t, "")
	web, leaving := s.web["n2"], s.client["n2"]
	all := []string{"-n", s.namespace, "--plugins", "packetforward,packetparser,dropreason"}
	followed := startMeasuring(t, 2, all...)
	still := startMeasuring(t, 2, append([]string{"--no-follow"}, all...)...)
	const senders, count, rate = 4, 120, 20
	names := []string{}
	for i := range senders {
		name := fmt.Sprintf("sender-%d", i)
		names = append(names, name)
		apply(t, senderYAML(s.namespace, name, []string{"n1", "n2"}[i%2], web.Status.PodIP, count, rate))
		if i == 1 {
			kubectl(t, "delete", "pod", "-n", s.namespace, leaving.Name, "--wait=false", "--grace-period=1")
		}
	}
	top := retina(t, append([]string{"metrics", "top", "pods", "--once", "--interval", "2s", "--collector-namespace", collectorNamespace}, all...)...)
	top.wantCode(t, 0)
	if !strings.Contains(top.stdout, web.Name) || strings.Contains(top.stderr, "error") {
		t.Errorf("top: %s", top)
	}
	for _, name := range names {
		waitEnded(t, s.namespace, name)
	}
	wantSenders(t, followed.read(t), web, names, count)
	report := still.read(t)
	if said := still.stderr.String(); strings.Contains(said, "sender-") {
		t.Errorf("with --no-follow: %s", said)
	}
	if len(report.Rows) != 4 || slices.ContainsFunc(report.Rows, func(row metrics.Row) bool { return strings.HasPrefix(row.Name, "sender-") }) {
		t.Errorf("rows with --no-follow: %+v", report.Rows)
	}
	wantNothingLeft(t)
}

// waitEnded waits until all that a pod does is done.
func waitEnded(t *testing.T, namespace, name string) {
	t.Helper()
	eventually(t, 90*time.Second, func() error {
		pod, err := the.client.CoreV1().Pods(namespace).Get(t.Context(), name, metav1.GetOptions{})
		if err == nil && pod.Status.Phase != corev1.PodSucceeded {
			err = fmt.Errorf("pod %s is %s: %+v", name, pod.Status.Phase, pod.Status.ContainerStatuses)
		}
		return err
	})
}

// wantSenders checks what a snapshot has of pods that came and went.
func wantSenders(t *testing.T, report *metrics.Report, web *corev1.Pod, names []string, count uint64) {
	t.Helper()
	if len(report.Rows) != 4+len(names) || len(report.Skipped) > 0 {
		t.Errorf("rows %+v, skipped %+v", report.Rows, report.Skipped)
	}
	for _, name := range names {
		row := rowOf(t, report, name)
		if row.PacketsOut < count {
			t.Errorf("%s has sent %d packets, want %d or more", name, row.PacketsOut, count)
		}
		var arrived uint64
		for _, f := range report.Flows {
			if f.Local.Name == web.Name && f.Remote.Name == name && f.Role == "server" {
				arrived += f.PacketsIn
			}
		}
		if arrived != count {
			t.Errorf("%d datagrams of %s have arrived, want %d:\n%s", arrived, name, count, describeFlows(report))
		}
	}
	if row := rowOf(t, report, "client-n2"); row.GoneTargets != 1 {
		t.Errorf("a pod that was deleted: %+v", row)
	}
}

// TestMetricsPendingPod measures a pod that is not running yet when the command
// begins: it is measured, so it is none that was skipped.
func TestMetricsPendingPod(t *testing.T) {
	s := openShop(t, "")
	apply(t, fmt.Sprintf(`---
apiVersion: v1
kind: Pod
metadata: {name: late, namespace: %s, labels: {app: late}}
spec:
  schedulingGates: [{name: e2e.retina.sh/later}]
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: "%s", imagePullPolicy: IfNotPresent, args: [serve]}]
`, s.namespace, trafficImage))
	m := startMeasuring(t, 2, "-n", s.namespace)
	then := time.Now()
	kubectl(t, "patch", "pod", "-n", s.namespace, "late", "--type=json", `-p=[{"op":"remove","path":"/spec/schedulingGates"}]`)
	late := runningPod(t, s.namespace, "late")
	time.Sleep(time.Second) // until the collector has heard of it
	s.send(t, late, s.web["n1"].Status.PodIP, 50)
	r := m.report(t, then)
	if row := rowOf(t, r, "late"); row.PacketsOut < 50 {
		t.Errorf("the pod's row: %+v", row)
	}
	if len(r.Skipped) > 0 {
		t.Errorf("skipped: %+v", r.Skipped)
	}
	wantNothingLeft(t)
}
