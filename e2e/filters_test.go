//go:build linux && !unit

package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// A filtered capture is one of several that see the same traffic.
type filteredCapture struct {
	args []string
	want string // display filter of every packet that must be in the file, and of no other
}

// TestFilterFlags captures the same packets with every flag that leaves some out, and
// without any: what matches is there, and nothing else.
// All flags hold together: Retina joined some of them by or, so that leaving out one
// pod's packets captured the whole node's.
func TestFilterFlags(t *testing.T) {
	shop := openShop(t, "")
	web, one := shop.web["n1"].Status.PodIP, shop.client["n1"].Status.PodIP
	web6, two6 := v6(shop.web["n1"]), v6(shop.client["n2"])
	captures := []filteredCapture{
		{[]string{"--filter", "tcp port 8080"}, "tcp.port == 8080"},
		{[]string{"--pcap-filter", "udp", "--filter", "dst port 9090"}, "udp.dstport == 9090"},
		{[]string{"--tcpdump-filter", "ip6 and udp", "--hook", "socket"}, "ipv6 && udp"},
		{[]string{"--include-filter", "*:9090," + one + ":*"}, "udp.port == 9090 || ip.addr == " + one + " || arp.src.proto_ipv4 == " + one + " || arp.dst.proto_ipv4 == " + one},
		{[]string{"--include-filter", web, "--exclude-filter", "*:8080", "--filter", "tcp or udp"}, "udp && ip.addr == " + web},
		{[]string{"--exclude-filter", one + "," + net.JoinHostPort(web6, "9090"), "--filter", "tcp or udp"}, "(tcp || udp) && !(ip.addr == " + one + ") && !(ipv6 && udp.port == 9090)"},
		{[]string{"--source-ips", one + "," + two6, "--destination-ips", web + "," + web6, "--filter", "tcp or udp"}, "(ip.src == " + one + " && ip.dst == " + web + " || ipv6.src == " + two6 + ") && (tcp || udp)"},
		{[]string{"--filter", "udp and pod client-n1"}, "udp && ip.addr == " + one},
		{[]string{"--filter", "svc web and udp and not pod " + shop.namespace + "/client-n2", "--hook", "socket"}, "udp && ip.addr == " + one},
		{[]string{"--filter", "src ns " + shop.namespace + " and tcp dst port 8080"}, "tcp.dstport == 8080"},
	}
	for batch := range slices.Chunk(captures, 5) { // each has its buffer in the kernel's memory
		shop.wantFiltered(t, batch)
	}
	p, file := startCapture(t, "node/n1", "--duration", "0", "--filter", "udp and node n2 and dst port 9090")
	p.waitFor(t, "capturing until")
	shop.send(t, shop.client["n2"], web, 3)
	onNode(t, "n2", "bash", "-c", "echo -n x >/dev/udp/"+web+"/9090")
	p.signal(t, syscall.SIGINT)
	p.wait(t).wantCode(t, 130)
	if pods := rows(t, file, "ip.src == "+shop.client["n2"].Status.PodIP, "frame.number"); len(pods) > 0 || len(rows(t, file, "udp", "frame.number")) == 0 {
		t.Errorf("%d datagrams of a pod are in the file of the node, which has\n%s", len(pods), tshark(t, file))
	}
	wantNothingLeft(t)
}

