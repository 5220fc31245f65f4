//go:build linux

// Package vethtest makes what a kubelet and a CNI plugin make, for tests of BPF
// programs on real interfaces: processes in network namespaces and cgroups of
// their own, connected by veth pairs. It needs root.
package vethtest

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/kubectl-retina/kubectl-retina/internal/hostns"
)

// Pod is a process in a cgroup named after a pod and in a netns of its own,
// with a veth pair to a second netns: what a kubelet and a CNI plugin would
// have made.
type Pod struct {
	UID   string
	Netns *hostns.Netns // eth0: 192.0.2.1/24, 2001:db8::1/64
	Peer  *hostns.Netns // eth0: 192.0.2.2/24, 2001:db8::2/64

	cgroup int
	kill   func() // the process
}

// NeedRoot fails the test when it does not run as root.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test attaches BPF programs to veth pairs and needs root; without it run: make test-unit")
	}
}

// NeedKernel skips the test on a kernel older than first, such as "6.6", which has
// what the test needs. On a newer kernel that lacks it the test fails by itself.
func NeedKernel(t testing.TB, first, what string) {
	t.Helper()
	var name unix.Utsname
	Must(t, unix.Uname(&name))
	release := unix.ByteSliceToString(name.Release[:])
	var has, wants [2]int
	_, err := fmt.Sscanf(release, "%d.%d", &has[0], &has[1])
	Must(t, err)
	_, err = fmt.Sscanf(first, "%d.%d", &wants[0], &wants[1])
	Must(t, err)
	if slices.Compare(has[:], wants[:]) < 0 {
		t.Skipf("needs Linux %s: %s", first, what)
	}
}

// NeedHook skips the test on a kernel that is too old for a way to attach:
// TCX came with Linux 6.6.
func NeedHook(t testing.TB, hook string) {
	t.Helper()
	if hook == "tcx" {
		NeedKernel(t, "6.6", "TCX")
	}
}

// NewPod makes a pod that ends with the test.
func NewPod(t testing.TB) *Pod {
	t.Helper()
	NeedRoot(t)
	uid := NewUID(t)
	p := &Pod{UID: uid, cgroup: CgroupFD(t, "pod"+uid)}
	p.Netns, p.kill = process(t, p.cgroup)
	p.Peer, _ = process(t, -1)
	connect(t, p.Netns, p.Peer)
	Swallow(t, p.Peer, "192.0.2.2:4002")
	Swallow(t, p.Peer, "192.0.2.2:4005")
	Swallow(t, p.Netns, "[2001:db8::1]:4004")
	return p
}

// AddInterface gives the pod one more interface: its name is eth1.
func (p *Pod) AddInterface(t testing.TB) {
	t.Helper()
	Must(t, p.Netns.Do(func() error {
		pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth1"}, PeerName: "peer1"}
		if err := netlink.LinkAdd(pair); err != nil {
			return err
		}
		return netlink.LinkSetUp(pair)
	}))
}

// NewUID returns a random UID in the form of a pod's.
func NewUID(t testing.TB) string {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	h := hex.EncodeToString(b)
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

// CgroupFD makes a cgroup (version 2) and opens it.
func CgroupFD(t testing.TB, name string) int {
	t.Helper()
	root := "/sys/fs/cgroup"
	if _, err := os.Stat(filepath.Join(root, "unified")); err == nil {
		root = filepath.Join(root, "unified")
	}
	dir := filepath.Join(root, "retina-test-"+name, name)
	Must(t, os.MkdirAll(dir, 0o755))
	t.Cleanup(func() {
		_ = os.Remove(dir)
		_ = os.Remove(filepath.Dir(dir))
	})
	fd, err := syscall.Open(dir, syscall.O_RDONLY|syscall.O_DIRECTORY, 0)
	Must(t, err)
	t.Cleanup(func() { syscall.Close(fd) })
	return fd
}

// NewSandbox gives the pod another network namespace, with an eth0 that leads to
// another Peer, as a kubelet does when the sandbox has died.
func (p *Pod) NewSandbox(t testing.TB) {
	t.Helper()
	p.kill()
	p.Netns, p.kill = process(t, p.cgroup)
	p.Peer, _ = process(t, -1)
	connect(t, p.Netns, p.Peer)
}

// process starts a process that waits, in a netns of its own, until kill or the end
// of the test.
func process(t testing.TB, cgroup int) (ns *hostns.Netns, kill func()) {
	t.Helper()
	cmd := exec.Command("sleep", "600")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL,
		UseCgroupFD: cgroup >= 0, CgroupFD: max(cgroup, 0),
	}
	Must(t, cmd.Start())
	kill = sync.OnceFunc(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	t.Cleanup(kill)
	ns, err := hostns.Open(fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid))
	Must(t, err)
	t.Cleanup(func() { ns.Close() })
	return ns, kill
}

func connect(t testing.TB, a, b *hostns.Netns) {
	t.Helper()
	Must(t, a.Do(func() error {
		return netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: "eth0", MTU: 1500},
			PeerName:  "eth0", PeerNamespace: netlink.NsFd(netns.NsHandle(b.FD())),
		})
	}))
	for host, ns := range map[int]*hostns.Netns{1: a, 2: b} {
		Must(t, ns.Do(func() error {
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

// UDP opens a UDP socket in ns.
func UDP(t testing.TB, ns *hostns.Netns, local, remote string) *net.UDPConn {
	t.Helper()
	var conn *net.UDPConn
	Must(t, ns.Do(func() error {
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

// Swallow opens a UDP socket that receives and never answers, so that the
// kernel does not answer either.
func Swallow(t testing.TB, ns *hostns.Netns, at string) {
	t.Helper()
	var conn net.PacketConn
	Must(t, ns.Do(func() (err error) {
		conn, err = net.ListenPacket("udp", at)
		return err
	}))
	t.Cleanup(func() { conn.Close() })
}

// Must fails the test at once when there is an error.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// SendRaw sends an Ethernet frame as it is, from eth0 in ns.
func SendRaw(t testing.TB, ns *hostns.Netns, frame []byte) {
	t.Helper()
	Must(t, ns.Do(func() error {
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

// ProcessHere starts a process that stays in the netns of the test, in a
// cgroup.
func ProcessHere(t testing.TB, cgroup int) {
	t.Helper()
	cmd := exec.Command("sleep", "600")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, UseCgroupFD: true, CgroupFD: cgroup}
	Must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
}

// TCP connects from the pod to its peer, which reads a word and answers "hear".
func TCP(t testing.TB, p *Pod, from, to string) net.Conn {
	t.Helper()
	var listener net.Listener
	Must(t, p.Peer.Do(func() (err error) {
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
	Must(t, p.Netns.Do(func() error {
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

// Local is the address of the socket's own end.
func Local(c net.Conn) netip.AddrPort { return c.LocalAddr().(*net.TCPAddr).AddrPort() }

// Remote is the address of the socket's other end.
func Remote(c net.Conn) netip.AddrPort { return c.RemoteAddr().(*net.TCPAddr).AddrPort() }

// TC runs tc(8) in the pod's netns.
func (p *Pod) TC(t testing.TB, command string) string {
	t.Helper()
	var out []byte
	Must(t, p.Netns.Do(func() (err error) {
		out, err = exec.Command("tc", strings.Fields(command)...).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("tc %s: %w: %s", command, err, out)
		}
		return err
	}))
	return string(out)
}
