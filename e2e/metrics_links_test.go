//go:build linux && !unit

package e2e

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
)

// counts are the numbers of an interface, as its owner sees them.
type counts struct{ PacketsIn, PacketsOut, BytesIn, BytesOut uint64 }

func (c counts) minus(before counts) counts {
	return counts{c.PacketsIn - before.PacketsIn, c.PacketsOut - before.PacketsOut, c.BytesIn - before.BytesIn, c.BytesOut - before.BytesOut}
}

func (c counts) plus(d counts) counts {
	return counts{c.PacketsIn + d.PacketsIn, c.PacketsOut + d.PacketsOut, c.BytesIn + d.BytesIn, c.BytesOut + d.BytesOut}
}

func (c counts) atLeast(other counts) bool {
	return c.PacketsIn >= other.PacketsIn && c.PacketsOut >= other.PacketsOut && c.BytesIn >= other.BytesIn && c.BytesOut >= other.BytesOut
}

func countsOf(v *metrics.Values) counts {
	return counts{v.PacketsIn, v.PacketsOut, v.BytesIn, v.BytesOut}
}

// inPod runs a program of the node in the network namespace of a pod.
func inPod(t testing.TB, pod *corev1.Pod, args ...string) string {
	t.Helper()
	return onNode(t, pod.Spec.NodeName, append([]string{"nsenter", "-t", lastingProcess(t, pod), "-n", "--"}, args...)...)
}

// lastingProcess is the PID, on its node, of a pod's first process, which is there
// for as long as the pod. Others may end while they are looked at.
func lastingProcess(t testing.TB, pod *corev1.Pod) string {
	t.Helper()
	out := onNode(t, pod.Spec.NodeName, "sh", "-c", "grep -ls "+string(pod.UID)+" /proc/[0-9]*/cgroup; true")
	var pids []int
	for _, file := range strings.Fields(out) {
		pid, err := strconv.Atoi(strings.Split(file, "/")[2])
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	if len(pids) == 0 {
		t.Fatalf("no process of pod %s on %s", pod.Name, pod.Spec.NodeName)
	}
	return strconv.Itoa(slices.Min(pids))
}

// linkCounts is what `ip -s link show eth0` says, run by in.
func linkCounts(t testing.TB, in func(...string) string) counts {
	t.Helper()
	type direction struct{ Packets, Bytes uint64 }
	var links []struct {
		Stats64 struct{ RX, TX direction }
	}
	out := in("ip", "-json", "-s", "link", "show", "eth0")
	if err := json.Unmarshal([]byte(out), &links); err != nil || len(links) != 1 {
		t.Fatalf("ip link: %v: %s", err, out)
	}
	s := links[0].Stats64
	return counts{s.RX.Packets, s.TX.Packets, s.RX.Bytes, s.TX.Bytes}
}

// A linkWatch knows how much an interface counted at least and at most while a
// command measured it: its owner's numbers before and after the command, and
// before and after the traffic. Both are the same when nothing else was sent.
type linkWatch struct {
	name         string
	read         func() counts
	outer, begun counts
	inner        counts // counted while it was sure to be measured
}

func watchPod(t testing.TB, pod *corev1.Pod) *linkWatch {
	pid := lastingProcess(t, pod)
	in := func(args ...string) string {
		return onNode(t, pod.Spec.NodeName, append([]string{"nsenter", "-t", pid, "-n", "--"}, args...)...)
	}
	w := &linkWatch{name: pod.Name, read: func() counts { return linkCounts(t, in) }}
	w.outer = w.read()
	return w
}

// watchPods watches all pods of s.
func watchPods(t testing.TB, s *shop) []*linkWatch {
	var all []*linkWatch
	for _, node := range []string{"n1", "n2"} {
		all = append(all, watchPod(t, s.web[node]), watchPod(t, s.client[node]))
	}
	return all
}

func watchNode(t testing.TB, node string) *linkWatch {
	w := &linkWatch{name: node, read: func() counts {
		return linkCounts(t, func(args ...string) string { return onNode(t, node, args...) })
	}}
	w.outer = w.read()
	return w
}

func (w *linkWatch) begin() { w.begun = w.read() }

func (w *linkWatch) end() { w.inner = w.read().minus(w.begun) }

// bounds are what was counted at least and at most, now that the command has
// ended.
func (w *linkWatch) bounds() (least, most counts) { return w.inner, w.read().minus(w.outer) }

func (w *linkWatch) check(t *testing.T, got counts) {
	t.Helper()
	_, most := w.bounds()
	if !got.atLeast(w.inner) || !most.atLeast(got) {
		t.Errorf("%s: the report has %+v, its interface counted %+v at least and %+v at most", w.name, got, w.inner, most)
	}
	t.Logf("%s: %+v, of %+v to %+v", w.name, got, w.inner, most)
}
