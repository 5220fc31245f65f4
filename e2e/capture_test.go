//go:build linux && !unit

package e2e

import (
	"encoding/hex"
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
)

// TestTwoPodsOnTwoNodes is the main promise: what two pods on two nodes say to
// each other is in one file, once for each pod, whole, in order and with names.
func TestTwoPodsOnTwoNodes(t *testing.T) {
	s := openShop(t, "")
	web, client := s.web["n1"], s.client["n2"]
	p, file := startCapture(t, "pod/web-n1", "pod/client-n2", "-n", s.namespace, "--duration", "5s", "-o", "json")
	p.waitFor(t, "capturing")
	s.get(t, client, web, "/in/order", 20)
	s.get(t, s.client["n1"], s.web["n2"], "/not/ours", 3) // between pods that are not captured
	r := p.wait(t)
	r.wantCode(t, 0)

	sum := parseSummary(t, r.stdout)
	if len(sum.Nodes) != 2 || !sum.Complete || sum.Lost != 0 || sum.DurationSeconds < 5 || sum.DurationSeconds > 8 {
		t.Errorf("summary %+v", sum)
	}
	for _, n := range sum.Nodes {
		if !n.Ready || len(n.Pods) != 1 || len(n.Pods[0].Interfaces) != 1 || n.Pods[0].Interfaces[0].Name != "eth0" || n.Pods[0].Interfaces[0].Packets != n.Packets {
			t.Errorf("node in summary: %+v", n)
		}
	}
	names := map[string]string{"0": interfaceName(t, file, 0), "1": interfaceName(t, file, 1)}
	requests := map[string]int{}
	// By payload: to tshark the second pod's copy of a segment is a
	// retransmission, which it does not dissect again.
	for _, row := range rows(t, file, `tcp.payload contains "GET /"`, "frame.interface_id", "ip.src", "ip.dst", "tcp.payload") {
		requests[names[row[0]]]++
		if row[1] != client.Status.PodIP || row[2] != web.Status.PodIP || !strings.HasPrefix(row[3], hex.EncodeToString([]byte("GET /in/order "))) {
			t.Errorf("request %v", row)
		}
	}
	if want := s.namespace + "/web-n1/eth0"; requests[want] != 20 {
		t.Errorf("requests by interface: %v, want 20 of %s", requests, want)
	}
	if want := s.namespace + "/client-n2/eth0"; requests[want] != 20 {
		t.Errorf("requests by interface: %v, want 20 of %s", requests, want)
	}
	// Other pods' packets are absent, and nothing is out of order.
	if others := rows(t, file, "ip && !(ip.addr == "+web.Status.PodIP+" || ip.addr == "+client.Status.PodIP+")", "ip.src", "ip.dst"); len(others) > 0 {
		t.Errorf("packets of other pods: %v", others)
	}
	info := capinfos(t, file)
	for _, want := range []string{"Strict time order:   True", "nanoseconds (9)", "kubectl-retina", "Linux ", "node n1, pod " + s.namespace + "/web-n1"} {
		if !strings.Contains(info, want) {
			t.Errorf("%q is not in capinfos:\n%s", want, info)
		}
	}
	if !strings.Contains(tshark(t, file, "-N", "n"), fmt.Sprintf("client-n2.%s", s.namespace)) {
		t.Error("tshark shows no pod name")
	}
	// Each of the two interfaces saw the same requests, within the time that a
	// packet takes: the nodes' times agree.
	checkSamePackets(t, file)
	wantNothingLeft(t)
}

// interfaceName asks tshark for an interface's name.
func interfaceName(t testing.TB, file string, id int) string {
	t.Helper()
	all := rows(t, file, fmt.Sprintf("frame.interface_id == %d", id), "frame.interface_name")
	if len(all) == 0 {
		t.Fatalf("no packet of interface %d", id)
	}
	return all[0][0]
}