// wantFiltered captures the traffic of a web server with each filter, and without
// one.
func (s *shop) wantFiltered(t *testing.T, captures []filteredCapture) {
	t.Helper()
	web, web6 := s.web["n1"].Status.PodIP, v6(s.web["n1"])
	captures = append(slices.Clone(captures), filteredCapture{})
	processes, files := make([]*process, len(captures)), make([]string, len(captures))
	for i, c := range captures {
		processes[i], files[i] = startCapture(t, append([]string{"pod/web-n1", "-n", s.namespace, "--duration", "0"}, c.args...)...)
	}
	for _, p := range processes {
		p.waitFor(t, "capturing until")
	}
	for _, client := range []*corev1.Pod{s.client["n1"], s.client["n2"]} {
		s.get(t, client, s.web["n1"], "/filtered", 3)
		s.send(t, client, web, 5)
	}
	s.send(t, s.client["n2"], web6, 5)
	results := make([]result, len(captures))
	for i, p := range processes {
		p.signal(t, syscall.SIGINT)
		results[i] = p.wait(t)
		results[i].wantCode(t, 130)
	}
	unfiltered := files[len(files)-1]
	for i, c := range captures[:len(captures)-1] {
		all, right := len(rows(t, files[i], "frame", "frame.number")), len(rows(t, files[i], c.want, "frame.number"))
		if right == 0 || right != all || !strings.Contains(results[i].stderr, "filter: ") {
			t.Errorf("%q: %d packets, of which %d are %s\n%s", c.args, all, right, c.want, results[i].stderr)
		}
		// Neighbour discovery goes on by itself: what was sent here is compared.
		ours := "(" + c.want + ") && (tcp || udp)"
		if got, want := len(rows(t, files[i], ours, "frame.number")), len(rows(t, unfiltered, ours, "frame.number")); got != want {
			t.Errorf("%q: %d packets, and a capture without a filter has %d that match", c.args, got, want)
		}
	}
	// The file says what was left out.
	if filter := strings.Join(captures[0].args, " "); filter == "--filter tcp port 8080" {
		if info := capinfos(t, files[0]); strings.Count(info, "tcp port 8080") != 2 {
			t.Errorf("the filter is not in the file's comment and its interface:\n%s", info)
		}
	}
}

// A pod that a filter names is followed when it gets another address.
func TestFilterFollowsAddresses(t *testing.T) {
	shop := openShop(t, "")
	roamer := podYAML(shop.namespace, "roamer", "n2", "app: roamer", restricted)
	apply(t, roamer)
	first := runningPod(t, shop.namespace, "roamer")
	p, file := startCapture(t, "pod/web-n1", "-n", shop.namespace, "--duration", "0", "--filter", "udp port 9090 and src pod roamer")
	p.waitFor(t, "capturing until")
	web := shop.web["n1"].Status.PodIP
	shop.send(t, first, web, 4)
	shop.send(t, shop.client["n2"], web, 4)
	kubectl(t, "delete", "pod", "-n", shop.namespace, "roamer", "--grace-period=1", "--wait=true")
	apply(t, roamer)
	second := runningPod(t, shop.namespace, "roamer")
	if first.Status.PodIP == second.Status.PodIP {
		t.Fatal("the new pod has the old one's address")
	}
	time.Sleep(5 * time.Second) // longer than a change may take, also on a busy machine
	shop.send(t, second, web, 5)
	p.signal(t, syscall.SIGINT)
	p.wait(t).wantCode(t, 130)
	for address, want := range map[string]int{first.Status.PodIP: 4, second.Status.PodIP: 5, shop.client["n2"].Status.PodIP: 0} {
		if got := len(rows(t, file, "udp && ip.src == "+address, "frame.number")); got != want {
			t.Errorf("%d datagrams from %s, want %d", got, address, want)
		}
	}
	wantNothingLeft(t)
}

// Retina kept the last interface only.
func TestInterfaces(t *testing.T) {
	openShop(t, "") // a node without a pod has no cni0
	p, _ := startCapture(t, "node/n1", "--duration", "3s", "--interfaces", "lo,eth0,cni0", "-o", "json")
	r := p.wait(t)
	r.wantCode(t, 0)
	var names []string
	for _, i := range parseSummary(t, r.stdout).Nodes[0].Interfaces {
		names = append(names, i.Name)
	}
	if fmt.Sprint(names) != "[lo eth0 cni0]" {
		t.Errorf("interfaces %q", names)
	}
	wantNothingLeft(t)
	missing, _ := capture(t, "node/n1", "--duration", "3s", "--interfaces", "eth0,eth7")
	missing.wantCode(t, 1)
	if !strings.Contains(missing.stderr, "error: --interfaces: no target has an interface named eth7\n") {
		t.Errorf("stderr:\n%s", missing.stderr)
	}
	wantNothingLeft(t)
}

