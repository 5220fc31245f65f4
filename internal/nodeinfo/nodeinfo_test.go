//go:build linux && !unit

package nodeinfo_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/kubectl-retina/kubectl-retina/internal/hostns"
	"github.com/kubectl-retina/kubectl-retina/internal/nodeinfo"
	"github.com/kubectl-retina/kubectl-retina/internal/vethtest"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// hostRoot is the root directory of this machine: its PID 1 may have another.
const hostRoot = "/"

func target(pod *vethtest.Pod, name string) wire.Target {
	return wire.Target{Name: "pod " + name, PodUID: pod.UID}
}

// collect fails the test when something could not be collected.
func collect(t *testing.T, o nodeinfo.Options) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "metadata")
	if o.HostRoot == "" {
		o.HostRoot = hostRoot
	}
	began := time.Now()
	for _, problem := range nodeinfo.Collect(context.Background(), dir, o) {
		t.Error(problem)
	}
	files, bytes := size(t, dir)
	t.Logf("%d targets: %d files, %d bytes in %s", len(o.Targets), files, bytes, time.Since(began).Round(time.Millisecond))
	return dir
}

func size(t *testing.T, dir string) (files int, bytes int64) {
	t.Helper()
	vethtest.Must(t, filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		files, bytes = files+1, bytes+info.Size()
		return err
	}))
	return files, bytes
}

func read(t *testing.T, path ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(path...))
	vethtest.Must(t, err)
	return string(text)
}

func inside(t *testing.T, ns *hostns.Netns, command ...string) {
	t.Helper()
	vethtest.Must(t, ns.Do(func() error {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, out)
		}
		return nil
	}))
}

// furnish gives a pod one of everything, all with a number that only it has.
func furnish(t *testing.T, pod *vethtest.Pod, number int) {
	t.Helper()
	vethtest.Must(t, pod.Netns.Do(func() error {
		eth0, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		mac, err := net.ParseMAC(fmt.Sprintf("02:00:00:00:02:%02d", number))
		if err != nil {
			return err
		}
		return netlink.NeighSet(&netlink.Neigh{
			LinkIndex: eth0.Attrs().Index, State: netlink.NUD_PERMANENT, IP: net.IPv4(192, 0, 2, byte(200+number)), HardwareAddr: mac,
		})
	}))
	inside(t, pod.Netns, "ip", "addr", "add", fmt.Sprintf("198.51.100.%d/32", number), "dev", "eth0")
	inside(t, pod.Netns, "ip", "route", "add", fmt.Sprintf("203.0.113.%d/32", number), "via", "192.0.2.2", "table", "77", "metric", "5", "mtu", "1400")
	inside(t, pod.Netns, "ip", "rule", "add", "fwmark", fmt.Sprintf("0x%d", number), "table", "77", "priority", "123")
	inside(t, pod.Netns, "ip", "link", "add", fmt.Sprintf("vx%d", number), "type", "vxlan", "id", fmt.Sprint(4000+number), "dstport", "4789", "remote", "192.0.2.2", "dev", "eth0")
	inside(t, pod.Netns, "tc", "qdisc", "add", "dev", "eth0", "root", "handle", "7:", "tbf", "rate", fmt.Sprintf("%dmbit", 100+number), "burst", "32k", "latency", "10ms")
	inside(t, pod.Netns, "iptables-nft", "-A", "INPUT", "-p", "tcp", "--dport", fmt.Sprint(7000+number), "-m", "comment", "--comment", fmt.Sprintf("rule-of-%d", number), "-j", "DROP")
	inside(t, pod.Netns, "iptables-legacy", "-t", "mangle", "-A", "OUTPUT", "-p", "udp", "--dport", fmt.Sprint(7100+number), "-j", "ACCEPT")
	inside(t, pod.Netns, "nft", "add", "table", "inet", fmt.Sprintf("t%d", number))
	inside(t, pod.Netns, "nft", "add", "chain", "inet", fmt.Sprintf("t%d", number), "c", "{ type filter hook input priority -7 ; policy accept ; }")
	inside(t, pod.Netns, "nft", "add", "chain", "inet", fmt.Sprintf("t%d", number), "d")
	inside(t, pod.Netns, "nft", "add", "map", "inet", fmt.Sprintf("t%d", number), "m", "{ type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service ; }")
	inside(t, pod.Netns, "nft", "add", "element", "inet", fmt.Sprintf("t%d", number), "m", fmt.Sprintf("{ 10.0.0.%d . tcp . 80 : 10.1.0.1 . 8080 }", number))
	inside(t, pod.Netns, "nft", "add", "map", "inet", fmt.Sprintf("t%d", number), "v", "{ type mark : verdict ; }")
	inside(t, pod.Netns, "nft", "add", "element", "inet", fmt.Sprintf("t%d", number), "v", fmt.Sprintf("{ %d : drop, %d : jump d }", number, 256*number))
	inside(t, pod.Netns, "nft", "add", "rule", "inet", fmt.Sprintf("t%d", number), "c", "ct", "state", "established", "counter", "comment", fmt.Sprintf("\"nft-of-%d\"", number))
	inside(t, pod.Netns, "sysctl", "-w", fmt.Sprintf("net.ipv4.ip_local_port_range=%d 50000", 40000+number))
}