// checkSamePackets compares the requests as the two interfaces saw them.
func checkSamePackets(t testing.TB, file string) {
	t.Helper()
	seen := map[string][]string{} // by interface: stream and payload, in order
	for _, row := range rows(t, file, "tcp.len > 0", "frame.interface_id", "ip.src", "tcp.srcport", "tcp.seq_raw", "tcp.payload") {
		seen[row[0]] = append(seen[row[0]], strings.Join(row[1:], " "))
	}
	for id := range seen {
		slices.Sort(seen[id])
	}
	if len(seen["0"]) < 40 || !slices.Equal(seen["0"], seen["1"]) {
		t.Errorf("one side saw %d segments, the other %d, or not the same", len(seen["0"]), len(seen["1"]))
	}
}

func TestEveryDatagramIsInTheFileOrLost(t *testing.T) {
	s := openShop(t, "")
	const sent = 50_000
	p, file := startCapture(t, "pod/web-n1", "-n", s.namespace, "--duration", "10s", "-o", "json")
	p.waitFor(t, "capturing")
	s.send(t, s.client["n2"], s.web["n1"].Status.PodIP, sent, "--size", "64")
	r := p.wait(t)
	sum := parseSummary(t, r.stdout)
	got := rows(t, file, "udp.dstport == 9090", "data.data")
	if uint64(len(got))+sum.Lost < sent {
		t.Errorf("%d datagrams sent, %d in the file, %d lost", sent, len(got), sum.Lost)
	}
	if wantCode := map[bool]int{true: 0, false: 3}[sum.Lost == 0]; r.code != wantCode {
		t.Errorf("exit code %d with %d lost", r.code, sum.Lost)
	}
	if sum.Lost == 0 && len(got) != sent {
		t.Errorf("%d datagrams in the file, want exactly %d", len(got), sent)
	}
	if uint64(len(rows(t, file, "frame", "frame.number"))) != sum.Packets {
		t.Errorf("the summary counts %d packets, the file has others", sum.Packets)
	}
	// The file's own statistics say the same.
	if info := capinfos(t, file); !strings.Contains(info, "Number of stat entries = 1") || !strings.Contains(info, fmt.Sprintf("Number of packets = %d", sum.Packets)) {
		t.Errorf("capinfos:\n%s", info)
	}
	wantNothingLeft(t)
}

func TestLabelSelectorToAPipe(t *testing.T) {
	s := openShop(t, "")
	p := start(t, "capture", "create", "-l", "app in (web,absent)", "-A", "--collector-namespace", collectorNamespace, "--duration", "4s", "--write", "-")
	p.waitFor(t, "capturing")
	s.get(t, s.client["n1"], s.web["n2"], "/piped", 3)
	r := p.wait(t)
	r.wantCode(t, 0)
	file := filepath.Join(t.TempDir(), "piped.pcapng")
	if err := os.WriteFile(file, []byte(r.stdout), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := rows(t, file, "http.request.uri == \"/piped\"", "frame.number"); len(got) != 3 {
		t.Errorf("%d requests in the stream, want 3", len(got))
	}
	wantNothingLeft(t)
}

func TestClosedPipeEndsTheCapture(t *testing.T) {
	s := openShop(t, "")
	cmd := the.Command(t.Context(), "bash", "-c", "set -o pipefail; \"$0\" \"$@\" | head -c 100 >/dev/null", the.program,
		"capture", "create", "pod/web-n1", "-n", s.namespace, "--collector-namespace", collectorNamespace, "--duration", "60s", "--write", "-")
	began := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case err := <-ended:
			if took := time.Since(began); err != nil || took > 40*time.Second {
				t.Errorf("ended with %v after %s", err, took)
			}
			wantNothingLeft(t)
			return
		default:
			s.get(t, s.client["n1"], s.web["n1"], "/", 2)
		}
	}
}

