//go:build linux && !unit

package packets_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/kubectl-retina/kubectl-retina/internal/plugin/packets"
	"github.com/kubectl-retina/kubectl-retina/internal/vethtest"
)

// attached lists every qdisc, filter and TCX program on the pod's interface.
func attached(t testing.TB, p *vethtest.Pod) string {
	t.Helper()
	var all strings.Builder
	for _, show := range []string{"qdisc show dev eth0", "filter show dev eth0 ingress", "filter show dev eth0 egress"} {
		all.WriteString(p.TC(t, show))
	}
	vethtest.Must(t, p.Netns.Do(func() error {
		eth0, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		for _, side := range []ebpf.AttachType{ebpf.AttachTCXIngress, ebpf.AttachTCXEgress} {
			result, err := link.QueryPrograms(link.QueryOptions{Target: eth0.Index, Attach: side})
			if err != nil {
				return err
			}
			fmt.Fprintf(&all, "%s: %d programs\n", side, len(result.Programs))
		}
		return nil
	}))
	return all.String()
}

const attachAndWait = "RETINA_TEST_ATTACH_AND_WAIT"

// TestMain is also the collector that crashWithFilters kills.
func TestMain(m *testing.M) {
	uid := os.Getenv(attachAndWait)
	if uid == "" {
		os.Exit(m.Run())
	}
	_, err := packets.Open(specFor("clsact", &vethtest.Pod{UID: uid}))
	fmt.Println("attached", err)
	select {}
}

// crashWithFilters attaches to the pod in another process and kills that.
func crashWithFilters(t testing.TB, p *vethtest.Pod) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), attachAndWait+"="+p.UID)
	stdout, err := cmd.StdoutPipe()
	vethtest.Must(t, err)
	vethtest.Must(t, cmd.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	vethtest.Must(t, err)
	vethtest.Must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	if line != "attached <nil>\n" {
		t.Fatalf("the other process said %q", line)
	}
}