// TestEachNamespaceHasItsOwn has two pods and the node, in each of which
// everything has another number.
func TestEachNamespaceHasItsOwn(t *testing.T) {
	a, b := vethtest.NewPod(t), vethtest.NewPod(t)
	furnish(t, a, 11)
	furnish(t, b, 22)
	vethtest.TCP(t, a, "192.0.2.1:5011", "192.0.2.2:6011")
	vethtest.TCP(t, b, "192.0.2.1:5022", "192.0.2.2:6022")
	dir := collect(t, nodeinfo.Options{Targets: []wire.Target{target(a, "shop/web-1"), target(b, "shop/db/0"), {Name: "node n1", Node: true}}})

	for _, test := range []struct{ file, pattern string }{
		{"addresses.txt", `(?m)^    inet 198\.51\.100\.%d/32 scope global eth0 valid_lft forever`},
		{"links.txt", `(?m)^\d+: vx%d: <BROADCAST,MULTICAST> mtu 1450 .*state DOWN`},
		{"links.txt", `vxlan .*vxlan_id 40%d .*port 4789`},
		{"routes.txt", `(?m)^203\.0\.113\.%d via 192\.0\.2\.2 dev eth0 table 77 proto boot scope global metric 5 mtu 1400$`},
		{"rules.txt", `(?m)^inet 123: from all fwmark 0x%d/0xffffffff .*lookup 77$`},
		{"neighbours.txt", `(?m)^192\.0\.2\.2\d\d dev eth0 lladdr 02:00:00:00:02:%d .*PERMANENT$`},
		{"fdb.txt", `00:00:00:00:00:00 dev vx%d dst 192\.0\.2\.2 `},
		{"qdiscs.txt", `qdisc tbf 7:0 parent root .*rate .*`},
		{"sockets.txt", `(?m)^tcp  ESTAB +0 +0 +192\.0\.2\.1:50%d 192\.0\.2\.2:60\d\d users:\(\("nodeinfo.test",pid=\d+,fd=\d+\)\).* skmem:\(.*\n\t\w+ .*mss:1448 pmtu:1500 .* cwnd:10 `},
		{"conntrack.txt", `tcp .*ESTABLISHED.*sport=50%d`},
		{"sysctl.txt", `(?m)^net\.ipv4\.ip_local_port_range = 400%d\t50000$`},
		{"proc-net/snmp", `Tcp: RtoAlgorithm`},
		{"iptables-nft-save.txt", `\[0:0\] -A INPUT -p tcp -m tcp --dport 70%d -m comment --comment rule-of-\d\d -j DROP`},
		{"iptables-legacy-save.txt", `-A OUTPUT -p udp -m udp --dport 71%d -j ACCEPT`},
		{"nft-ruleset.txt", `table inet t%d `},
		{"nftables.json", `{"rule":{"family":"inet","table":"t%[1]d","chain":"c","handle":\d+,"comment":"nft-of-%[1]d",`},
		{"nftables.json", `{"key":"10\.0\.0\.%d \. tcp \. 80","value":"10\.1\.0\.1 \. 8080"}`},
		{"nftables.json", `"table":"t%d","name":"v","map":"verdict","elem":\[{"key":"0x[0-9a-f]{8}","value":"(drop|jump d)"},{"key":"0x[0-9a-f]{8}","value":"(drop|jump d)"}\]`},
		{"nftables.json", `{"chain":{"family":"inet","table":"t%d","name":"c","type":"filter","hook":"input","prio":-7,"policy":"accept"}}`},
	} {
		for own, other := range map[int]int{11: 22, 22: 11} {
			dirs := map[int]string{11: "pod-shop-web-1", 22: "pod-shop-db-0"}
			text := read(t, dir, dirs[own], test.file)
			find := func(number int) bool {
				pattern := test.pattern
				if strings.Contains(pattern, "%") {
					pattern = fmt.Sprintf(pattern, number)
				}
				return regexp.MustCompile(pattern).MatchString(text)
			}
			if !find(own) {
				t.Errorf("%s of %d has no %q:\n%s", test.file, own, test.pattern, text)
			}
			if strings.Contains(test.pattern, "%") {
				if find(other) {
					t.Errorf("%s of %d has what is in the other's namespace: %q", test.file, own, test.pattern)
				}
				if text, err := os.ReadFile(filepath.Join(dir, "node", test.file)); err == nil {
					if regexp.MustCompile(fmt.Sprintf(test.pattern, own)).Match(text) {
						t.Errorf("node/%s has what is in the namespace of a pod: %q", test.file, test.pattern)
					}
				}
			}
		}
	}
	for _, file := range []string{"addresses.txt", "routes.txt", "sockets.txt", "sysctl.txt", "kernel.txt", "bpf-links.txt", "resolv.conf", "proc-net/netstat", "nftables.json"} {
		if read(t, dir, "node", file) == "" {
			t.Errorf("node/%s is empty", file)
		}
	}
	for _, scope := range []string{"node", "pod-shop-web-1"} {
		var ruleset struct{ NFTables []map[string]any }
		vethtest.Must(t, json.Unmarshal([]byte(read(t, dir, scope, "nftables.json")), &ruleset))
	}
	if _, err := os.Stat(filepath.Join(dir, "problems.txt")); err == nil {
		t.Error("there is a file of problems without a problem")
	}
}
