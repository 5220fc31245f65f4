//go:build linux && !unit

package e2e

import (
	"bytes"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestCaptureDropsNoPacket attaches and detaches while others' datagrams pass,
// none of which would be sent again: all of them have to arrive.
func TestCaptureDropsNoPacket(t *testing.T) {
	for _, hook := range []string{"tcx", "socket"} {
		t.Run(hook, func(t *testing.T) {
			s := openShop(t, "")
			web := s.web["n1"].Status.PodIP
			const count = 10_000
			sender := the.Command(t.Context(), "kubectl", "exec", "-n", s.namespace, "client-n2", "--",
				"/bin/traffic", "udp-send", "--to", net.JoinHostPort(web, "9090"), "--count", fmt.Sprint(count), "--rate", "1000")
			var said bytes.Buffer
			sender.Stdout, sender.Stderr = &said, &said
			if err := sender.Start(); err != nil {
				t.Fatal(err)
			}
			for _, target := range []string{"node/n1", "pod/web-n1", "node/n2", "pod/client-n2"} {
				r, _ := capture(t, target, "-n", s.namespace, "--duration", "1s", "--hook", hook)
				r.wantCode(t, 0)
			}
			if err := sender.Wait(); err != nil || !strings.Contains(said.String(), fmt.Sprintf("sent %d\n", count)) {
				t.Fatalf("udp-send: %v\n%s", err, said.String())
			}
			if got := datagrams(t, s.web["n1"]); got != count {
				t.Errorf("%d of %d datagrams have arrived", got, count)
			}
			wantNothingLeft(t)
		})
	}
}

// datagrams are those that have reached a pod's sockets, which may have had no
// room for them (SNMP counters of UDP, RFC 4113).
func datagrams(t testing.TB, pod *corev1.Pod) (count int) {
	t.Helper()
	pid := processOf(t, pod)
	udp := regexp.MustCompile(`(?m)^Udp: (.*)$`).FindAllStringSubmatch(onNode(t, pod.Spec.NodeName, "cat", "/proc/"+pid+"/net/snmp"), 2)
	values := strings.Fields(udp[1][1])
	for i, name := range strings.Fields(udp[0][1]) {
		if name == "InDatagrams" || name == "RcvbufErrors" {
			n, err := strconv.Atoi(values[i])
			if err != nil {
				t.Fatal(err)
			}
			count += n
		}
	}
	return count
}
