//go:build linux && !unit

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A new pod is to be captured promised after it runs. How long it took is told;
// what fails is tolerated, because the tests' machine may have few cores.
const (
	promised  = 2 * time.Second
	tolerated = 10 * time.Second
)

// sendersYAML describes a workload whose pods send numbered datagrams to an address,
// from their beginning to their end.
func sendersYAML(kind, namespace, name, to, extra string) string {
	return fmt.Sprintf(`---
apiVersion: apps/v1
kind: %s
metadata: {name: %s, namespace: %s}
spec:
  selector: {matchLabels: {sends: %s}}
  %s
  template:
    metadata: {labels: {sends: %s}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: main, image: "%s", imagePullPolicy: IfNotPresent, args: [udp-send, --to, "%s:9090", --rate, "100", --count, "0"]}]
`, kind, name, namespace, name, extra, name, trafficImage, to)
}

// A sighting is when a pod was first seen running.
type sighting struct {
	pod *corev1.Pod
	at  time.Time
}

// watchRunning notes when pods with a label begin to run, until the returned function
// is called, which returns them by UID.
func watchRunning(t *testing.T, namespace, selector string) func() map[string]sighting {
	t.Helper()
	seen, done, stop := map[string]sighting{}, make(chan struct{}), make(chan struct{})
	look := func() {
		pods, err := the.client.CoreV1().Pods(namespace).List(context.Background(), metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			return
		}
		for i := range pods.Items {
			uid := string(pods.Items[i].UID)
			if _, known := seen[uid]; !known && pods.Items[i].Status.Phase == corev1.PodRunning {
				seen[uid] = sighting{&pods.Items[i], time.Now()}
			}
		}
	}
	look()
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
				look()
			}
		}
	}()
	return func() map[string]sighting {
		close(stop)
		<-done
		return seen
	}
}

// wantUnbroken checks that the datagrams which a pod sent are in the file without a
// gap, from a short time after it began to run.
func wantUnbroken(t *testing.T, file string, s sighting) {
	t.Helper()
	name := s.pod.Namespace + "/" + s.pod.Name + "/eth0"
	var numbers []int
	var first time.Time
	for _, row := range rows(t, file, fmt.Sprintf("udp.dstport == 9090 && frame.interface_name == %q", name), "frame.time_epoch", "data.data", "ip.src") {
		number, err := strconv.Atoi(datagramNumber(t, row[1]))
		if err != nil {
			t.Fatal(err)
		}
		seconds, err := strconv.ParseFloat(row[0], 64)
		if err != nil {
			t.Fatal(err)
		}
		if len(numbers) == 0 {
			first = time.Unix(0, int64(seconds*1e9))
		}
		numbers = append(numbers, number)
	}
	if len(numbers) == 0 {
		t.Errorf("%s: nothing was captured of it", name)
		return
	}
	for i, n := range numbers {
		if n != numbers[0]+i {
			t.Errorf("%s: datagram %d comes after %d", name, n, numbers[i-1])
			break
		}
	}
	late := first.Sub(s.at)
	t.Logf("%s: %d datagrams from number %d on, %s after it was seen to run", name, len(numbers), numbers[0], late.Round(time.Millisecond))
	if late > tolerated {
		t.Errorf("%s: captured %s after it began to run, want %s, or at least %s", name, late, promised, tolerated)
	}
}

// datagramNumber reads the number in the hexadecimal payload of udp-send.
func datagramNumber(t *testing.T, data string) string {
	t.Helper()
	const prefix = "7365713d" // seq=
	digits, ok := strings.CutPrefix(data, prefix)
	if !ok || len(digits) < 20 {
		t.Fatalf("payload %q", data)
	}
	var text strings.Builder
	for i := 1; i < 20; i += 2 {
		text.WriteByte(digits[i]) // "3N" is the digit N
	}
	return text.String()
}

// podsOf are the pods of a summary by name, those of a name in the order of coming.
func (s summary) podsOf() map[string][]string {
	pods := map[string][]string{}
	for _, n := range s.Nodes {
		for _, p := range n.Pods {
			pods[p.Name] = append(pods[p.Name], fmt.Sprintf("%s joined=%t left=%t interfaces=%d %s", n.Name, p.Joined != "", p.Left != "", len(p.Interfaces), p.Error))
		}
	}
	return pods
}

