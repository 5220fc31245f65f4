//go:build linux

// Package ebpf makes eBPF of filters, to be put into programs that see packets.
package ebpf

import (
	"fmt"

	"github.com/cilium/ebpf/asm"
	"github.com/cloudflare/cbpfc"
	"golang.org/x/net/bpf"

	"github.com/kubectl-retina/kubectl-retina/internal/pcapfilter"
)

// Registers are what the instructions use. All are different.
type Registers struct {
	// PacketStart and PacketEnd hold pointers to the packet's bytes and behind
	// them, as the program's context has them: a filter sees no other bytes, and
	// the verifier follows no start with something added. Length holds how long
	// the packet is. They are not changed.
	PacketStart, PacketEnd, Length asm.Register
	// Working are overwritten.
	Working [4]asm.Register
}

// Options are where the instructions go.
type Options struct {
	Registers
	// Result is overwritten with what the filter returns: 0 for a packet that it
	// rejects. It may be one of Working.
	Result asm.Register
	// Next is the symbol of the instruction that comes afterwards, which the
	// caller adds.
	Next string
	// Prefix begins the symbols inside.
	Prefix string
	// StackUsed is how many bytes of the stack are not free, a multiple of 8. At
	// most 64 more are used.
	StackUsed int
}

// Compile makes instructions that decide like p. They jump forward only, so the
// kernel's verifier needs no more time than the filter's length asks for.
func Compile(p pcapfilter.Program, opts Options) (asm.Instructions, error) {
	filter, ok := bpf.Disassemble(p)
	if !ok {
		return nil, fmt.Errorf("filter has instructions that are not classic BPF")
	}
	instructions, err := cbpfc.ToEBPF(filter, cbpfc.EBPFOpts{
		PacketStart: opts.PacketStart,
		PacketEnd:   opts.PacketEnd,
		Result:      opts.Result,
		ResultLabel: opts.Next,
		Working:     opts.Working,
		StackOffset: opts.StackUsed,
		LabelPrefix: opts.Prefix,
	})
	if err != nil {
		return nil, fmt.Errorf("compile filter to eBPF: %w", err)
	}
	useLength(instructions, opts.Registers)
	return instructions, nil
}

// useLength puts the Length register in the place of the number of bytes that can
// be seen, which cbpfc takes for the packet's length: the end less the start. The
// end is copied for nothing else.
func useLength(instructions asm.Instructions, r Registers) {
	copyEnd := asm.Mov.Reg(r.Working[0], r.PacketEnd)
	subtract := asm.Sub.Reg32(r.Working[0], r.PacketStart)
	for i := range instructions[:max(0, len(instructions)-1)] {
		in, next := &instructions[i], &instructions[i+1]
		if in.OpCode == copyEnd.OpCode && in.Dst == copyEnd.Dst && in.Src == copyEnd.Src &&
			next.OpCode == subtract.OpCode && next.Dst == subtract.Dst && next.Src == subtract.Src {
			in.Src = r.Length
			next.OpCode, next.Src, next.Constant = asm.Mov.Reg32(r.Working[0], r.Working[0]).OpCode, r.Working[0], 0
		}
	}
}
