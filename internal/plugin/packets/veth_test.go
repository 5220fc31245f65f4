//go:build linux && !unit

package packets_test

import (
	"bufio"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/kubectl-retina/kubectl-retina/internal/hostns"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/packets"
)

// fakePod is a process in a cgroup named after a pod and in a netns of its own,
// with a veth pair to a second netns: what a kubelet and a CNI plugin would
// have made.
type fakePod struct {
	uid  string
	pid  int
	ns   *hostns.Netns // eth0: 192.0.2.1/24, 2001:db8::1/64
	peer *hostns.Netns // eth0: 192.0.2.2/24, 2001:db8::2/64
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test attaches BPF programs to veth pairs and needs root; without it run: make test-unit")
	}
}

func newPod(t testing.TB) *fakePod {
	t.Helper()
	needRoot(t)
	uid := newUID(t)
	p := &fakePod{uid: uid}
	p.pid, p.ns = process(t, cgroupFD(t, "pod"+uid))
	_, p.peer = process(t, -1)
	connect(t, p.ns, p.peer)
	swallow(t, p.peer, "192.0.2.2:4002")
	swallow(t, p.peer, "192.0.2.2:4005")
	swallow(t, p.ns, "[2001:db8::1]:4004")
	return p
}

// addInterface gives the pod one more interface: its name is eth1.
func (p *fakePod) addInterface(t testing.TB) {
	t.Helper()
	must(t, p.ns.Do(func() error {
		pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth1"}, PeerName: "peer1"}
		if err := netlink.LinkAdd(pair); err != nil {
			return err
		}
		return netlink.LinkSetUp(pair)
	}))
}

func newUID(t testing.TB) string {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	h := hex.EncodeToString(b)
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

// cgroupFD makes a cgroup (version 2) and opens it.
func cgroupFD(t testing.TB, name string) int {
	t.Helper()
	root := "/sys/fs/cgroup"
	if _, err := os.Stat(filepath.Join(root, "unified")); err == nil {
		root = filepath.Join(root, "unified")
	}
	dir := filepath.Join(root, "retina-test-"+name, name)
	must(t, os.MkdirAll(dir, 0o755))
	t.Cleanup(func() {
		_ = os.Remove(dir)
		_ = os.Remove(filepath.Dir(dir))
	})
	fd, err := syscall.Open(dir, syscall.O_RDONLY|syscall.O_DIRECTORY, 0)
	must(t, err)
	t.Cleanup(func() { syscall.Close(fd) })
	return fd
}

// process starts a process that waits, in a netns of its own.
func process(t testing.TB, cgroup int) (int, *hostns.Netns) {
	t.Helper()
	cmd := exec.Command("sleep", "600")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL,
		UseCgroupFD: cgroup >= 0, CgroupFD: max(cgroup, 0),
	}
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	ns, err := hostns.Open(fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid))
	must(t, err)
	t.Cleanup(func() { ns.Close() })
	return cmd.Process.Pid, ns
}

func connect(t testing.TB, a, b *hostns.Netns) {
	t.Helper()
	must(t, a.Do(func() error {
		return netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: "eth0", MTU: 1500},
			PeerName:  "eth0", PeerNamespace: netlink.NsFd(netns.NsHandle(b.FD())),
		})
	}))
	for host, ns := range map[int]*hostns.Netns{1: a, 2: b} {
		must(t, ns.Do(func() error {
			eth0, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			errs := []error{netlink.LinkSetUp(eth0)}
			for _, cidr := range []string{fmt.Sprintf("192.0.2.%d/24", host), fmt.Sprintf("2001:db8::%d/64", host)} {
				addr, err := netlink.ParseAddr(cidr)
				if err != nil {
					return err
				}
				addr.Flags = syscall.IFA_F_NODAD
				errs = append(errs, netlink.AddrAdd(eth0, addr))
			}
			lo, err := netlink.LinkByName("lo")
			if err != nil {
				return err
			}
			return errors.Join(append(errs, netlink.LinkSetUp(lo))...)
		}))
	}
}

