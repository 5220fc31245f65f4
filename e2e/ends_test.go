//go:build linux && !unit

package e2e

import (
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestCtrlC(t *testing.T) {
	s := openShop(t, "")
	t.Run("while capturing", func(t *testing.T) {
		p, file := startCapture(t, "-l", "app=web", "-n", s.namespace, "--duration", "0", "-o", "json")
		p.waitFor(t, "capturing")
		s.send(t, s.client["n1"], s.web["n2"].Status.PodIP, 30)
		time.Sleep(500 * time.Millisecond) // part of the case: the user looks on for a moment
		p.signal(t, syscall.SIGINT)
		r := p.wait(t)
		r.wantCode(t, 130)
		if sum := parseSummary(t, r.stdout); !sum.Complete || sum.Packets < 30 {
			t.Errorf("summary %+v", sum)
		}
		if got := rows(t, file, "udp.dstport == 9090", "frame.number"); len(got) != 30 {
			t.Errorf("%d datagrams kept, want 30", len(got))
		}
		wantNothingLeft(t)
	})
	t.Run("before the start", func(t *testing.T) {
		p, file := startCapture(t, "-l", "app=web", "-n", s.namespace, "--duration", "60s", "--image", absentImage)
		collectorPod(t, p)
		p.signal(t, syscall.SIGTERM)
		r := p.wait(t)
		r.wantError(t, 130, "interrupted before the capture began")
		wantNoFile(t, file)
		wantNothingLeft(t)
	})
	t.Run("twice", func(t *testing.T) {
		p, _ := startCapture(t, "-l", "app=web", "-n", s.namespace, "--duration", "60s")
		p.waitFor(t, "capturing")
		stopNode(t, "n2") // so that it would wait for a collector
		p.signal(t, syscall.SIGINT)
		time.Sleep(600 * time.Millisecond) // longer than what counts as one signal
		p.signal(t, syscall.SIGINT)
		if r := p.wait(t); r.code != 130 {
			t.Errorf("%s", r)
		}
		resumeNode(t, "n2")
		wantNothingLeft(t)
	})
}

// collectorPod waits for a collector pod of p to exist and returns it.
func collectorPod(t testing.TB, p *process) *corev1.Pod {
	t.Helper()
	var pod *corev1.Pod
	eventually(t, 30*time.Second, func() error {
		pods, err := the.client.CoreV1().Pods(collectorNamespace).List(t.Context(), metav1.ListOptions{LabelSelector: ours})
		if err != nil {
			return err
		}
		if len(pods.Items) == 0 {
			return fmt.Errorf("no collector pod; stderr:\n%s", p.stderr.String())
		}
		pod = &pods.Items[0]
		return nil
	})
	return pod
}

// collectors are the host's PIDs of the collector processes on a node.
func collectors(t testing.TB, node string) []string {
	t.Helper()
	return strings.Fields(onNode(t, node, "sh", "-c", `for p in /proc/[0-9]*; do case $(readlink $p/exe) in */retina-collector) echo ${p#/proc/};; esac; done`))
}

// stopNode suspends the collectors of a node: they neither answer nor end.
func stopNode(t testing.TB, node string) { signalCollectors(t, node, "STOP") }

func resumeNode(t testing.TB, node string) { signalCollectors(t, node, "CONT") }

func signalCollectors(t testing.TB, node, signal string) {
	t.Helper()
	for _, pid := range collectors(t, node) {
		onNode(t, node, "sh", "-c", "kill -"+signal+" "+pid+" 2>/dev/null || true")
	}
}

func TestKill9(t *testing.T) {
	s := openShop(t, "")
	for _, hook := range []string{"tcx", "socket"} {
		t.Run("while capturing by "+hook, func(t *testing.T) {
			p, file := startCapture(t, "-l", "app=web", "-n", s.namespace, "--duration", "10m", "--hook", hook)
			p.waitFor(t, "capturing")
			s.send(t, s.client["n1"], s.web["n2"].Status.PodIP, 30)
			time.Sleep(500 * time.Millisecond) // for the file to be written to
			p.signal(t, syscall.SIGKILL)
			_ = p.Wait()
			// What was written until then can be read.
			if out := tshark(t, file, "-Y", "udp.dstport == 9090"); strings.Count(out, "\n") != 30 {
				t.Errorf("read from the file:\n%s", out)
			}
			wantNothingLeft(t)
		})
	}
	t.Run("before the start", func(t *testing.T) {
		p, _ := startCapture(t, "-l", "app=web", "-n", s.namespace, "--duration", "10m", "--image", absentImage)
		collectorPod(t, p)
		p.signal(t, syscall.SIGKILL)
		_ = p.Wait()
		wantNothingLeft(t)
	})
}

// collector is the host's PID of the only collector process on a node that was
// started with this argument: hold keeps the pod, run is the session.
func collector(t testing.TB, node, argument string) string {
	t.Helper()
	var found []string
	for _, pid := range collectors(t, node) {
		if strings.HasSuffix(onNode(t, node, "cat", "/proc/"+pid+"/cmdline"), "\x00"+argument+"\x00") {
			found = append(found, pid)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d processes of the collector %s: %v", len(found), argument, found)
	}
	return found[0]
}

// TestKilledCollector leaves nobody who could clean up behind the collector.
func TestKilledCollector(t *testing.T) {
	s := openShop(t, "")
	for _, hook := range []string{"tcx", "socket"} {
		begin := func(t *testing.T) *process {
			p, _ := startCapture(t, "pod/web-n1", "-n", s.namespace, "--duration", "60s", "--hook", hook)
			p.waitFor(t, "capturing")
			if programsLeft() == nil {
				t.Fatal("no program is seen while one captures: this test sees nothing")
			}
			return p
		}
		t.Run(hook+", session", func(t *testing.T) {
			p := begin(t)
			onNode(t, "n1", "kill", "-9", collector(t, "n1", "run"))
			p.wait(t).wantCode(t, 3)
			wantNothingLeft(t)
		})
		t.Run(hook+", session that hangs", func(t *testing.T) {
			p := begin(t)
			pod := collectorPod(t, p)
			onNode(t, "n1", "kill", "-STOP", collector(t, "n1", "run"))
			kubectl(t, "delete", "pod", "-n", collectorNamespace, pod.Name)
			p.wait(t).wantCode(t, 3)
			wantNothingLeft(t)
		})
		// As the kernel does when the container is out of memory.
		t.Run(hook+", container", func(t *testing.T) {
			p := begin(t)
			onNode(t, "n1", "kill", "-9", collector(t, "n1", "hold"))
			p.wait(t).wantCode(t, 3)
			wantNothingLeft(t)
		})
	}
}

func TestDeletedCollectorPod(t *testing.T) {
	s := openShop(t, "")
	p, file := startCapture(t, "-l", "app=web", "-n", s.namespace, "--duration", "8s", "-o", "json")
	p.waitFor(t, "capturing")
	s.send(t, s.client["n1"], s.web["n1"].Status.PodIP, 10)
	pod := collectorPod(t, p)
	kubectl(t, "delete", "pod", "-n", collectorNamespace, pod.Name)
	s.send(t, s.client["n1"], s.web["n2"].Status.PodIP, 10)
	r := p.wait(t)
	r.wantCode(t, 3)
	sum := parseSummary(t, r.stdout)
	failed := 0
	for _, n := range sum.Nodes {
		if n.Error != "" {
			failed++
			if n.Name != pod.Spec.NodeName || !strings.Contains(n.Error, "delete") {
				t.Errorf("node %s: %s", n.Name, n.Error)
			}
		}
	}
	if failed != 1 || sum.Complete || sum.DurationSeconds < 8 {
		t.Errorf("summary %+v", sum)
	}
	if got := rows(t, file, "udp.dstport == 9090", "frame.number"); len(got) < 10 {
		t.Errorf("%d datagrams: the other node's are missing", len(got))
	}
	if out := quietly(t, "tshark", "-r", file, "-V") + capinfos(t, file); !strings.Contains(out, "incomplete") && !strings.Contains(out, "missing") {
		t.Error("the file does not say that it is incomplete")
	}
	wantNothingLeft(t)
}

func TestPodThatDies(t *testing.T) {
	s := openShop(t, "")
	p, file := startCapture(t, "-l", "app=web", "-n", s.namespace, "--duration", "8s", "-o", "json")
	p.waitFor(t, "capturing")
	s.send(t, s.client["n1"], s.web["n1"].Status.PodIP, 10)
	kubectl(t, "delete", "pod", "-n", s.namespace, "web-n1", "--wait=true")
	s.send(t, s.client["n1"], s.web["n2"].Status.PodIP, 10)
	r := p.wait(t)
	r.wantCode(t, 0)
	sum := parseSummary(t, r.stdout)
	if !strings.Contains(r.stderr, "n1: left  pod "+s.namespace+"/web-n1\n") || !sum.Complete || sum.Lost != 0 {
		t.Errorf("%s", r)
	}
	if got := rows(t, file, "udp.dstport == 9090", "frame.number"); len(got) != 20 {
		t.Errorf("%d datagrams, want those of before and after", len(got))
	}
	wantNothingLeft(t)
}

func TestTwoCapturesAtOnce(t *testing.T) {
	s := openShop(t, "")
	var both sync.WaitGroup
	results, files := make([]result, 2), make([]string, 2)
	started := make([]*process, 2)
	for i := range started {
		started[i], files[i] = startCapture(t, "-l", "app=web", "-n", s.namespace, "--duration", fmt.Sprint(6+3*i, "s"))
	}
	for _, p := range started {
		p.waitFor(t, "capturing")
	}
	s.get(t, s.client["n1"], s.web["n2"], "/both", 10)
	for i, p := range started {
		both.Go(func() { results[i] = p.wait(t) })
	}
	both.Wait()
	for i, r := range results {
		r.wantCode(t, 0)
		if got := rows(t, files[i], "http.request.uri == \"/both\"", "frame.number"); len(got) != 10 {
			t.Errorf("capture %d has %d requests, want 10", i, len(got))
		}
	}
	wantNothingLeft(t)
}