// TestRolloutDuringACapture rolls a deployment out again: old pods are closed and new
// ones captured, without a gap from soon after they run.
func TestRolloutDuringACapture(t *testing.T) {
	s := openShop(t, "")
	apply(t, sendersYAML("Deployment", s.namespace, "roll", s.client["n1"].Status.PodIP, "replicas: 3\n  strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}"))
	kubectl(t, "rollout", "status", "deploy/roll", "-n", s.namespace, "--timeout=60s")
	p, file := startCapture(t, "deploy/roll", "-n", s.namespace, "--duration", "0", "-o", "json")
	p.waitFor(t, "capturing")
	stop := watchRunning(t, s.namespace, "sends=roll")
	kubectl(t, "rollout", "restart", "deploy/roll", "-n", s.namespace)
	kubectl(t, "rollout", "status", "deploy/roll", "-n", s.namespace, "--timeout=60s")
	waitForCount(t, p, ": joined  pod "+s.namespace+"/roll-", 3)
	waitForCount(t, p, ": left  pod "+s.namespace+"/roll-", 3)
	time.Sleep(time.Second) // of datagrams of the last that joined
	p.signal(t, syscall.SIGINT)
	r := p.wait(t)
	r.wantCode(t, 130)
	sum := parseSummary(t, r.stdout)
	joined, left := 0, 0
	for _, n := range sum.Nodes {
		for _, pod := range n.Pods {
			if pod.Joined != "" {
				joined++
			}
			if pod.Left != "" {
				left++
			}
		}
	}
	if joined != 3 || left != 3 || !sum.Complete || sum.Lost != 0 {
		t.Errorf("%d joined, %d left: %s", joined, left, r)
	}
	for _, seen := range stop() {
		wantUnbroken(t, file, seen)
	}
	for _, word := range []string{": joined  pod " + s.namespace + "/roll-", ": left  pod " + s.namespace + "/roll-"} {
		if strings.Count(r.stderr, word) != 3 {
			t.Errorf("%q is not said three times:\n%s", word, r.stderr)
		}
	}
	if info := capinfos(t, file); !strings.Contains(info, "Number of interfaces in file: 6") || strings.Count(info, "Number of stat entries = 1") != 6 || !strings.Contains(info, "Strict time order:   True") {
		t.Errorf("capinfos:\n%s", info)
	}
	wantNothingLeft(t)
}

// TestPodOnAnotherNode adds a pod on a node that has no collector, which gets the
// filter too.
func TestPodOnAnotherNode(t *testing.T) {
	s := openShop(t, "")
	apply(t, podYAML(s.namespace, "first", "n1", "set: x", restricted))
	runningPod(t, s.namespace, "first")
	p, file := startCapture(t, "-l", "set=x", "-n", s.namespace, "--duration", "0", "--filter", "udp dst port 9090")
	p.waitFor(t, "capturing")
	stop := watchRunning(t, s.namespace, "set=x")
	yaml := podYAML(s.namespace, "second", "n2", "set: x", restricted)
	apply(t, strings.Replace(yaml, "args: [serve]", fmt.Sprintf("args: [udp-send, --to, '%s:9090', --rate, '100', --count, '0']", s.client["n1"].Status.PodIP), 1))
	p.waitFor(t, "n2: joined  pod "+s.namespace+"/second (eth0)")
	// Names that were not known at the beginning are in the file before its packets.
	time.Sleep(time.Second)
	// A pod that does not match any more is not captured any more.
	kubectl(t, "label", "pod", "second", "-n", s.namespace, "set-")
	p.waitFor(t, "n2: left  pod "+s.namespace+"/second")
	waitUntilQuiet(t, file)
	before := len(rows(t, file, "udp.dstport == 9090", "frame.number"))
	time.Sleep(time.Second)
	p.signal(t, syscall.SIGINT)
	r := p.wait(t)
	r.wantCode(t, 130)
	for _, seen := range stop() {
		if seen.pod.Name == "second" {
			wantUnbroken(t, file, seen)
		}
	}
	if after := len(rows(t, file, "udp.dstport == 9090", "frame.number")); after != before {
		t.Errorf("%d datagrams when it had left, %d at the end", before, after)
	}
	if others := len(rows(t, file, "!(udp.dstport == 9090)", "frame.number")); others > 0 {
		t.Errorf("%d packets do not match the filter", others)
	}
	if !strings.Contains(tshark(t, file, "-N", "n", "-Y", "udp.dstport == 9090", "-c", "2000"), "second."+s.namespace) {
		t.Error("tshark does not know the new pod's name")
	}
	if !strings.Contains(r.stderr, "POD ") || !strings.Contains(r.stderr, "2 pods on 2 nodes") {
		t.Errorf("stderr:\n%s", r.stderr)
	}
	wantNothingLeft(t)
}

