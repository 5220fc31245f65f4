//go:build linux

package packets

import (
	"errors"
	"io"
	"io/fs"

	"github.com/cilium/ebpf"

	bpf "github.com/kubectl-retina/kubectl-retina/bpf/packets"
	"github.com/kubectl-retina/kubectl-retina/internal/hostns"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/hook"
)

var errPermission = fs.ErrPermission

// attachment is one interface with its programs attached. Closing it detaches
// them; the kernel does so too when the process dies.
type attachment struct {
	hook string
	io.Closer
}

// attach loads programs with config and attaches them to the interface in ns:
// by TCX, or where the kernel has none (before 6.6) to a packet socket. force is
// the name of the only way to try.
func attach(k *kernel, ns *hostns.Netns, i hostns.Interface, config bpf.PacketsInterfaceConfig, force string) (*attachment, error) {
	if force != hook.Socket && !k.noTCX {
		a, err := attachTCX(k, ns, i, config)
		if err == nil || force == hook.TCX || !errors.Is(err, ebpf.ErrNotSupported) {
			return a, err
		}
		k.noTCX = true
	}
	return attachSocket(k, ns, i, config)
}

func attachTCX(k *kernel, ns *hostns.Netns, i hostns.Interface, config bpf.PacketsInterfaceConfig) (*attachment, error) {
	var programs struct {
		Ingress *ebpf.Program `ebpf:"packets_ingress"`
		Egress  *ebpf.Program `ebpf:"packets_egress"`
	}
	if err := k.load(&programs, config); err != nil {
		return nil, err
	}
	defer programs.Ingress.Close()
	defer programs.Egress.Close()
	c, err := hook.AttachTCX(ns, i, hook.Programs{Ingress: programs.Ingress, Egress: programs.Egress})
	if err != nil {
		return nil, explain(err)
	}
	return &attachment{hook: hook.TCX, Closer: c}, nil
}

func attachSocket(k *kernel, ns *hostns.Netns, i hostns.Interface, config bpf.PacketsInterfaceConfig) (*attachment, error) {
	var programs struct {
		Socket *ebpf.Program `ebpf:"packets_socket"`
	}
	if err := k.load(&programs, config); err != nil {
		return nil, err
	}
	defer programs.Socket.Close()
	c, err := hook.AttachSocket(ns, i, programs.Socket)
	if err != nil {
		return nil, explain(err)
	}
	return &attachment{hook: hook.Socket, Closer: c}, nil
}
