//go:build linux

// Package packets captures the packets of pods and nodes: it attaches the
// program in bpf/packets to their interfaces and reads its ring buffer.
package packets

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"

	bpf "github.com/kubectl-retina/kubectl-retina/bpf/packets"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// maxInterfaces is how many interfaces one collector captures at most: every
// pod of the largest nodes with several interfaces each.
const maxInterfaces = 4096

// maxFlows is how many connections are left out at most: those of our own
// stream, and of other captures of the same node.
const maxFlows = 4096

// kernel is what all interfaces share: the maps, and the programs to make
// copies of.
type kernel struct {
	spec   *ebpf.CollectionSpec
	maps   bpf.PacketsMaps
	filter *filter // nil: none
	noTCX  bool    // it has said so
}

// newKernel creates the maps. ringBytes must be a power of two.
func newKernel(ringBytes uint32, f *filter) (*kernel, error) {
	// Kernels before 5.11 charge maps to RLIMIT_MEMLOCK. Where raising it is
	// not allowed, creating the maps will say whether it was needed.
	_ = rlimit.RemoveMemlock()

	spec, err := bpf.LoadPackets()
	if err != nil {
		return nil, fmt.Errorf("read BPF object: %w", err)
	}
	spec.Maps["ring"].MaxEntries = ringBytes
	spec.Maps["counters"].MaxEntries = maxInterfaces
	spec.Maps["own_flows"].MaxEntries = maxFlows
	if f != nil && f.objects {
		spec.Maps["filter_addresses"].MaxEntries = wire.MaxFilterAddresses
	}
	k := &kernel{spec: spec, filter: f}
	maps := ebpf.CollectionSpec{Maps: spec.Maps}
	if err := maps.LoadAndAssign(&k.maps, nil); err != nil {
		return nil, explain(fmt.Errorf("create BPF maps: %w", err))
	}
	return k, nil
}

// load loads a copy of the programs that are fields of the struct that to points
// to, for one interface.
func (k *kernel) load(to any, config bpf.PacketsInterfaceConfig) error {
	spec := k.spec.Copy()
	if f := k.filter; f != nil {
		config.Filter = 1
		if f.objects {
			config.Objects = 1
		}
		for _, program := range spec.Programs {
			if err := f.insert(program, config.Raw != 0); err != nil {
				return err
			}
		}
	}
	if err := spec.Variables["config"].Set(config); err != nil {
		return fmt.Errorf("set BPF config: %w", err)
	}
	err := spec.LoadAndAssign(to, &ebpf.CollectionOptions{
		MapReplacements: map[string]*ebpf.Map{
			"ring": k.maps.Ring, "counters": k.maps.Counters,
			"running": k.maps.Running, "own_flows": k.maps.OwnFlows, "filter_addresses": k.maps.FilterAddresses,
		},
	})
	if err != nil {
		return explain(fmt.Errorf("load BPF programs: %w", err))
	}
	return nil
}

// Close frees the maps; programs that are still attached keep them alive.
func (k *kernel) Close() error { return k.maps.Close() }

// explain adds what a refusal by the kernel usually means. The kernel is tried
// first and asked about only after it has said no.
func explain(err error) error {
	var verifier *ebpf.VerifierError
	switch {
	case errors.Is(err, ebpf.ErrNotSupported):
		return hint.Wrap(err, "the node's kernel is too old: capturing packets needs Linux 5.8 or later")
	case errors.As(err, &verifier):
		return hint.Wrap(fmt.Errorf("%w", err), "the node's kernel refuses the BPF program: please report this with the kernel's version")
	case errors.Is(err, errPermission):
		return hint.Wrap(err, "BPF is not allowed here: the collector needs CAP_BPF or CAP_SYS_ADMIN, and the kernel must not be locked down (see `cat /sys/kernel/security/lockdown`)")
	}
	return err
}
