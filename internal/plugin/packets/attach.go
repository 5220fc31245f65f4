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
	hookClsact = "clsact"
)

// attachment is one interface with its programs attached. Closing it detaches
// them; the kernel does so too when the process dies, for TCX.
type attachment struct {
	hook    string
	warning string // "", or what may be missing
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
// by TCX, or where the kernel has none (before 6.6) by a clsact filter. hook
// forces one of them.
func attach(k *kernel, ns *hostns.Netns, i hostns.Interface, config bpf.PacketsInterfaceConfig, hook string) (*attachment, error) {
	programs, err := k.programs(config)
	if err != nil {
		return nil, err
	}
	// The links and filters hold the programs.
	defer programs.Close()

	if hook != hookClsact {
		a, err := attachTCX(ns, i, programs)
		if err == nil || hook == hookTCX || !errors.Is(err, ebpf.ErrNotSupported) {
			return a, err
		}
	}
	filters, err := attachClsact(ns, i, programs)
	if err != nil {
		return nil, err
	}
	a := &attachment{hook: hookClsact, closers: []io.Closer{filters}}
	if filters.behind {
		a.warning = "another traffic-control filter on " + i.Name + " comes first: packets that it accepts or drops are not seen"
	}
	return a, nil
}

// attachTCX attaches at the head of both of the interface's program lists:
// before any other program could drop or redirect a packet that the pod sent or
// was about to receive.
func attachTCX(ns *hostns.Netns, i hostns.Interface, programs *bpf.PacketsPrograms) (*attachment, error) {
	a := &attachment{hook: hookTCX}
	err := ns.Do(func() error {
		for _, side := range []struct {
			program *ebpf.Program
			attach  ebpf.AttachType
		}{
			{programs.PacketsIngress, ebpf.AttachTCXIngress},
			{programs.PacketsEgress, ebpf.AttachTCXEgress},
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
