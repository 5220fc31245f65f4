//go:build linux

package packets

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/net/bpf"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/pcapfilter"
	filterbpf "github.com/kubectl-retina/kubectl-retina/internal/pcapfilter/ebpf"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// A filter is what a capture's programs let through.
type filter struct {
	programs map[pcapfilter.LinkType]pcapfilter.Program
	noRaw    string
	objects  bool // it knows objects by their addresses
}

// errNoProgram is why no packet of an interface can pass a filter.
var errNoProgram = errors.New("the filter lets no packet of this kind of interface through")

// newFilter checks what the command has compiled. A nil spec is no filter.
func newFilter(spec *wire.FilterSpec) (*filter, error) {
	if spec == nil {
		return nil, nil
	}
	f := &filter{programs: map[pcapfilter.LinkType]pcapfilter.Program{}, noRaw: spec.NoRaw, objects: spec.Objects > 0}
	for link, instructions := range map[pcapfilter.LinkType][]wire.FilterInstruction{pcapfilter.Ethernet: spec.Ethernet, pcapfilter.Raw: spec.Raw} {
		if len(instructions) == 0 {
			continue
		}
		program := make(pcapfilter.Program, len(instructions))
		for i, in := range instructions {
			program[i] = bpf.RawInstruction(in)
		}
		if err := program.Check(); err != nil {
			return nil, fmt.Errorf("filter for %s: %w", link, err)
		}
		f.programs[link] = program
	}
	return f, nil
}

// link is the link type of an interface.
func link(raw bool) pcapfilter.LinkType {
	if raw {
		return pcapfilter.Raw
	}
	return pcapfilter.Ethernet
}

// check reports why the filter cannot be used on an interface.
func (f *filter) check(raw bool) error {
	if f == nil || f.programs[link(raw)] != nil {
		return nil
	}
	if raw && f.noRaw != "" {
		return fmt.Errorf("%w: %s", errNoProgram, f.noRaw)
	}
	return errNoProgram
}

// marker is FILTER_MARKER of packets.bpf.c.
const marker = 0x7265746c69660001

// maxProgram is how many instructions a program may have with its filter: jumps
// reach no further.
const maxProgram = 1<<15 - 1

// insert puts the filter into a program.
func (f *filter) insert(program *ebpf.ProgramSpec, raw bool) error {
	if f == nil {
		return nil
	}
	code, err := filterbpf.Inline(f.programs[link(raw)], filterbpf.Hook{Direct: program.Type == ebpf.SchedCLS, Link: link(raw)})
	if err != nil {
		return err
	}
	whole := nameTargets(program.Instructions)
	for i, in := range whole {
		if in.OpCode != asm.LoadImmOp(asm.DWord) || uint64(in.Constant) != marker {
			continue
		}
		code[0] = code[0].WithMetadata(in.Metadata)
		program.Instructions = append(append(append(asm.Instructions{}, whole[:i]...), code...), whole[i+1:]...)
		return checkLength(program.Instructions)
	}
	return fmt.Errorf("BPF program %s has no place for a filter", program.Name)
}

func checkLength(code asm.Instructions) error {
	var length uint64
	for _, in := range code {
		length += uint64(in.Width())
	}
	if length > maxProgram {
		return hint.Wrap(fmt.Errorf("the filter is too long for the kernel: %d instructions with it, at most %d", length, maxProgram),
			"put addresses together to nets, as in net 10.0.0.0/8, and ports to portranges")
	}
	return nil
}

// nameTargets has jumps lead to symbols, so that the distance may change.
func nameTargets(code asm.Instructions) asm.Instructions {
	named := append(asm.Instructions{}, code...)
	index := map[asm.RawInstructionOffset]int{}
	for it := code.Iterate(); it.Next(); {
		index[it.Offset] = it.Index
	}
	for it := code.Iterate(); it.Next(); {
		class := it.Ins.OpCode.Class()
		if !class.IsJump() || it.Ins.Reference() != "" {
			continue
		}
		switch it.Ins.OpCode.JumpOp() {
		case asm.Call, asm.Exit:
			continue
		}
		to, ok := index[it.Offset+asm.RawInstructionOffset(int64(it.Ins.Offset))+1]
		if !ok {
			continue // the kernel will refuse it
		}
		symbol := named[to].Symbol()
		if symbol == "" {
			symbol = fmt.Sprintf("to_%d", to)
			named[to] = named[to].WithSymbol(symbol)
		}
		named[it.Index] = named[it.Index].WithReference(symbol)
		named[it.Index].Offset = -1
	}
	return named
}

// SetAddresses changes which objects of the filter have an address. Packets are
// filtered meanwhile.
func (p *Plugin) SetAddresses(changes []wire.FilterAddress) error {
	for _, change := range changes {
		if err := p.kernel.setAddress(change.Addr, change.Objects); err != nil {
			return err
		}
	}
	return nil
}

func (k *kernel) setAddress(addr netip.Addr, objects uint32) error {
	key := addr.As16()
	if objects == 0 {
		if err := k.maps.FilterAddresses.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("forget address %s: %w", addr, err)
		}
		return nil
	}
	if err := k.maps.FilterAddresses.Put(key, objects); err != nil {
		return fmt.Errorf("filter by address %s: %w", addr, err)
	}
	return nil
}
