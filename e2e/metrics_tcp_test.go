//go:build linux && !unit

package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/kubectl-retina/kubectl-retina/internal/hostns"
	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// tcpCounter is one of the kernel's TCP counters of a pod's netns, as in
// /proc/net/snmp.
func tcpCounter(t testing.TB, pod *corev1.Pod, name string) uint64 {
	t.Helper()
	var names []string
	for line := range strings.Lines(inPod(t, pod, "cat", "/proc/net/snmp")) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0 || fields[0] != "Tcp:":
		case names == nil:
			names = fields
		default:
			if i := slices.Index(names, name); i > 0 && i < len(fields) {
				n, err := strconv.ParseUint(fields[i], 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				return n
			}
		}
	}
	t.Fatalf("no TCP counter %s", name)
	return 0
}

// within tells whether got is want, give or take a part of it.
func within(got, want uint64, part float64) bool {
	return float64(max(got, want)-min(got, want)) <= part*float64(want)
}

// TestMetricsRetransmits loses packets at random, in both directions, while much
// is sent: what the kernel counts as retransmitted is what the report has.
func TestMetricsRetransmits(t *testing.T) {
	s := openShop(t, "")
	client, web := s.client["n1"], s.web["n2"]
	for pod, match := range map[*corev1.Pod]string{web: "--dport", client: "--sport"} {
		inPod(t, pod, "iptables", "-w", "-A", "INPUT", "-p", "tcp", match, "9091", "-m", "statistic", "--mode", "random", "--probability", "0.05", "-j", "DROP")
	}
	lost := map[string]func() (packets, bytes uint64){}
	for _, pod := range []*corev1.Pod{web, client} {
		lost[pod.Name] = ruleCounts(t, pod, "iptables", "INPUT", 1)
	}
	before := map[string]uint64{client.Name: tcpCounter(t, client, "RetransSegs"), web.Name: tcpCounter(t, web, "RetransSegs")}
	m := startMeasuring(t, 2, "-n", s.namespace)
	then := time.Now()
	const size = 16 << 20 // of which the kernel makes some hundred large packets, each of them one to the rule
	if out := s.traffic(t, client, "tcp-echo", "--to", net.JoinHostPort(web.Status.PodIP, "9091"), "--bytes", strconv.Itoa(size)); out != fmt.Sprintf("echoed %d\n", size) {
		t.Fatal(out)
	}
	time.Sleep(500 * time.Millisecond) // the end of the connection may have to be sent again
	r := m.report(t, then)
	for _, pod := range []*corev1.Pod{client, web} {
		row := rowOf(t, r, pod.Name)
		want := tcpCounter(t, pod, "RetransSegs") - before[pod.Name]
		if want == 0 || !within(row.Retransmits, want, 0.01) {
			t.Errorf("%s: %d retransmits, the kernel has %d, want some and the same", pod.Name, row.Retransmits, want)
		}
		var flows uint64
		for _, f := range r.Flows {
			if f.Local.Name == pod.Name && f.Port == 9091 {
				flows += f.Retransmits
			}
		}
		if flows != row.Retransmits {
			t.Errorf("%s: flows have %d retransmits, the row %d", pod.Name, flows, row.Retransmits)
		}
		packets, bytes := lost[pod.Name]()
		// TCP drops segments too: those that it has got twice.
		var drops, dropped uint64
		for _, d := range r.Drops {
			if d.Target.Name == pod.Name && d.Reason == "NETFILTER_DROP" {
				drops += d.Packets
				dropped += d.Bytes
			} else if d.Target.Name == pod.Name {
				t.Logf("%s: %d drops of %d bytes by %s in %s, %s", pod.Name, d.Packets, d.Bytes, d.Reason, d.Function, d.Direction)
			}
		}
		if packets == 0 || drops != packets || dropped != bytes {
			t.Errorf("%s: %d drops of %d bytes, the rule has %d of %d", pod.Name, drops, dropped, packets, bytes)
		}
		t.Logf("%s: %d retransmits, the kernel's %d; %d of %d segments; %d drops", pod.Name, row.Retransmits, want, row.Retransmits, row.SegmentsOut, row.Drops)
	}
	wantNothingLeft(t)
}