// TestSameNameAgain deletes a pod of a StatefulSet, which comes back under its name,
// and kills the sandbox of one, which keeps its UID.
func TestSameNameAgain(t *testing.T) {
	s := openShop(t, "")
	apply(t, sendersYAML("StatefulSet", s.namespace, "db", s.client["n1"].Status.PodIP, "replicas: 1\n  serviceName: db"))
	kubectl(t, "rollout", "status", "sts/db", "-n", s.namespace, "--timeout=60s")
	p, file := startCapture(t, "sts/db", "-n", s.namespace, "--duration", "0", "-o", "json")
	p.waitFor(t, "capturing")
	time.Sleep(500 * time.Millisecond)
	stop := watchRunning(t, s.namespace, "sends=db")
	kubectl(t, "delete", "pod", "db-0", "-n", s.namespace, "--wait=true")
	waitForCount(t, p, "joined  pod "+s.namespace+"/db-0", 1)
	pod := runningPod(t, s.namespace, "db-0")
	time.Sleep(500 * time.Millisecond)
	killSandbox(t, pod)
	waitForCount(t, p, "joined  pod "+s.namespace+"/db-0", 2)
	time.Sleep(time.Second)
	p.signal(t, syscall.SIGINT)
	r := p.wait(t)
	r.wantCode(t, 130)
	sightings := stop()
	if len(sightings) != 2 {
		t.Errorf("%d pods were seen, want 2", len(sightings))
	}
	stays := parseSummary(t, r.stdout).podsOf()["db-0"]
	slices.Sort(stays)
	if len(stays) != 3 || strings.Count(strings.Join(stays, " "), "left=true") != 2 || strings.Count(strings.Join(stays, " "), "joined=true") != 2 {
		t.Errorf("stays of db-0: %q\n%s", stays, r)
	}
	for id := range 3 {
		if len(rows(t, file, fmt.Sprintf("udp.dstport == 9090 && frame.interface_id == %d", id), "frame.number")) < 10 {
			t.Errorf("interface %d has hardly a packet", id)
		}
	}
	wantNothingLeft(t)
}

// waitUntilQuiet waits until nothing is added to a file for a second.
func waitUntilQuiet(t *testing.T, file string) {
	t.Helper()
	var size int64
	since := time.Now()
	eventually(t, 30*time.Second, func() error {
		info, err := os.Stat(file)
		if err != nil {
			return err
		}
		if info.Size() != size {
			size, since = info.Size(), time.Now()
		}
		if time.Since(since) < time.Second {
			return fmt.Errorf("%s grows: %d bytes", file, size)
		}
		return nil
	})
}

func waitForCount(t *testing.T, p *process, text string, count int) {
	t.Helper()
	eventually(t, 60*time.Second, func() error {
		if n := strings.Count(p.stderr.String(), text); n < count {
			return fmt.Errorf("%q is in stderr %d times, want %d:\n%s", text, n, count, p.stderr.String())
		}
		return nil
	})
}

