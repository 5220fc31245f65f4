//go:build linux && !unit

package packets_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/kubectl-retina/kubectl-retina/internal/plugin/packets"
	"github.com/kubectl-retina/kubectl-retina/internal/vethtest"
)

// attached lists every qdisc, filter, TCX program and packet socket of the pod.
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
			if errors.Is(err, unix.EINVAL) {
				continue // a kernel without TCX
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(&all, "%s: %d programs\n", side, len(result.Programs))
		}
		sockets, err := os.ReadFile("/proc/thread-self/net/packet")
		fmt.Fprintf(&all, "%d packet sockets\n", bytes.Count(sockets, []byte("\n"))-1)
		return err
	}))
	return all.String()
}

func TestLeavesNothing(t *testing.T) {
	for _, hook := range hooks {
		t.Run(hook, func(t *testing.T) {
			vethtest.NeedHook(t, hook)
			pod := vethtest.NewPod(t)
			before := attached(t, pod)
			first, second := open(t, specFor(hook, pod)), open(t, specFor(hook, pod))
			if attached(t, pod) == before {
				t.Error("nothing shows while two captures are attached: this test sees nothing")
			}
			vethtest.Must(t, first.Close())
			vethtest.Must(t, second.Close())
			if after := attached(t, pod); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
		})
	}
}

// Variables of a process that is a collector to be killed.
const (
	crashHook = "RETINA_TEST_CRASH_HOOK"
	crashPod  = "RETINA_TEST_CRASH_POD" // its UID
)

func TestMain(m *testing.M) {
	hook := os.Getenv(crashHook)
	if hook == "" {
		os.Exit(m.Run())
	}
	p, err := packets.Open(specFor(hook, &vethtest.Pod{UID: os.Getenv(crashPod)}))
	fmt.Println("attached", err)
	for {
		time.Sleep(time.Hour)
		runtime.KeepAlive(p)
	}
}

func TestKilledProcessLeavesNothing(t *testing.T) {
	for _, hook := range hooks {
		t.Run(hook, func(t *testing.T) {
			vethtest.NeedHook(t, hook)
			pod := vethtest.NewPod(t)
			before := attached(t, pod)
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), crashHook+"="+hook, crashPod+"="+pod.UID)
			stdout, err := cmd.StdoutPipe()
			vethtest.Must(t, err)
			vethtest.Must(t, cmd.Start())
			line, err := bufio.NewReader(stdout).ReadString('\n')
			during := attached(t, pod)
			vethtest.Must(t, errors.Join(err, cmd.Process.Kill()))
			_ = cmd.Wait()
			if line != "attached <nil>\n" || during == before {
				t.Fatalf("the process said %q; attached was:\n%s", line, during)
			}
			if after := attached(t, pod); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
		})
	}
}