func TestDualStackAndManyInterfaces(t *testing.T) {
	s := openShop(t, "")
	web := s.web["n1"]
	if v6(web) == "" {
		t.Fatalf("the cluster gave web no IPv6 address: %v", web.Status.PodIPs)
	}
	secondInterface(t, web)
	p, file := startCapture(t, "pod/web-n1", "-n", s.namespace, "--duration", "4s", "-o", "json")
	p.waitFor(t, "capturing")
	s.send(t, s.client["n2"], v6(web), 10)
	s.send(t, s.client["n1"], web.Status.PodIP, 10)
	r := p.wait(t)
	r.wantCode(t, 0)
	if !strings.Contains(r.stderr, "(eth0 net1)") {
		t.Errorf("the second interface is not told of:\n%s", r.stderr)
	}
	if got := rows(t, file, "ipv6.dst == "+v6(web)+" && udp.dstport == 9090", "frame.number"); len(got) != 10 {
		t.Errorf("%d datagrams over IPv6, want 10", len(got))
	}
	if got := rows(t, file, "ip.dst == "+web.Status.PodIP+" && udp.dstport == 9090", "frame.number"); len(got) != 10 {
		t.Errorf("%d datagrams over IPv4, want 10", len(got))
	}
	if sum := parseSummary(t, r.stdout); len(sum.Nodes[0].Pods[0].Interfaces) != 2 {
		t.Errorf("interfaces in summary: %+v", sum.Nodes[0].Pods[0])
	}
	if info := capinfos(t, file); !strings.Contains(info, "/web-n1/net1") {
		t.Errorf("no net1 in the file:\n%s", info)
	}
	wantNothingLeft(t)
}

func TestIPv6OnlyPod(t *testing.T) {
	namespace := uniqueName(t)
	apply(t, namespaceYAML(namespace, "")+podYAML(namespace, "six", "n1", "app: six", "runtimeClassName: ipv6-only"))
	pod := runningPod(t, namespace, "six")
	if len(pod.Status.PodIPs) != 1 || v6(pod) == "" {
		t.Fatalf("addresses %v", pod.Status.PodIPs)
	}
	s := openShop(t, "")
	p, file := startCapture(t, "pod/six", "-n", namespace, "--duration", "4s")
	p.waitFor(t, "capturing")
	s.send(t, s.client["n2"], v6(pod), 10)
	p.wait(t).wantCode(t, 0)
	if got := rows(t, file, "ipv6.src == "+v6(s.client["n2"])+" && ipv6.dst == "+v6(pod)+" && udp.dstport == 9090", "frame.number"); len(got) != 10 {
		t.Errorf("%d datagrams, want 10", len(got))
	}
	if !strings.Contains(tshark(t, file, "-N", "n"), "six."+namespace) {
		t.Error("tshark shows no pod name")
	}
	wantNothingLeft(t)
}

// secondInterface adds net1, one end of a veth pair, to the netns of a pod on
// n1.
func secondInterface(t testing.TB, pod *corev1.Pod) {
	t.Helper()
	pid := processOf(t, pod)
	onNode(t, pod.Spec.NodeName, "sh", "-c", fmt.Sprintf("ip link add net1 netns %s type veth peer name e2e-net1 && ip link set e2e-net1 up && nsenter -t %s -n ip link set net1 up", pid, pid))
}

// processOf is the PID, on its node, of one of a pod's processes.
func processOf(t testing.TB, pod *corev1.Pod) string {
	t.Helper()
	files := strings.Fields(onNode(t, pod.Spec.NodeName, "sh", "-c", "grep -l "+string(pod.UID)+" /proc/[0-9]*/cgroup || true")) // one may vanish meanwhile
	if len(files) == 0 {
		t.Fatalf("no process of pod %s on %s", pod.Name, pod.Spec.NodeName)
	}
	return strings.Split(files[len(files)-1], "/")[2]
}

func TestQuietPodGivesAValidFile(t *testing.T) {
	s := openShop(t, "")
	began := time.Now()
	r, file := capture(t, "pod/client-n1", "-n", s.namespace, "--duration", "2s")
	r.wantCode(t, 0)
	if took := time.Since(began); took < 2*time.Second || took > 20*time.Second {
		t.Errorf("a capture of 2s took %s", took)
	}
	capinfos(t, file)
	wantNothingLeft(t)
}