// TestMetricsFailedConnects has connections that are refused, and some that are
// never answered, as numbers and as events.
func TestMetricsFailedConnects(t *testing.T) {
	s := openShop(t, "")
	client, web := s.client["n1"], s.web["n2"]
	nodeRule(t, "n1", "iptables", "FORWARD", "-s", client.Status.PodIP, "-p", "tcp", "--dport", "7005", "-j", "DROP")
	events := startEvents(t, "-n", s.namespace, "--kinds", "connect", "-o", "json")
	m := startMeasuring(t, 2, "-n", s.namespace)
	then := time.Now()
	for _, test := range []struct{ port, count, want string }{
		{"7004", "7", "opened 0, refused 7, unanswered 0\n"},
		{"7005", "6", "opened 0, refused 0, unanswered 6\n"},
		{"9091", "5", "opened 5, refused 0, unanswered 0\n"},
	} {
		out := s.traffic(t, client, "tcp-connect", "--to", net.JoinHostPort(web.Status.PodIP, test.port), "--count", test.count, "--timeout", "5s")
		if out != test.want {
			t.Errorf("port %s: %s", test.port, out)
		}
	}
	time.Sleep(time.Second)
	r := m.report(t, then)
	if row := rowOf(t, r, client.Name); row.Refused != 7 || row.Unanswered != 6 || row.Opened != 5 {
		t.Errorf("the client's row has %d refused, %d unanswered, %d opened", row.Refused, row.Unanswered, row.Opened)
	}
	if row := rowOf(t, r, web.Name); row.Refused != 7 || row.Unanswered != 0 || row.Opened != 5 {
		t.Errorf("the server's row has %d refused, %d unanswered, %d opened", row.Refused, row.Unanswered, row.Opened)
	}
	count := map[string]int{}
	for _, e := range eventsOf(t, events.output(t)) {
		if e.Kind != "connect" || e.Source == nil || e.Source.Party.Name != client.Name || e.Destination.Party.Name != web.Name {
			t.Errorf("event %+v", e)
			continue
		}
		count[fmt.Sprintf("%s %s %d", e.Target.Name, e.Reason, e.Destination.Port)]++
	}
	want := map[string]int{"client-n1 refused 7004": 7, "web-n2 refused 7004": 7, "client-n1 timeout 7005": 6}
	if fmt.Sprint(count) != fmt.Sprint(want) {
		t.Errorf("events %v, want %v", count, want)
	}
	wantNothingLeft(t)
}

// delayPackets holds back each packet from a pod to another's address for a
// while: a route takes them to a TUN device, and they go on by a raw socket.
func delayPackets(t *testing.T, pod *corev1.Pod, to string, delay time.Duration) {
	t.Helper()
	node, err := the.Node(pod.Spec.NodeName)
	if err != nil {
		t.Fatal(err)
	}
	ns, err := hostns.Open(fmt.Sprintf("/proc/%d/root/proc/%s/ns/net", node.Init.PID, lastingProcess(t, pod)))
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	var tun, out int
	err = ns.Do(func() error {
		var err error
		if tun, err = openTUN("slow0"); err != nil {
			return err
		}
		if out, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW); err != nil {
			return fmt.Errorf("raw socket: %w", err)
		}
		// Then the route to the TUN device is none for it.
		return unix.BindToDevice(out, "eth0")
	})
	if err != nil {
		t.Fatal(err)
	}
	device := os.NewFile(uintptr(tun), "slow0")
	t.Cleanup(func() { device.Close(); unix.Close(out) })
	inPod(t, pod, "ip", "link", "set", "slow0", "up")
	inPod(t, pod, "ip", "route", "add", to+"/32", "dev", "slow0", "src", pod.Status.PodIP)
	address := &unix.SockaddrInet4{Addr: netip.MustParseAddr(to).As4()}
	go func() {
		for {
			packet := make([]byte, 64<<10)
			n, err := device.Read(packet)
			if errors.Is(err, os.ErrClosed) || n == 0 {
				return
			}
			time.AfterFunc(delay, func() { _ = unix.Sendto(out, packet[:n], 0, address) })
		}
	}()
}

// openTUN makes a TUN device in the calling thread's netns, which lives as long as
// its file. Reading from it gives packets without any header of its own.
func openTUN(name string) (int, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0, fmt.Errorf("open TUN: %w", err)
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		return 0, errors.Join(fmt.Errorf("make TUN device %s: %w", name, err), unix.Close(fd))
	}
	return fd, nil
}

// TestMetricsDelay holds back what a server sends: handshakes take as long, and so
// do the round trips of both sides.
func TestMetricsDelay(t *testing.T) {
	s := openShop(t, "")
	client, web, near := s.client["n1"], s.web["n2"], s.web["n1"]
	const delay, requests = 80 * time.Millisecond, 10
	delayPackets(t, web, client.Status.PodIP, delay)
	m := startMeasuring(t, 2, "-n", s.namespace)
	then := time.Now()
	s.get(t, client, web, "/slow", requests)
	s.get(t, client, near, "/fast", requests)
	r := m.report(t, then)
	// As slow as we made it, but not by as much again, however busy the machine is.
	least, most := uint64(delay.Microseconds()), uint64(10*delay.Microseconds())
	slow, fast := flowBetween(t, r, client.Name, web.Name), flowBetween(t, r, client.Name, near.Name)
	for what, times := range map[string]wire.Times{"connect": slow.Connect, "round trip": slow.RTT} {
		if times.Count < requests || times.Sum < least*times.Count || times.Max > most {
			t.Errorf("%s: %+v, want %d or more of %s or more", what, times, requests, delay)
		}
	}
	for what, times := range map[string]wire.Times{"connect": fast.Connect, "round trip": fast.RTT} {
		if times.Count < requests || times.Sum >= least*times.Count {
			t.Errorf("%s without delay: %+v, want %d or more of less than %s", what, times, requests, delay)
		}
	}
	if server := flowBetween(t, r, web.Name, client.Name); server.RTT.Count == 0 || server.RTT.Sum < least*server.RTT.Count {
		t.Errorf("the server's round trips: %+v, want %s or more", server.RTT, delay)
	}
	row := rowOf(t, r, client.Name)
	if row.ConnectTimes.Count != 2*requests || sumOf(row.Connect.Buckets) != 2*requests || row.Connect.Sum != slow.Connect.Sum+fast.Connect.Sum {
		t.Errorf("the client's row: %+v, %+v", row.ConnectTimes, row.Connect)
	}
	t.Logf("connect %+v, round trip %+v; without delay %+v, %+v", slow.Connect, slow.RTT, fast.Connect, fast.RTT)
	wantNothingLeft(t)
}

