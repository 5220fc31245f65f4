//go:build linux && !unit

package packets_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/kubectl-retina/kubectl-retina/internal/hostns"
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

// The test program is also the collectors that these tests need in processes of
// their own: theirs is the pod with the UID that the variable holds.
const (
	attachAndWait  = "RETINA_TEST_ATTACH_AND_WAIT"
	attachAndClose = "RETINA_TEST_ATTACH_AND_CLOSE" // again and again
)

func TestMain(m *testing.M) {
	if uid := os.Getenv(attachAndWait); uid != "" {
		_, err := packets.Open(specFor("clsact", &vethtest.Pod{UID: uid}))
		fmt.Println("attached", err)
		select {}
	}
	if uid := os.Getenv(attachAndClose); uid != "" {
		if err := attachOftenTo(uid); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// attachOftenTo opens and closes captures, and looks whether each is attached.
func attachOftenTo(uid string) error {
	for i := range 50 {
		p, err := packets.Open(specFor("clsact", &vethtest.Pod{UID: uid}))
		if err != nil {
			return fmt.Errorf("capture %d: %w", i, err)
		}
		own, err := ownFilters(uid, p.Ready().Interfaces[0].Ifindex)
		if err := errors.Join(err, p.Close()); err != nil {
			return fmt.Errorf("capture %d: %w", i, err)
		}
		if own != 2 {
			return fmt.Errorf("capture %d has %d filters instead of 2", i, own)
		}
	}
	return nil
}

// ownFilters counts the filters of this process on an interface of the pod.
func ownFilters(uid string, index int) (count int, err error) {
	pods, err := hostns.FindPods("/proc", []string{uid})
	if err != nil {
		return 0, err
	}
	defer pods[uid].Close()
	handle, err := netlink.NewHandleAt(netns.NsHandle(pods[uid].FD()), unix.NETLINK_ROUTE)
	if err != nil {
		return 0, err
	}
	defer handle.Close()
	device := &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: index}}
	for _, parent := range []uint32{netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS} {
		filters, err := handle.FilterList(device, parent)
		if err != nil && !errors.Is(err, unix.EINVAL) { // no clsact qdisc
			return 0, err
		}
		for _, filter := range filters {
			if f, ok := filter.(*netlink.BpfFilter); ok && strings.Contains(f.Name, fmt.Sprintf("/%d/", os.Getpid())) {
				count++
			}
		}
	}
	return count, nil
}

// crashWithFilters attaches to the pod in another process and kills that. The
// process has ended then, and is a zombie until reap is called.
func crashWithFilters(t testing.TB, p *vethtest.Pod) (reap func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), attachAndWait+"="+p.UID)
	stdout, err := cmd.StdoutPipe()
	vethtest.Must(t, err)
	vethtest.Must(t, cmd.Start())
	reap = sync.OnceFunc(func() { _ = cmd.Wait() })
	t.Cleanup(reap)
	line, err := bufio.NewReader(stdout).ReadString('\n')
	vethtest.Must(t, err)
	vethtest.Must(t, cmd.Process.Kill())
	vethtest.Must(t, unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil))
	if line != "attached <nil>\n" {
		t.Fatalf("the other process said %q", line)
	}
	return reap
}

func TestSweepRemovesFiltersOfKilledCollectors(t *testing.T) {
	for _, zombie := range []bool{false, true} {
		t.Run(fmt.Sprintf("zombie %t", zombie), func(t *testing.T) {
			pod := vethtest.NewPod(t)
			before := attached(t, pod)
			reap := crashWithFilters(t, pod)
			if !zombie {
				reap()
			}
			if attached(t, pod) == before {
				t.Fatal("the killed process left nothing: this test tests nothing")
			}
			vethtest.Must(t, packets.Sweep("/proc"))
			if after := attached(t, pod); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
		})
	}
}

// TestCapturesThatComeAndGo has several collectors on one interface, each of
// which may be the one that makes or removes the qdisc under all of them.
func TestCapturesThatComeAndGo(t *testing.T) {
	pod := vethtest.NewPod(t)
	before := attached(t, pod)
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), attachAndClose+"="+pod.UID)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	all.Wait()
	if after := attached(t, pod); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}