func TestLongNamesAndManyPodsOnOneNode(t *testing.T) {
	namespace := uniqueName(t)
	// The kubelet's directory for a pod's logs is NAMESPACE_NAME_UID, at most 255
	// bytes: a longer name never runs.
	longName := func(i int) string {
		return fmt.Sprintf("p%02d-%s", i, strings.Repeat("x", 255-len(namespace)-len("_p00-_")-36))
	}
	manifest := namespaceYAML(namespace, "")
	const pods = 20
	for i := range pods {
		manifest += podYAML(namespace, longName(i), "n2", "app: many", "")
	}
	apply(t, manifest)
	for i := range pods {
		runningPod(t, namespace, longName(i))
	}
	p, file := startCapture(t, "-l", "app=many", "-n", namespace, "--duration", "4s", "-o", "json")
	p.waitFor(t, "capturing")
	last := runningPod(t, namespace, longName(pods-1))
	kubectl(t, "exec", "-n", namespace, longName(0), "--", "/bin/traffic", "udp-send", "--to", last.Status.PodIP+":9090", "--count", "5")
	r := p.wait(t)
	r.wantCode(t, 0)
	sum := parseSummary(t, r.stdout)
	if len(sum.Nodes) != 1 || len(sum.Nodes[0].Pods) != pods {
		t.Fatalf("summary %+v", sum)
	}
	if got := rows(t, file, "udp.dstport == 9090", "frame.interface_name"); len(got) != 10 {
		t.Errorf("%d datagrams, want 5 leaving one pod and 5 arriving in another", len(got))
	}
	if info := capinfos(t, file); !strings.Contains(info, "Number of interfaces in file: 20") {
		t.Errorf("interfaces:\n%s", info)
	}
	wantNothingLeft(t)
}

func TestNodeWithoutItsOwnStream(t *testing.T) {
	s := openShop(t, "")
	p, file := startCapture(t, "node/n1", "--duration", "60s", "-o", "json")
	p.waitFor(t, "capturing")
	s.get(t, s.client["n2"], s.web["n1"], "/to/the/node", 10)
	p.signal(t, syscall.SIGINT) // however long that has taken
	r := p.wait(t)
	r.wantCode(t, 130)
	sum := parseSummary(t, r.stdout)
	if len(sum.Warnings) > 0 || len(sum.Nodes) != 1 || len(sum.Nodes[0].Interfaces) == 0 || sum.Nodes[0].Interfaces[0].Name != "eth0" {
		t.Errorf("summary %+v", sum)
	}
	if got := rows(t, file, "http.request && frame.interface_name == \"n1/eth0\"", "frame.number"); len(got) != 10 {
		t.Errorf("%d requests on n1/eth0, want 10", len(got))
	}
	// Our stream would be the busiest connection of the kubelet by far: more
	// than a packet for each packet of the file.
	if got := rows(t, file, "tcp.srcport == 10250 && tcp.len > 0", "frame.number"); len(got) > 40 {
		t.Errorf("%d segments from the kubelet's port: the capture's own stream is in the file", len(got))
	}
	wantNothingLeft(t)
}

func TestHostNetworkPod(t *testing.T) {
	namespace := uniqueName(t)
	apply(t, namespaceYAML(namespace, "")+podYAML(namespace, "host", "n2", "app: host", "hostNetwork: true"))
	runningPod(t, namespace, "host")
	r, file := capture(t, "pod/host", "-n", namespace, "--duration", "3s")
	r.wantCode(t, 0)
	if !strings.Contains(r.stderr, "warning: pod "+namespace+"/host uses the network of node n2") {
		t.Errorf("no warning:\n%s", r.stderr)
	}
	if info := capinfos(t, file); !strings.Contains(info, "Name = n2/eth0") {
		t.Errorf("interfaces:\n%s", info)
	}
	wantNothingLeft(t)
}

