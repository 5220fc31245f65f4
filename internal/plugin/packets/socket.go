//go:build linux

package packets

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	bpf "github.com/kubectl-retina/kubectl-retina/bpf/packets"
	"github.com/kubectl-retina/kubectl-retina/internal/hostns"
)

// attachSocket makes the program the filter of a packet socket (packet(7)), as
// tcpdump has one, which takes no packet for the socket itself. It sees what the
// interface receives before traffic control does, and what it sends after that.
func attachSocket(k *kernel, ns *hostns.Netns, i hostns.Interface, config bpf.PacketsInterfaceConfig) (*attachment, error) {
	var programs struct {
		Socket *ebpf.Program `ebpf:"packets_socket"`
	}
	if err := k.load(&programs, config); err != nil {
		return nil, err
	}
	// The socket holds the program.
	defer programs.Socket.Close()
	socket, err := openSocket(ns)
	if err == nil {
		err = bindSocket(socket, programs.Socket, i.Index)
	}
	if err != nil {
		return nil, explain(fmt.Errorf("attach to %s by a packet socket: %w", i.Name, err))
	}
	return &attachment{hook: hookSocket, closers: []io.Closer{socket}}, nil
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

// bindSocket filters before it binds, so that no packet is queued.
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
