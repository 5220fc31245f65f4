//go:build linux

package dropreason

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/packetparser/tracepoint"
)

const (
	reasonPrefix = "SKB_DROP_REASON_"
	notSpecified = "NOT_SPECIFIED"
	// noReason is a number that no kernel uses.
	noReason = math.MaxUint32
	// allArguments of the tracepoint are used: so many are known.
	allArguments = 4
	// netfilterDrop is the number of NETFILTER_DROP on kernels without reasons: there
	// the function that frees a packet tells that netfilter has dropped it.
	netfilterDrop = 1
	// subsystemShift is above the reasons of one subsystem
	// (SKB_DROP_REASON_SUBSYS_SHIFT).
	subsystemShift = 16
)

// reasons are the running kernel's reasons for drops.
type reasons struct {
	// arguments is how many the tracepoint kfree_skb has: skb and location, then the
	// reason (Linux 5.17), then the receiving socket (6.11).
	arguments uint32
	names     map[uint32]string
	// Numbers of reasons, or noReason. The first two are no drops.
	notDropped, consumed, netfilter, unspecified uint32
	// queuePurge is no drop either. See the program.
	queuePurge, notSpecified uint32
	// otherHost is none of the target's: a bridge floods what it does not know the
	// port of.
	otherHost uint32
	// noSocket is none where it is an answer to a ping. See the program.
	noSocket uint32
	// tellsMisses is whether the kernel counts what the program was not run for.
	tellsMisses bool
	// modules is whether the enums of modules were looked for.
	modules bool
}

// readReasons asks the kernel's type information, and uses no more than so many
// arguments of the tracepoint.
func readReasons(most uint32) (*reasons, error) {
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		return nil, hint.Wrap(fmt.Errorf("read the kernel's type information: %w", err),
			"counting drops needs a kernel with BTF (CONFIG_DEBUG_INFO_BTF, see `ls /sys/kernel/btf/vmlinux`)")
	}
	r := &reasons{names: map[uint32]string{}, notDropped: noReason, consumed: noReason, netfilter: noReason, queuePurge: noReason, otherHost: noReason, noSocket: noReason}
	if r.arguments, err = tracepointArguments(spec); err != nil {
		return nil, err
	}
	r.arguments, r.tellsMisses = min(r.arguments, most), tracepoint.TellsMisses(spec)
	var enum *btf.Enum
	err = spec.TypeByName("skb_drop_reason", &enum)
	switch {
	case errors.Is(err, btf.ErrNotFound) || r.arguments < 3:
		r.netfilter = netfilterDrop
		r.names[r.unspecified], r.names[r.netfilter] = notSpecified, "NETFILTER_DROP"
		return r, nil
	case err != nil:
		return nil, fmt.Errorf("read the kernel's reasons for drops: %w", err)
	}
	r.addCore(enum)
	r.addSubsystems(spec)
	return r, nil
}

// tracepointArguments counts the arguments of kfree_skb.
func tracepointArguments(spec *btf.Spec) (uint32, error) {
	var typedef *btf.Typedef
	if err := spec.TypeByName("btf_trace_kfree_skb", &typedef); err != nil {
		return 0, fmt.Errorf("read the tracepoint kfree_skb: %w", err)
	}
	if pointer, ok := typedef.Type.(*btf.Pointer); ok {
		if function, ok := pointer.Target.(*btf.FuncProto); ok && len(function.Params) >= 3 {
			return uint32(len(function.Params) - 1), nil // the first one is the program's own
		}
	}
	return 0, fmt.Errorf("read the tracepoint kfree_skb: unknown form %v", typedef.Type)
}

// addCore takes the names of enum skb_drop_reason.
func (r *reasons) addCore(enum *btf.Enum) {
	for _, v := range enum.Values {
		number := uint32(v.Value)
		switch v.Name {
		case "SKB_NOT_DROPPED_YET":
			r.notDropped = number
			continue
		case "SKB_CONSUMED":
			r.consumed = number
			continue
		case reasonPrefix + "MAX", reasonPrefix + "SUBSYS_MASK":
			continue
		case reasonPrefix + "NETFILTER_DROP":
			r.netfilter = number
		case reasonPrefix + "OTHERHOST":
			r.otherHost = number
		case reasonPrefix + "NO_SOCKET":
			r.noSocket = number
		case reasonPrefix + "QUEUE_PURGE":
			r.queuePurge = number
		case reasonPrefix + notSpecified:
			r.notSpecified = number
		}
		r.names[number] = strings.TrimPrefix(v.Name, reasonPrefix)
	}
}

// purges are the kernel's functions that empty sockets: before Linux 6.6, only they
// tell what is QUEUE_PURGE today.
func purges() []string {
	return []string{"sk_stream_kill_queues", "inet_sock_destruct", "skb_queue_purge"}
}

// addSubsystems takes the names of the enums of subsystems that are in spec.
func (r *reasons) addSubsystems(spec *btf.Spec) {
	for _, name := range []string{"mac80211_drop_reason", "ovs_drop_reason"} {
		var enum *btf.Enum
		if err := spec.TypeByName(name, &enum); err != nil {
			continue // not built in
		}
		for _, v := range enum.Values {
			if number := uint32(v.Value); number>>subsystemShift != 0 && !strings.HasPrefix(v.Name, "__") {
				r.names[number] = v.Name
			}
		}
	}
}

// name returns the kernel's name of a reason without its prefix. A reason of
// a subsystem that has no name is "SUBSYS_n_m".
func (r *reasons) name(number uint32) string {
	if name, ok := r.names[number]; ok {
		return name
	}
	subsystem := number >> subsystemShift
	if subsystem == 0 {
		return fmt.Sprintf("REASON_%d", number)
	}
	if !r.modules {
		r.modules = true
		for _, module := range []string{"mac80211", "openvswitch"} {
			if spec, err := btf.LoadKernelModuleSpec(module); err == nil {
				r.addSubsystems(spec)
			}
		}
		return r.name(number)
	}
	return fmt.Sprintf("SUBSYS_%d_%d", subsystem, number&(1<<subsystemShift-1))
}

// users are the kernel's functions that free segments without a reason after they
// have used them.
func users() []string {
	return []string{"tcp_rcv_state_process", "tcp_v4_rcv", "tcp_v6_rcv"}
}
