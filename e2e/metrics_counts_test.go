//go:build linux && !unit

package e2e

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
)

// A measurement is a metrics command that runs.
type measurement struct {
	*process
}

// startMeasuring starts metrics snapshot -o json with args, for as long as it
// takes, and waits until all nodes measure.
func startMeasuring(t *testing.T, nodes int, args ...string) measurement {
	t.Helper()
	args = append([]string{"metrics", "snapshot", "--collector-namespace", collectorNamespace, "--duration", "3m", "-o", "json"}, args...)
	m := measurement{start(t, args...)}
	m.waitReady(t, nodes)
	return m
}

// waitReady waits until the collectors of all nodes count.
func (m measurement) waitReady(t *testing.T, nodes int) {
	t.Helper()
	eventually(t, 90*time.Second, func() error {
		if said := m.stderr.String(); strings.Count(said, ": ready in ") < nodes {
			return fmt.Errorf("not all of %d nodes are ready:\n%s", nodes, said)
		}
		return nil
	})
	// They are told to go when the names of all addresses are known too, and a pipe
	// is not told when. report looks whether it was in time.
	time.Sleep(1500 * time.Millisecond)
}

// report ends the measuring and returns the report; it must have begun by then.
func (m measurement) report(t *testing.T, then time.Time) *metrics.Report {
	t.Helper()
	text := m.output(t)
	r, err := metrics.Read(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	if r.Began.After(then) {
		t.Fatalf("measuring began at %s, the traffic at %s: %s", r.Began, then, m.stderr.String())
	}
	for _, l := range r.Lost {
		t.Errorf("lost: %+v", l)
	}
	for _, n := range r.Nodes {
		if n.Error != "" || n.Samples == 0 {
			t.Errorf("node %+v", n)
		}
	}
	return r
}

// output interrupts the command, as Ctrl-C does, and returns its stdout.
func (m measurement) output(t *testing.T) string {
	t.Helper()
	m.signal(t, syscall.SIGINT)
	r := m.wait(t)
	r.wantCode(t, 130)
	if t.Failed() {
		t.Log(r)
	}
	return r.stdout
}

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
func (w *linkWatch) end()   { w.inner = w.read().minus(w.begun) }

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

// rowOf is the row of one pod or node.
func rowOf(t *testing.T, r *metrics.Report, name string) *metrics.Row {
	t.Helper()
	i := slices.IndexFunc(r.Rows, func(row metrics.Row) bool { return row.Name == name })
	if i < 0 {
		t.Fatalf("no row of %s in %+v", name, r.Rows)
	}
	return &r.Rows[i]
}

// A wantFlow is a flow that a report must have, exactly once.
type wantFlow struct {
	local, remote string // names; of a service its name
	kind          string // of the remote party
	address       string // of it
	protocol      string
	port          uint16
	role          string
	counts
}

func (w wantFlow) check(t *testing.T, r *metrics.Report) *metrics.Flow {
	t.Helper()
	var found []metrics.Flow
	for _, f := range r.Flows {
		if f.Local.Name == w.local && f.Protocol == w.protocol && f.Port == w.port && f.Role == w.role &&
			len(f.Remote.Addresses) == 1 && f.Remote.Addresses[0].String() == w.address {
			found = append(found, f)
		}
	}
	if len(found) != 1 {
		t.Errorf("%d flows, want one like %+v:\n%s", len(found), w, describeFlows(r))
		return nil
	}
	f := &found[0]
	got := counts{f.PacketsIn, f.PacketsOut, f.BytesIn, f.BytesOut}
	if got != w.counts || f.Remote.Name != w.remote || f.Remote.Kind != w.kind {
		t.Errorf("flow %s -> %s (%s): %+v, want %+v", f.Local.Name, f.Remote.Name, f.Remote.Kind, got, w)
	}
	return f
}

func describeFlows(r *metrics.Report) string {
	var text strings.Builder
	for _, f := range r.Flows {
		fmt.Fprintf(&text, "%s -> %s %s %v, %s %d, %s: %d/%d packets, %d/%d bytes\n", f.Local.Name, f.Remote.Kind, f.Remote.Name, f.Remote.Addresses,
			f.Protocol, f.Port, f.Role, f.PacketsIn, f.PacketsOut, f.BytesIn, f.BytesOut)
	}
	return text.String()
}

// datagramCounts are n of them with size bytes of payload, to an address.
func datagramCounts(n, size uint64, to string) (packets, bytes uint64) {
	header := uint64(20 + 8)
	if net.ParseIP(to).To4() == nil {
		header = 40 + 8
	}
	return n, n * (header + size)
}

// pair are the flows of datagrams from one pod to another, one seen by each.
func pair(from, to *corev1.Pod, fromIP, toIP string, n, size uint64) [2]wantFlow {
	packets, bytes := datagramCounts(n, size, toIP)
	return [2]wantFlow{
		{local: from.Name, remote: to.Name, kind: "pod", address: toIP, protocol: "UDP", port: 9090, role: "client",
			counts: counts{PacketsOut: packets, BytesOut: bytes}},
		{local: to.Name, remote: from.Name, kind: "pod", address: fromIP, protocol: "UDP", port: 9090, role: "server",
			counts: counts{PacketsIn: packets, BytesIn: bytes}},
	}
}

// TestMetricsCountDatagrams sends known datagrams between nodes, on one node, in
// both directions and with both families.
func TestMetricsCountDatagrams(t *testing.T) {
	s := openShop(t, "")
	client, web, near, back := s.client["n1"], s.web["n2"], s.web["n1"], s.client["n2"]
	pods := []*corev1.Pod{client, web, near, back}
	var watches []*linkWatch
	for _, pod := range pods {
		watches = append(watches, watchPod(t, pod))
	}
	m := startMeasuring(t, 2, "-n", s.namespace)
	then := time.Now()
	for _, w := range watches {
		w.begin()
	}
	s.send(t, client, web.Status.PodIP, 500, "--size", "200")
	s.send(t, client, v6(web), 300, "--size", "100")
	s.send(t, client, near.Status.PodIP, 70, "--size", "1000")
	s.send(t, web, back.Status.PodIP, 90)
	s.send(t, web, client.Status.PodIP, 40, "--size", "33")
	for _, w := range watches {
		w.end()
	}
	r := m.report(t, then)
	for _, flows := range [][2]wantFlow{
		pair(client, web, client.Status.PodIP, web.Status.PodIP, 500, 200),
		pair(client, web, v6(client), v6(web), 300, 100),
		pair(client, near, client.Status.PodIP, near.Status.PodIP, 70, 1000),
		pair(web, back, web.Status.PodIP, back.Status.PodIP, 90, 64),
		pair(web, client, web.Status.PodIP, client.Status.PodIP, 40, 33),
	} {
		for _, f := range flows {
			f.check(t, r)
		}
	}
	for i, pod := range pods {
		watches[i].check(t, countsOf(&rowOf(t, r, pod.Name).Values))
	}
	if len(r.Rows) != 4 || len(r.Drops) > 0 {
		t.Errorf("%d rows, want 4; drops %+v", len(r.Rows), r.Drops)
	}
	wantNothingLeft(t)
}

// countRule counts the packets of a hook in a pod's netns that match, with a rule
// of netfilter without a verdict; bytes are from the network header on.
func countRule(t testing.TB, pod *corev1.Pod, program, chain string, match ...string) func() (packets, bytes uint64) {
	t.Helper()
	inPod(t, pod, append([]string{program, "-w", "-A", chain}, match...)...)
	rules := strings.Count(inPod(t, pod, program, "-w", "-S", chain), "\n") - 1 // the first line is the policy
	return ruleCounts(t, pod, program, chain, rules)
}

// ruleCounts reads the counters of a rule of a pod's netns.
func ruleCounts(t testing.TB, pod *corev1.Pod, program, chain string, rule int) func() (packets, bytes uint64) {
	return func() (packets, bytes uint64) {
		t.Helper()
		out := inPod(t, pod, program, "-w", "-v", "-x", "-n", "-L", chain, strconv.Itoa(rule))
		if _, err := fmt.Sscan(out, &packets, &bytes); err != nil {
			t.Fatalf("rule %d of %s: %v: %q", rule, chain, err, out)
		}
		return packets, bytes
	}
}

// dualService makes a service of both families for the servers of s, HTTP at 80
// and datagrams at 90, and returns its addresses.
func dualService(t *testing.T, s *shop) (v4, v6 string) {
	t.Helper()
	apply(t, fmt.Sprintf(`---
apiVersion: v1
kind: Service
metadata: {name: dual, namespace: %s}
spec:
  ipFamilyPolicy: RequireDualStack
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: 8080}, {name: data, protocol: UDP, port: 90, targetPort: 9090}]
`, s.namespace))
	eventually(t, 20*time.Second, func() error {
		service, err := the.client.CoreV1().Services(s.namespace).Get(t.Context(), "dual", metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, ip := range service.Spec.ClusterIPs {
			if strings.Contains(ip, ":") {
				v6 = ip
			} else {
				v4 = ip
			}
		}
		if v4 == "" || v6 == "" {
			return fmt.Errorf("addresses %v", service.Spec.ClusterIPs)
		}
		return nil
	})
	for _, ip := range []string{v4, v6} { // until kube-proxy has heard of it
		eventually(t, 30*time.Second, func() error {
			out := s.traffic(t, s.client["n1"], "tcp-connect", "--to", net.JoinHostPort(ip, "80"), "--timeout", "1s")
			if !strings.HasPrefix(out, "opened 1,") {
				return fmt.Errorf("service at %s: %s", ip, out)
			}
			return nil
		})
	}
	return v4, v6
}

// TestMetricsCountRequests makes requests by a service and compares their flows
// with what netfilter counts in the client's pod.
func TestMetricsCountRequests(t *testing.T) {
	s := openShop(t, "")
	serviceV4, serviceV6 := dualService(t, s)
	client := s.client["n1"]
	type family struct {
		address string
		in, out func() (packets, bytes uint64)
	}
	families := []family{{address: serviceV4}, {address: serviceV6}}
	for i, program := range []string{"iptables", "ip6tables"} {
		f := &families[i]
		f.out = countRule(t, client, program, "OUTPUT", "-p", "tcp", "-d", f.address, "--dport", "80")
		f.in = countRule(t, client, program, "INPUT", "-p", "tcp", "-s", f.address, "--sport", "80")
	}
	m := startMeasuring(t, 2, "-n", s.namespace)
	then := time.Now()
	const requests = 40
	for _, f := range families {
		out := s.traffic(t, client, "http-get", "--url", "http://"+net.JoinHostPort(f.address, "80")+"/x", "--every", "5ms", "--count", strconv.Itoa(requests))
		if !strings.Contains(out, fmt.Sprintf("got %d, failed 0", requests)) {
			t.Fatal(out)
		}
	}
	s.traffic(t, client, "udp-send", "--to", net.JoinHostPort(serviceV4, "90"), "--count", "60", "--size", "80")
	time.Sleep(200 * time.Millisecond) // the last segments
	r := m.report(t, then)
	for _, f := range families {
		want := wantFlow{local: client.Name, remote: "dual", kind: "service", address: f.address, protocol: "TCP", port: 80, role: "client"}
		want.PacketsIn, want.BytesIn = f.in()
		want.PacketsOut, want.BytesOut = f.out()
		if got := want.check(t, r); got != nil && (got.Opened != requests || got.Refused+got.Unanswered != 0 || got.Connect.Count != requests) {
			t.Errorf("connections: %+v", got)
		}
	}
	packets, bytes := datagramCounts(60, 80, serviceV4)
	wantFlow{local: client.Name, remote: "dual", kind: "service", address: serviceV4, protocol: "UDP", port: 90, role: "client",
		counts: counts{PacketsOut: packets, BytesOut: bytes}}.check(t, r)
	wantServersSide(t, r, client, families[0].address, families[1].address)
	if row := rowOf(t, r, client.Name); row.Opened != 2*requests || row.Service != "" {
		t.Errorf("client's row %+v", row)
	}
	wantNothingLeft(t)
}

// wantServersSide checks that the servers together have what the client has sent
// to and got from the service's addresses.
func wantServersSide(t *testing.T, r *metrics.Report, client *corev1.Pod, services ...string) {
	t.Helper()
	var sent, served counts
	var opened, accepted uint64
	for _, f := range r.Flows {
		switch {
		case f.Protocol != "TCP":
		case f.Local.Name == client.Name && slices.Contains(services, f.Remote.Addresses[0].String()):
			sent = sent.plus(counts{f.PacketsIn, f.PacketsOut, f.BytesIn, f.BytesOut})
			opened += f.Opened
		case f.Remote.Name == client.Name && f.Role == "server" && f.Port == 8080:
			served = served.plus(counts{f.PacketsOut, f.PacketsIn, f.BytesOut, f.BytesIn})
			accepted += f.Opened
			if f.Local.Service != "dual" {
				t.Errorf("server %+v is not named by its service", f.Local)
			}
		}
	}
	if sent != served || opened != accepted || opened == 0 {
		t.Errorf("the client's side has %+v of %d connections, the servers' %+v of %d:\n%s", sent, opened, served, accepted, describeFlows(r))
	}
}

// TestMetricsOfNodesAndGroups measures pods and their nodes at once, by everything
// that there is.
func TestMetricsOfNodesAndGroups(t *testing.T) {
	s := openShop(t, "")
	client, web := s.client["n1"], s.web["n2"]
	groups := []string{"pod", "node", "workload", "namespace", "service", "flow"}
	running := map[string]measurement{}
	nodes := map[string]*linkWatch{"n1": watchNode(t, "n1"), "n2": watchNode(t, "n2")}
	pods := watchPods(t, s)
	for _, by := range groups {
		args := []string{"metrics", "snapshot", "--collector-namespace", collectorNamespace, "--duration", "3m", "-o", "json",
			"--plugins", "packetforward,packetparser", "-n", s.namespace, "--by", by, "pod/client-n1", "pod/client-n2", "pod/web-n1", "pod/web-n2"}
		if by == "pod" || by == "flow" {
			args = append(args, "node/n1", "node/n2")
		}
		running[by] = measurement{start(t, args...)}
	}
	for _, by := range groups {
		running[by].waitReady(t, 2)
	}
	then := time.Now()
	all := append([]*linkWatch{nodes["n1"], nodes["n2"]}, pods...)
	for _, w := range all {
		w.begin()
	}
	s.send(t, client, web.Status.PodIP, 400, "--size", "100")
	s.send(t, s.client["n2"], web.Status.PodIP, 50)
	for _, w := range all {
		w.end()
	}
	reports := map[string]*metrics.Report{}
	for _, by := range groups {
		reports[by] = running[by].report(t, then)
	}
	packets, bytes := datagramCounts(400, 100, web.Status.PodIP)
	for node, w := range nodes {
		w.check(t, countsOf(&rowOf(t, reports["pod"], node).Values))
	}
	wantUplinkFlows(t, reports["pod"], client, web, packets, bytes)
	wantSameSums(t, s, reports, pods)
	wantNothingLeft(t)
}

// wantUplinkFlows checks that each node has the datagrams between nodes once, and
// those that stay on it not at all.
func wantUplinkFlows(t *testing.T, r *metrics.Report, client, web *corev1.Pod, packets, bytes uint64) {
	t.Helper()
	sums := map[string]counts{}
	for _, f := range r.Flows {
		if f.Local.Kind == "node" && f.Protocol == "UDP" && f.Port == 9090 {
			sums[f.Local.Name] = sums[f.Local.Name].plus(counts{f.PacketsIn, f.PacketsOut, f.BytesIn, f.BytesOut})
		}
	}
	want := map[string]counts{"n1": {PacketsOut: packets, BytesOut: bytes}, "n2": {PacketsIn: packets, BytesIn: bytes}}
	for node, c := range want {
		if sums[node] != c {
			t.Errorf("datagrams on the uplink of %s: %+v, want %+v\n%s", node, sums[node], c, describeFlows(r))
		}
	}
}

// wantSameSums checks that the pods' numbers are what their interfaces counted,
// whatever they are grouped by. By flow they are of flows.
func wantSameSums(t *testing.T, s *shop, reports map[string]*metrics.Report, pods []*linkWatch) {
	t.Helper()
	var least, most counts
	for _, w := range pods {
		l, m := w.bounds()
		least, most = least.plus(l), most.plus(m)
	}
	for _, by := range []string{"pod", "node", "workload", "namespace", "service"} {
		var got counts
		for _, row := range reports[by].Rows {
			if by != "pod" || row.Kind == "pod" {
				got = got.plus(countsOf(&row.Values))
			}
		}
		if !got.atLeast(least) || !most.atLeast(got) {
			t.Errorf("by %s: %+v in all, interfaces counted %+v at least and %+v at most: %+v", by, got, least, most, reports[by].Rows)
		}
	}
	if rows := reports["namespace"].Rows; len(rows) != 1 || rows[0].Namespace != s.namespace || rows[0].Targets != 4 {
		t.Errorf("by namespace: %+v", rows)
	}
	if rows := reports["node"].Rows; len(rows) != 2 || rows[0].Name != "n1" || rows[0].Targets != 2 {
		t.Errorf("by node: %+v", rows)
	}
	if rows := reports["service"].Rows; len(rows) != 2 || rows[0].Service+rows[1].Service != "web" { // and those of none
		t.Errorf("by service: %+v", rows)
	}
	if rows := reports["workload"].Rows; len(rows) != 4 {
		t.Errorf("by workload: %+v", rows)
	}
	var rows, flows counts
	for _, row := range reports["flow"].Rows {
		rows = rows.plus(countsOf(&row.Values))
	}
	for _, f := range reports["flow"].Flows {
		flows = flows.plus(counts{f.PacketsIn, f.PacketsOut, f.BytesIn, f.BytesOut})
	}
	if rows != flows || flows.PacketsOut < 450 {
		t.Errorf("rows by flow have %+v, the flows %+v", rows, flows)
	}
}

// TestMetricsSortTopCompare prints the busiest first, and what has changed since.
func TestMetricsSortTopCompare(t *testing.T) {
	s := openShop(t, "")
	client, web := s.client["n1"], s.web["n2"]
	only := []string{"-n", s.namespace, "--plugins", "packetforward,packetparser", "--by", "flow"}
	m := startMeasuring(t, 2, append([]string{"--sort-by", "packets_out", "--top", "1"}, only...)...)
	then := time.Now()
	s.send(t, client, web.Status.PodIP, 20)
	s.send(t, client, v6(web), 200)
	s.send(t, s.client["n2"], web.Status.PodIP, 10)
	m.process.signal(t, syscall.SIGINT)
	first := m.wait(t)
	first.wantCode(t, 130)
	r, err := metrics.Read(strings.NewReader(first.stdout))
	if err != nil || r.Began.After(then) {
		t.Fatal(err, first)
	}
	if len(r.Rows) != 1 || r.Rows[0].PacketsOut != 200 || r.Rows[0].Name != client.Name {
		t.Errorf("the busiest flow is %+v", r.Rows)
	}
	before := filepath.Join(t.TempDir(), "before.json")
	if err := os.WriteFile(before, []byte(first.stdout), 0o600); err != nil {
		t.Fatal(err)
	}
	m = startMeasuring(t, 2, append([]string{"--compare", before}, only...)...)
	s.get(t, client, web, "/", 5)
	text := m.output(t)
	var changes []metrics.Change
	if err := json.Unmarshal([]byte(text), &changes); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	t.Log(text)
	wantChanges(t, changes)
	wantNothingLeft(t)
}

// wantChanges looks for the flow that was there before only, and for that which is
// new.
func wantChanges(t *testing.T, changes []metrics.Change) {
	t.Helper()
	var gone, fresh bool
	for _, c := range changes {
		gone = gone || c.Gone && strings.Contains(c.What, "UDP 9090") && c.Before > 0 && c.After == 0
		fresh = fresh || c.New && strings.Contains(c.What, "TCP 8080") && c.Before == 0 && c.After > 0
	}
	if !gone || !fresh {
		t.Errorf("a flow that is gone: %v, one that is new: %v", gone, fresh)
	}
}

// TestMetricsFormats prints one measurement in every format for programs, and
// reads it as they do.
func TestMetricsFormats(t *testing.T) {
	s := openShop(t, "")
	client, web := s.client["n1"], s.web["n2"]
	running := map[string]*process{}
	for _, format := range []string{"yaml", "csv", "prometheus", "wide"} {
		running[format] = start(t, "metrics", "snapshot", "--collector-namespace", collectorNamespace, "--duration", "3m", "-n", s.namespace,
			"-o", format, "--plugins", "packetforward,packetparser", "pod/client-n1", "pod/web-n2")
	}
	for _, p := range running {
		measurement{p}.waitReady(t, 2)
	}
	s.send(t, client, web.Status.PodIP, 300, "--size", "100")
	out := map[string]string{}
	for format, p := range running {
		out[format] = measurement{p}.output(t)
	}
	encoded, err := yaml.YAMLToJSON([]byte(out["yaml"]))
	if err != nil {
		t.Fatalf("%v:\n%s", err, out["yaml"])
	}
	r, err := metrics.Read(bytes.NewReader(encoded))
	if err != nil {
		t.Fatalf("%v:\n%s", err, encoded)
	}
	for _, w := range pair(client, web, client.Status.PodIP, web.Status.PodIP, 300, 100) {
		w.check(t, r)
	}
	if sent := csvNumber(t, out["csv"], client.Name, "packets_out"); sent < 300 || sent > 330 {
		t.Errorf("by CSV the client has sent %d packets, want 300 and little else:\n%s", sent, out["csv"])
	}
	wantExposition(t, out["prometheus"], client.Name)
	if !strings.Contains(out["wide"], client.Name) || !strings.Contains(out["wide"], web.Name) {
		t.Errorf("wide:\n%s", out["wide"])
	}
	wantNothingLeft(t)
}

// csvNumber is the number in a column of a pod's row.
func csvNumber(t *testing.T, text, pod, column string) (number uint64) {
	t.Helper()
	records, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil || len(records) != 3 {
		t.Fatalf("want a header and two rows: %v:\n%s", err, text)
	}
	at := slices.Index(records[0], column)
	row := slices.IndexFunc(records, func(record []string) bool { return slices.Contains(record, pod) })
	if at < 0 || row < 0 {
		t.Fatalf("no %s of %s:\n%s", column, pod, text)
	}
	if number, err = strconv.ParseUint(records[row][at], 10, 64); err != nil {
		t.Fatal(err)
	}
	return number
}

// wantExposition checks the text that Prometheus reads.
func wantExposition(t *testing.T, text, pod string) {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	for _, m := range families["networkobservability_adv_forward_count_total"].GetMetric() {
		labels := map[string]string{}
		for _, l := range m.GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		if sent := m.GetCounter().GetValue(); labels["podname"] == pod && labels["direction"] == "egress" && sent >= 300 && sent <= 330 {
			return
		}
	}
	t.Errorf("no counter of what %s has sent:\n%s", pod, text)
}
