//go:build linux

// Package hook attaches BPF programs to one network interface, in the way that
// the node's kernel has.
package hook

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/kubectl-retina/kubectl-retina/internal/hostns"
)

// Names of the ways to attach, as in wire.Interface.Hook.
const (
	TCX    = "tcx"
	Socket = "socket"
)

// Programs are what is attached: Ingress and Egress by TCX, or Socket, which sees
// both directions, as the filter of a packet socket. The hook holds them; the
// caller may close its own references.
type Programs struct {
	Ingress, Egress, Socket *ebpf.Program
}

// closers are closed in reverse order.
type closers []io.Closer

func (c closers) Close() error {
	var errs []error
	for i := len(c) - 1; i >= 0; i-- {
		errs = append(errs, c[i].Close())
	}
	return errors.Join(errs...)
}

// AttachTCX attaches at the head of both of the interface's program lists:
// before any other program could drop or redirect a packet that the pod sent or
// was about to receive. Where the kernel has no TCX the error is
// ebpf.ErrNotSupported.
func AttachTCX(ns *hostns.Netns, i hostns.Interface, programs Programs) (io.Closer, error) {
	var links closers
	err := ns.Do(func() error {
		for _, side := range []struct {
			program *ebpf.Program
			attach  ebpf.AttachType
		}{
			{programs.Ingress, ebpf.AttachTCXIngress},
			{programs.Egress, ebpf.AttachTCXEgress},
		} {
			l, err := link.AttachTCX(link.TCXOptions{
				Interface: i.Index, Program: side.program, Attach: side.attach, Anchor: link.Head(),
			})
			if err != nil {
				return fmt.Errorf("attach %s to %s: %w", side.attach, i.Name, err)
			}
			links = append(links, l)
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, links.Close())
	}
	return links, nil
}

// AttachSocket makes the program the filter of a packet socket (packet(7)), as
// tcpdump has one, which takes no packet for the socket itself. It sees what the
// interface receives before traffic control does, and what it sends after that.
//
// A clsact qdisc with filters would do for kernels without TCX too, but it outlives
// its process, and adding or removing one stops the interface for a moment: what is
// sent then is dropped (net/sched/sch_api.c, qdisc_graft).
func AttachSocket(ns *hostns.Netns, i hostns.Interface, program *ebpf.Program) (io.Closer, error) {
	socket, err := openSocket(ns)
	if err == nil {
		err = bindSocket(socket, program, i.Index)
	}
	if err != nil {
		return nil, fmt.Errorf("attach to %s by a packet socket: %w", i.Name, err)
	}
	return socket, nil
}

// openSocket opens a socket in the namespace that receives nothing yet.
func openSocket(ns *hostns.Netns) (socket *os.File, err error) {
	err = ns.Do(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		socket = os.NewFile(uintptr(fd), "packet socket")
		return nil
	})
	return socket, err
}

// bindSocket filters before it binds, so that no packet is queued. It closes the
// socket when it fails.
func bindSocket(socket *os.File, program *ebpf.Program, index int) error {
	fd := int(socket.Fd())
	err := os.NewSyscallError("setsockopt SO_ATTACH_BPF", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ATTACH_BPF, program.FD()))
	if err == nil {
		err = os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ALL), Ifindex: index}))
	}
	if err != nil {
		return errors.Join(err, socket.Close())
	}
	return nil
}

// networkOrder is htons(3).
func networkOrder(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}
