//go:build linux && !unit

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestSickCluster captures while the cluster's own parts are out of order.
func TestSickCluster(t *testing.T) {
	s := openShop(t, "")
	captures := func(t *testing.T) {
		t.Helper()
		p, file := startCapture(t, "pod/web-n1", "-n", s.namespace, "--duration", "4s")
		p.waitFor(t, "capturing")
		s.send(t, s.client["n2"], s.web["n1"].Status.PodIP, 10)
		p.wait(t).wantCode(t, 0)
		if got := rows(t, file, "udp.dstport == 9090", "frame.number"); len(got) != 10 {
			t.Errorf("%d datagrams, want 10", len(got))
		}
		wantNothingLeft(t)
	}
	t.Run("scheduler stopped", func(t *testing.T) {
		scheduler := controlPlaneProcess(t, "kube-scheduler")
		if err := syscall.Kill(scheduler, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = syscall.Kill(scheduler, syscall.SIGCONT) }()
		captures(t)
	})
	t.Run("no CNI", func(t *testing.T) {
		onNode(t, "n1", "mv", "/etc/cni/net.d", "/etc/cni/net.d.off")
		defer waitReady(t, "n1", corev1.ConditionTrue)
		defer onNode(t, "n1", "mv", "/etc/cni/net.d.off", "/etc/cni/net.d")
		waitReady(t, "n1", corev1.ConditionFalse)
		captures(t)
	})
}

// controlPlaneProcess is the host's PID of a program of the control plane.
func controlPlaneProcess(t testing.TB, program string) int {
	t.Helper()
	namespace, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", the.ControlPlane.Init.PID))
	if err != nil {
		t.Fatal(err)
	}
	programs, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range programs {
		dir := filepath.Dir(p)
		exe, err1 := os.Readlink(p)
		own, err2 := os.Readlink(filepath.Join(dir, "ns/pid"))
		if err1 != nil || err2 != nil || own != namespace || !strings.HasSuffix(exe, "/"+program) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			t.Fatal(err)
		}
		return pid
	}
	t.Fatalf("no %s on the control plane", program)
	return 0
}