func TestLimits(t *testing.T) {
	s := openShop(t, "")
	web := s.web["n1"].Status.PodIP
	t.Run("packet-count", func(t *testing.T) {
		p, file := startCapture(t, "pod/web-n1", "pod/client-n1", "-n", s.namespace, "--duration", "60s", "--packet-count", "25", "-o", "json")
		p.waitFor(t, "ready")
		eventually(t, 30*time.Second, func() error {
			s.send(t, s.client["n1"], web, 20)
			if p.exited() {
				return nil
			}
			return fmt.Errorf("it goes on:\n%s", p.stderr.String())
		})
		r := p.wait(t)
		r.wantCode(t, 0)
		sum := parseSummary(t, r.stdout)
		if sum.Packets != 25 || sum.Limit != "packets" || !sum.Complete || len(rows(t, file, "frame", "frame.number")) != 25 {
			t.Errorf("summary %+v", sum)
		}
	})
	t.Run("max-size", func(t *testing.T) {
		p, file := startCapture(t, "pod/web-n1", "-n", s.namespace, "--duration", "60s", "--max-size", "1", "-o", "json")
		p.waitFor(t, "ready")
		s.send(t, s.client["n1"], web, 2000, "--size", "1400", "--rate", "2000")
		r := p.wait(t)
		r.wantCode(t, 0)
		sum := parseSummary(t, r.stdout)
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > 1<<20 || info.Size() < 1<<20-64<<10 || sum.Limit != "size" || !sum.Complete {
			t.Errorf("%d bytes, summary %+v", info.Size(), sum)
		}
		capinfos(t, file)
	})
	t.Run("packet-size", func(t *testing.T) {
		p, file := startCapture(t, "pod/web-n1", "-n", s.namespace, "--duration", "3s", "--packet-size", "64")
		p.waitFor(t, "capturing")
		s.send(t, s.client["n1"], web, 5, "--size", "1000")
		p.wait(t).wantCode(t, 0)
		for _, row := range rows(t, file, "udp.dstport == 9090", "frame.cap_len", "frame.len") {
			if row[0] != "64" || row[1] != strconv.Itoa(14+20+8+1000) {
				t.Errorf("captured %s of %s bytes", row[0], row[1])
			}
		}
	})
	t.Run("pcap", func(t *testing.T) {
		p, file := startCapture(t, "pod/web-n1", "-n", s.namespace, "--duration", "3s", "--format", "pcap")
		p.waitFor(t, "capturing")
		s.send(t, s.client["n1"], web, 5)
		p.wait(t).wantCode(t, 0)
		if info := capinfos(t, file); !strings.Contains(info, "nanosecond pcap") {
			t.Errorf("capinfos:\n%s", info)
		}
		if got := rows(t, file, "udp.dstport == 9090", "frame.number"); len(got) != 5 {
			t.Errorf("%d datagrams, want 5", len(got))
		}
	})
	wantNothingLeft(t)
}

// exited reports whether the process has ended, without waiting for it.
func (p *process) exited() bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Process.Pid))
	return err != nil || strings.Contains(string(stat), ") Z ")
}

func TestFullDisk(t *testing.T) {
	s := openShop(t, "")
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=512k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, 0) })
	file := filepath.Join(dir, "full.pcapng")
	p := start(t, "capture", "create", "pod/web-n1", "-n", s.namespace, "--collector-namespace", collectorNamespace, "--duration", "60s", "--write", file, "-o", "json")
	p.waitFor(t, "ready")
	s.send(t, s.client["n1"], s.web["n1"].Status.PodIP, 2000, "--size", "1400", "--rate", "2000")
	r := p.wait(t)
	r.wantCode(t, 3)
	if !strings.Contains(r.stderr, "no space left on device") {
		t.Errorf("the reason is not told:\n%s", r.stderr)
	}
	sum := parseSummary(t, r.stdout)
	if got := uint64(len(rows(t, file, "frame", "frame.number"))); got != sum.Packets || got == 0 || sum.Lost == 0 || sum.Complete {
		t.Errorf("%d packets in the file, summary %+v", got, sum)
	}
	wantNothingLeft(t)
}