func sumOf(buckets []uint64) (sum uint64) {
	for _, n := range buckets {
		sum += n
	}
	return sum
}

// flowBetween is the only flow of HTTP that local has with remote.
func flowBetween(t *testing.T, r *metrics.Report, local, remote string) metrics.Flow {
	t.Helper()
	for _, f := range r.Flows {
		if f.Local.Name == local && f.Remote.Name == remote && f.Port == 8080 {
			return f
		}
	}
	t.Fatalf("no flow from %s to %s:\n%s", local, remote, describeFlows(r))
	return metrics.Flow{}
}

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
	snapshot := append([]string{"metrics", "snapshot", "--collector-namespace", collectorNamespace, "--duration", "20s", "-o", "json"}, all...)
	followed, still := measurement{start(t, snapshot...)}, measurement{start(t, append(snapshot, "--no-follow")...)}
	followed.waitReady(t, 2)
	still.waitReady(t, 2)
	const senders, count = 4, 120
	names := []string{}
	for i := range senders {
		name := fmt.Sprintf("sender-%d", i)
		names = append(names, name)
		apply(t, senderYAML(s.namespace, name, []string{"n1", "n2"}[i%2], web.Status.PodIP, count, 30))
		if i == 1 {
			kubectl(t, "delete", "pod", "-n", s.namespace, leaving.Name, "--wait=false", "--grace-period=1")
		}
	}
	top := retina(t, append([]string{"metrics", "top", "pods", "--once", "--interval", "2s", "--collector-namespace", collectorNamespace}, all...)...)
	top.wantCode(t, 0)
	if !strings.Contains(top.stdout, web.Name) || strings.Contains(top.stderr, "error") {
		t.Errorf("top: %s", top)
	}
	r := followed.wait(t)
	r.wantCode(t, 0)
	wantSenders(t, r, web, names, count)
	if r = still.wait(t); r.code != 0 || strings.Contains(r.stderr, "sender-") {
		t.Errorf("with --no-follow: %s", r)
	}
	report, err := metrics.Read(strings.NewReader(r.stdout))
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Rows) != 4 || slices.ContainsFunc(report.Rows, func(row metrics.Row) bool { return strings.HasPrefix(row.Name, "sender-") }) {
		t.Errorf("rows with --no-follow: %+v", report.Rows)
	}
	wantNothingLeft(t)
}

// wantSenders checks what a snapshot has of pods that came and went.
func wantSenders(t *testing.T, r result, web *corev1.Pod, names []string, count uint64) {
	t.Helper()
	report, err := metrics.Read(strings.NewReader(r.stdout))
	if err != nil {
		t.Fatal(err, r)
	}
	if len(report.Rows) != 4+len(names) || len(report.Skipped) > 0 {
		t.Errorf("rows %+v, skipped %+v: %s", report.Rows, report.Skipped, r.stderr)
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

// TestMetricsHealthyTrafficHasNoDrops closes connections with much on its way: the
// kernel frees what arrives then in the way of a drop, though it has used it.
func TestMetricsHealthyTrafficHasNoDrops(t *testing.T) {
	s := openShop(t, "")
	client, web := s.client["n1"], s.web["n2"]
	m := startMeasuring(t, 2, "-n", s.namespace)
	then := time.Now()
	const size = 8 << 20
	for range 3 {
		s.traffic(t, client, "tcp-echo", "--to", net.JoinHostPort(web.Status.PodIP, "9091"), "--bytes", strconv.Itoa(size))
		s.traffic(t, client, "tcp-echo", "--to", net.JoinHostPort(v6(web), "9091"), "--bytes", strconv.Itoa(size))
	}
	s.get(t, client, web, "/", 20)
	time.Sleep(300 * time.Millisecond)
	r := m.report(t, then)
	if row := rowOf(t, r, web.Name); row.Opened != 26 || row.BytesOut < 6*size {
		t.Errorf("the server's row: %d connections, %d bytes", row.Opened, row.BytesOut)
	}
	for _, d := range r.Drops {
		// A segment that was sent again to probe for loss is one that TCP has twice.
		if d.Reason != "TCP_OLD_DATA" {
			t.Errorf("%s: %d drops of %d bytes by %s in %s, %s", d.Target.Name, d.Packets, d.Bytes, d.Reason, d.Function, d.Direction)
		}
	}
	wantNothingLeft(t)
}