// udp opens a UDP socket in ns.
func udp(t testing.TB, ns *hostns.Netns, local, remote string) *net.UDPConn {
	t.Helper()
	var conn *net.UDPConn
	must(t, ns.Do(func() error {
		laddr, err := net.ResolveUDPAddr("udp", local)
		if err != nil {
			return err
		}
		raddr, err := net.ResolveUDPAddr("udp", remote)
		if err != nil {
			return err
		}
		conn, err = net.DialUDP("udp", laddr, raddr)
		return err
	}))
	t.Cleanup(func() { conn.Close() })
	return conn
}

// swallow opens a UDP socket that receives and never answers, so that the
// kernel does not answer either.
func swallow(t testing.TB, ns *hostns.Netns, at string) {
	t.Helper()
	var conn net.PacketConn
	must(t, ns.Do(func() (err error) {
		conn, err = net.ListenPacket("udp", at)
		return err
	}))
	t.Cleanup(func() { conn.Close() })
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// sendRaw sends an Ethernet frame as it is, from eth0 in ns.
func sendRaw(t testing.TB, ns *hostns.Netns, frame []byte) {
	t.Helper()
	must(t, ns.Do(func() error {
		eth0, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		fd, err := syscall.Socket(syscall.AF_PACKET, syscall.SOCK_RAW, 0)
		if err != nil {
			return err
		}
		defer syscall.Close(fd)
		return syscall.Sendto(fd, frame, 0, &syscall.SockaddrLinklayer{Ifindex: eth0.Index})
	}))
}

// processInOwnNetns starts a process that stays in the netns of the test, in a
// cgroup.
func processInOwnNetns(t testing.TB, cgroup int) {
	t.Helper()
	cmd := exec.Command("sleep", "600")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, UseCgroupFD: true, CgroupFD: cgroup}
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
}

// tcp connects from the pod to its peer, which reads a word and answers "hear".
func tcp(t testing.TB, p *fakePod, from, to string) net.Conn {
	t.Helper()
	var listener net.Listener
	must(t, p.peer.Do(func() (err error) {
		listener, err = net.Listen("tcp", to)
		return err
	}))
	t.Cleanup(func() { listener.Close() })
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = conn.Read(make([]byte, 64))
		_, _ = conn.Write([]byte("hear"))
		_, _ = conn.Read(make([]byte, 64)) // until the other side closes
	}()
	var conn net.Conn
	must(t, p.ns.Do(func() error {
		laddr, err := net.ResolveTCPAddr("tcp", from)
		if err != nil {
			return err
		}
		raddr, err := net.ResolveTCPAddr("tcp", to)
		if err != nil {
			return err
		}
		conn, err = net.DialTCP("tcp", laddr, raddr)
		return err
	}))
	t.Cleanup(func() { conn.Close() })
	return conn
}

func local(c net.Conn) netip.AddrPort  { return c.LocalAddr().(*net.TCPAddr).AddrPort() }
func remote(c net.Conn) netip.AddrPort { return c.RemoteAddr().(*net.TCPAddr).AddrPort() }

// attached lists every qdisc, filter and TCX program on the pod's interface.
func attached(t testing.TB, p *fakePod) string {
	t.Helper()
	var all strings.Builder
	for _, show := range []string{"qdisc show dev eth0", "filter show dev eth0 ingress", "filter show dev eth0 egress"} {
		all.WriteString(p.tc(t, show))
	}
	must(t, p.ns.Do(func() error {
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

// tc runs tc(8) in the pod's netns.
func (p *fakePod) tc(t testing.TB, command string) string {
	t.Helper()
	var out []byte
	must(t, p.ns.Do(func() (err error) {
		out, err = exec.Command("tc", strings.Fields(command)...).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("tc %s: %w: %s", command, err, out)
		}
		return err
	}))
	return string(out)
}

const attachAndWait = "RETINA_TEST_ATTACH_AND_WAIT"

// TestMain is also the collector that crashWithFilters kills.
func TestMain(m *testing.M) {
	uid := os.Getenv(attachAndWait)
	if uid == "" {
		os.Exit(m.Run())
	}
	_, err := packets.Open(specFor("clsact", &fakePod{uid: uid}))
	fmt.Println("attached", err)
	select {}
}

// crashWithFilters attaches to the pod in another process and kills that.
func crashWithFilters(t testing.TB, p *fakePod) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), attachAndWait+"="+p.uid)
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	must(t, err)
	must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	if line != "attached <nil>\n" {
		t.Fatalf("the other process said %q", line)
	}
}