// A wrong filter is refused before anything is created, with the words to put
// right.
func TestWrongFilters(t *testing.T) {
	shop := openShop(t, "")
	for _, tt := range []struct {
		args       []string
		want, hint string
		code       int
	}{
		{[]string{"--filter", "tcp prot 80"}, "tcp prot 80\n    ^^^^\nerror: --filter: unexpected \"prot\", want \"and\", \"or\" or the end (column 5)\n", "did you mean \"port\"?", 2},
		{[]string{"--filter", "tcp port"}, "tcp port\n        ^\nerror: --filter: ends too early, want a port (column 9)\n", "", 2},
		{[]string{"--include-filter", "10.0.0.1:http"}, "error: --include-filter: \"10.0.0.1:http\" has the port \"http\", which is no number from 0 to 65535\n", "write IP, PORT, IP:PORT", 2},
		{[]string{"--exclude-filter", "*:*"}, "error: --exclude-filter: \"*:*\" is every packet\n", "write IP, PORT", 2},
		{[]string{"--source-ips", "web"}, "error: --source-ips: \"web\" is not an IP address\n", "write an address, or a network like 10.0.0.0/8", 2},
		{[]string{"--destination-ips", "10.0.0.1/8"}, "error: --destination-ips: \"10.0.0.1/8\" has bits set after its network part: the network is 10.0.0.0/8\n", "write an address", 2},
		{[]string{"--interfaces", "any,eth0"}, "error: --interfaces: any stands alone\n", "", 2},
		{[]string{"--interfaces", "a-name-that-is-too-long"}, "error: --interfaces \"a-name-that-is-too-long\": names of interfaces have at most 15 bytes\n", "", 2},
		{[]string{"--filter", "pod web-n3"}, "error: --filter: pod \"web-n3\" not found in namespace \"" + shop.namespace + "\"\n", "did you mean web-n1 or web-n2?", 1},
		{[]string{"--filter", "geneve and pod web-n1"}, "the addresses of a pod are looked up in the outer packet, and behind one VLAN tag", "write it before", 2},
	} {
		var r result
		wantNothingCreated(t, func() {
			r, _ = capture(t, append([]string{"pod/web-n1", "-n", shop.namespace, "--duration", "1s"}, tt.args...)...)
		})
		if r.code != tt.code || !strings.Contains(r.stderr, tt.want) || tt.hint != "" && !strings.Contains(r.stderr, "hint: "+tt.hint) {
			t.Errorf("%q: %s\nwant code %d, %s(%s)", tt.args, r, tt.code, tt.want, tt.hint)
		}
	}
}

// A manifest's fields are the flags, and --dry-run=server shows the program.
func TestFilterInManifest(t *testing.T) {
	shop := openShop(t, "")
	file := manifestFile(t, "filtered", "podNames: [web-n1]", "duration: 3s, interfaces: [eth0], pcapFilter: 'udp and not pod client-n2', sourceIPs: ['"+shop.client["n1"].Status.PodIP+"']", "")
	args := []string{"capture", "create", "--collector-namespace", collectorNamespace, "-n", shop.namespace, "-f", file}
	printed := retina(t, append(args, "--dry-run=client")...)
	printed.wantCode(t, 0)
	if !strings.Contains(printed.stdout, "pcapFilter: udp and not pod client-n2") {
		t.Errorf("manifest:\n%s", printed.stdout)
	}
	rehearsed := retina(t, append(args, "--dry-run=server", "-o", "json")...)
	rehearsed.wantCode(t, 0)
	var plan struct {
		Interfaces []string
		Filter     struct {
			Text, Program string
			Instructions  int
			Addresses     []string
		}
	}
	if err := json.Unmarshal([]byte(rehearsed.stdout), &plan); err != nil {
		t.Fatal(err)
	}
	text := "src host " + shop.client["n1"].Status.PodIP + " and (udp and not pod client-n2)"
	if f := plan.Filter; f.Text != text || f.Instructions < 5 || strings.Count(f.Program, "\n") != f.Instructions || len(f.Addresses) == 0 || fmt.Sprint(plan.Interfaces) != "[eth0]" {
		t.Errorf("plan %+v, want %s", plan, text)
	}
	p, packets := startCapture(t, args[4:]...)
	p.waitFor(t, "capturing")
	shop.send(t, shop.client["n1"], shop.web["n1"].Status.PodIP, 4)
	shop.send(t, shop.client["n2"], shop.web["n1"].Status.PodIP, 4)
	p.wait(t).wantCode(t, 0)
	if got := len(rows(t, packets, "frame", "frame.number")); got != 4 {
		t.Errorf("%d packets, want 4", got)
	}
	wantNothingLeft(t)
}
