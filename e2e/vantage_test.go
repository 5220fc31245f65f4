//go:build linux && !unit

package e2e

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestHopByHop follows a request to a service across two nodes: from the client's
// interface, through NAT and both nodes, to the server's, in the order of time.
func TestHopByHop(t *testing.T) {
	s := openShop(t, "")
	kubectl(t, "delete", "pod", "web-n2", "-n", s.namespace, "--wait=true") // so that the service has one server
	service, err := the.client.CoreV1().Services(s.namespace).Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p, file := startCapture(t, "pod/web-n1", "pod/client-n2", "-n", s.namespace, "--vantage", "pod,node", "--duration", "0", "-o", "json")
	p.waitFor(t, "capturing")
	getOnce(t, s, "http://"+service.Spec.ClusterIP+"/hop")
	p.signal(t, syscall.SIGINT)
	r := p.wait(t)
	r.wantCode(t, 130)

	client, web := s.client["n2"].Status.PodIP, s.web["n1"].Status.PodIP
	hops := []struct{ name, to string }{
		{s.namespace + "/client-n2/eth0", service.Spec.ClusterIP},
		{`n2/veth[0-9a-z]+ \(` + s.namespace + `/client-n2\)`, service.Spec.ClusterIP},
		{"n2/cni0", web},
		{"n2/eth0", web},
		{"n1/eth0", web},
		{"n1/cni0", web},
		{`n1/veth[0-9a-z]+ \(` + s.namespace + `/web-n1\)`, web},
		{s.namespace + "/web-n1/eth0", web},
	}
	seen := rows(t, file, `tcp.payload contains "GET /hop" && ip.src == `+client, "frame.interface_name", "ip.dst")
	if len(seen) < len(hops) {
		t.Fatalf("the request was seen at %v", seen)
	}
	for i, hop := range hops {
		if !regexp.MustCompile("^"+hop.name+"$").MatchString(seen[i][0]) || seen[i][1] != hop.to {
			t.Errorf("hop %d is %v, want %s to %s", i, seen[i], hop.name, hop.to)
		}
	}
	for _, n := range parseSummary(t, r.stdout).Nodes {
		if len(n.Pods) != 1 || len(n.Pods[0].Interfaces) != 2 || n.Pods[0].Interfaces[1].Vantage != "node" || len(n.Interfaces) == 0 {
			t.Errorf("node in summary: %+v", n)
		}
	}
	wantNothingLeft(t)
}

// getOnce makes one request, of which each hop is counted.
func getOnce(t *testing.T, s *shop, url string) {
	t.Helper()
	out := s.traffic(t, s.client["n2"], "http-get", "--url", url, "--count", "1")
	if !strings.Contains(out, "got 1, failed 0") {
		t.Fatalf("http-get: %s", out)
	}
}

func TestNodeVantageAlone(t *testing.T) {
	s := openShop(t, "")
	p, file := startCapture(t, "pod/web-n1", "-n", s.namespace, "--vantage", "node", "--duration", "0")
	p.waitFor(t, "capturing")
	s.send(t, s.client["n1"], s.web["n1"].Status.PodIP, 10)
	p.signal(t, syscall.SIGINT)
	p.wait(t).wantCode(t, 130)
	names := map[string]int{}
	for _, row := range rows(t, file, "udp.dstport == 9090", "frame.interface_name") {
		names[regexp.MustCompile(`veth[0-9a-z]+`).ReplaceAllString(row[0], "veth")]++
	}
	if names["n1/veth ("+s.namespace+"/web-n1)"] != 10 || names[s.namespace+"/web-n1/eth0"] != 0 {
		t.Errorf("datagrams by interface: %v", names)
	}
	wantNothingLeft(t)
}

func TestVantageMistake(t *testing.T) {
	r := retina(t, "capture", "create", "pod/x", "--vantage", "pod,host")
	r.wantError(t, 2, `error: --vantage "host" is not one of pod, node`)
}

// TestNodeWithAnotherHostname captures on a node whose label kubernetes.io/hostname
// is not its name: the label says nothing about which node a collector must run on.
func TestNodeWithAnotherHostname(t *testing.T) {
	s := openShop(t, "")
	label := func(value string) {
		patch := fmt.Sprintf(`{"metadata":{"labels":{"kubernetes.io/hostname":%q}}}`, value)
		if _, err := the.client.CoreV1().Nodes().Patch(context.Background(), "n1", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	label("ip-10-0-0-1.example")
	t.Cleanup(func() { label("n1") })
	p, file := startCapture(t, "pod/web-n1", "node/n1", "-n", s.namespace, "--duration", "0")
	p.waitFor(t, "capturing")
	s.send(t, s.client["n2"], s.web["n1"].Status.PodIP, 10)
	p.signal(t, syscall.SIGINT)
	p.wait(t).wantCode(t, 130)
	for _, name := range []string{s.namespace + "/web-n1/eth0", "n1/eth0"} {
		if got := rows(t, file, fmt.Sprintf("udp.dstport == 9090 && frame.interface_name == %q", name), "frame.number"); len(got) != 10 {
			t.Errorf("%d datagrams on %s, want 10", len(got), name)
		}
	}
	wantNothingLeft(t)
}

// TestVantagesOfAPodThatJoins captures a pod that comes to a node without a collector
// as one that was there at the beginning: on its own interface, on the node's end of
// that, and on the node's uplink.
func TestVantagesOfAPodThatJoins(t *testing.T) {
	s := openShop(t, "")
	apply(t, podYAML(s.namespace, "first", "n1", "set: v", restricted))
	runningPod(t, s.namespace, "first")
	p, file := startCapture(t, "-l", "set=v", "-n", s.namespace, "--vantage", "pod,node", "--duration", "0", "--filter", "udp dst port 9090", "-o", "json")
	p.waitFor(t, "capturing")
	yaml := podYAML(s.namespace, "second", "n2", "set: v", restricted)
	apply(t, strings.Replace(yaml, "args: [serve]", fmt.Sprintf("args: [udp-send, --to, '%s:9090', --rate, '100', --count, '0']", s.client["n1"].Status.PodIP), 1))
	p.waitFor(t, "n2: joined  pod "+s.namespace+"/second")
	time.Sleep(time.Second) // of datagrams
	p.signal(t, syscall.SIGINT)
	r := p.wait(t)
	r.wantCode(t, 130)
	names := map[string]int{}
	for _, row := range rows(t, file, "udp.dstport == 9090", "frame.interface_name") {
		names[regexp.MustCompile(`veth[0-9a-z]+`).ReplaceAllString(row[0], "veth")]++
	}
	for _, name := range []string{s.namespace + "/second/eth0", "n2/veth (" + s.namespace + "/second)", "n2/eth0", "n1/eth0"} {
		if names[name] < 10 {
			t.Errorf("%d datagrams on %s: %v", names[name], name, names)
		}
	}
	for _, n := range parseSummary(t, r.stdout).Nodes {
		if n.Name == "n2" && (len(n.Pods) != 1 || n.Pods[0].Joined == "" || len(n.Pods[0].Interfaces) != 2 || n.Pods[0].Interfaces[1].Vantage != "node" || len(n.Interfaces) == 0) {
			t.Errorf("node that joined in the summary: %+v", n)
		}
	}
	wantNothingLeft(t)
}