// killSandbox kills the process that holds a pod's network namespace.
func killSandbox(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	for _, node := range the.Nodes {
		if node.Name != pod.Spec.NodeName {
			continue
		}
		files, err := filepath.Glob(fmt.Sprintf("/proc/%d/root/proc/[0-9]*/cgroup", node.Init.PID))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			cgroup, err := os.ReadFile(file)
			if err != nil || !strings.Contains(string(cgroup), string(pod.UID)) {
				continue
			}
			dir := filepath.Dir(file)
			if program, err := os.Readlink(filepath.Join(dir, "exe")); err == nil && filepath.Base(program) == "pause" {
				onNode(t, node.Name, "kill", "-KILL", filepath.Base(dir))
				return
			}
		}
	}
	t.Fatal("the pod has no pause process")
}

// TestNoFollow captures the pods of the beginning only, and ends with the last of
// them.
func TestNoFollow(t *testing.T) {
	s := openShop(t, "")
	apply(t, podYAML(s.namespace, "first", "n1", "set: x", restricted))
	runningPod(t, s.namespace, "first")
	p, file := startCapture(t, "-l", "set=x", "-n", s.namespace, "--duration", "60s", "--no-follow", "-o", "json")
	p.waitFor(t, "capturing")
	apply(t, podYAML(s.namespace, "second", "n1", "set: x", restricted))
	second := runningPod(t, s.namespace, "second")
	s.send(t, s.client["n1"], second.Status.PodIP, 10)
	kubectl(t, "delete", "pod", "first", "-n", s.namespace, "--wait=true")
	r := p.wait(t)
	r.wantCode(t, 0)
	if got := rows(t, file, "udp.dstport == 9090", "frame.number"); len(got) > 0 || r.took > 50*time.Second {
		t.Errorf("%d datagrams of a pod that came later: %s", len(got), r)
	}
	if pods := parseSummary(t, r.stdout).podsOf(); len(pods) != 1 || strings.Contains(r.stderr, "joined") {
		t.Errorf("pods %v\n%s", pods, r)
	}
	wantNothingLeft(t)
}

// TestWaitForTheFirstPod begins when there is something to capture, if asked to.
func TestWaitForTheFirstPod(t *testing.T) {
	s := openShop(t, "")
	apply(t, sendersYAML("Deployment", s.namespace, "late", s.client["n1"].Status.PodIP, "replicas: 0"))
	r, _ := capture(t, "deploy/late", "-n", s.namespace, "--duration", "1s", "--pod-running-timeout", "1s")
	if r.wantCode(t, 1); !strings.Contains(r.stderr, "error: deployment "+s.namespace+"/late") {
		t.Errorf("%s", r)
	}
	p, file := startCapture(t, "deploy/late", "-n", s.namespace, "--duration", "2s", "--pod-running-timeout", "60s")
	p.waitFor(t, "waiting for a pod of deployment "+s.namespace+"/late")
	kubectl(t, "scale", "deploy/late", "-n", s.namespace, "--replicas=1")
	r = p.wait(t)
	r.wantCode(t, 0)
	if got := rows(t, file, "udp.dstport == 9090", "frame.number"); len(got) < 100 {
		t.Errorf("%d datagrams in two seconds: %s", len(got), r)
	}
	wantNothingLeft(t)
}

// TestNodesAddedLaterHaveALimit does not put collectors on more nodes than the user
// has agreed to, and says so, in the exit code too.
func TestNodesAddedLaterHaveALimit(t *testing.T) {
	s := openShop(t, "")
	apply(t, podYAML(s.namespace, "first", "n1", "set: x", restricted))
	runningPod(t, s.namespace, "first")
	p, _ := startCapture(t, "-l", "set=x", "-n", s.namespace, "--duration", "20s", "--max-nodes", "1", "-o", "json")
	p.waitFor(t, "capturing")
	apply(t, podYAML(s.namespace, "second", "n2", "set: x", restricted))
	p.waitFor(t, "warning: what comes to node n2 is not captured: 1 node is captured already (--max-nodes)")
	r := p.wait(t)
	r.wantCode(t, 3)
	if got := parseSummary(t, r.stdout).podsOf()["second"]; len(got) != 1 || got[0] != "n2 joined=false left=false interfaces=0 1 node is captured already (--max-nodes)" {
		t.Errorf("the pod that is not captured: %q\n%s", got, r)
	}
	wantNothingLeft(t)
}
