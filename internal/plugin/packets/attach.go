//go:build linux

package packets

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	bpf "github.com/kubectl-retina/kubectl-retina/bpf/packets"
	"github.com/kubectl-retina/kubectl-retina/internal/hostns"
)

var errPermission = fs.ErrPermission

// Names of the ways to attach, as in wire.Interface.Hook.
const (
	hookTCX    = "tcx"
	hookSocket = "socket"
)

// attachment is one interface with its programs attached. Closing it detaches
// them; the kernel does so too when the process dies.
type attachment struct {
	hook    string
	closers []io.Closer
}

// Close detaches in reverse order.
func (a *attachment) Close() error {
	var errs []error
	for i := len(a.closers) - 1; i >= 0; i-- {
		errs = append(errs, a.closers[i].Close())
	}
	a.closers = nil
	return errors.Join(errs...)
}

// attach loads programs with config and attaches them to the interface in ns:
// by TCX, or where the kernel has none (before 6.6) to a packet socket. hook
// forces one of them.
//
// A clsact qdisc with filters would do for older kernels too, but it outlives
// its process, and adding or removing one stops the interface for a moment:
// what is sent then is dropped (net/sched/sch_api.c, qdisc_graft).
func attach(k *kernel, ns *hostns.Netns, i hostns.Interface, config bpf.PacketsInterfaceConfig, hook string) (*attachment, error) {
	if hook != hookSocket && !k.noTCX {
		a, err := attachTCX(k, ns, i, config)
		if err == nil || hook == hookTCX || !errors.Is(err, ebpf.ErrNotSupported) {
			return a, err
		}
		k.noTCX = true
	}
	return attachSocket(k, ns, i, config)
}

// attachTCX attaches at the head of both of the interface's program lists:
// before any other program could drop or redirect a packet that the pod sent or
// was about to receive.
func attachTCX(k *kernel, ns *hostns.Netns, i hostns.Interface, config bpf.PacketsInterfaceConfig) (*attachment, error) {
	var programs struct {
		Ingress *ebpf.Program `ebpf:"packets_ingress"`
		Egress  *ebpf.Program `ebpf:"packets_egress"`
	}
	if err := k.load(&programs, config); err != nil {
		return nil, err
	}
	// The links hold the programs.
	defer programs.Ingress.Close()
	defer programs.Egress.Close()
	a := &attachment{hook: hookTCX}
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
			a.closers = append(a.closers, l)
		}
		return nil
	})
	if err != nil {
		return nil, explain(errors.Join(err, a.Close()))
	}
	return a, nil
}
