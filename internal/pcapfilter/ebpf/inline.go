//go:build linux

package ebpf

import (
	"fmt"

	"github.com/cilium/ebpf/asm"
	"golang.org/x/net/bpf"

	"github.com/kubectl-retina/kubectl-retina/internal/pcapfilter"
)

// Offsets in struct __sk_buff.
const (
	skbLen         = 0
	skbVLANPresent = 20
	skbVLANTCI     = 24
	skbVLANProto   = 28
	skbData        = 76
	skbDataEnd     = 80
)

// Where the filter has its things on the stack, from R10. What is above belongs
// to the program around it.
const (
	// StackLimit is how much of the stack, in bytes, the program around it may use.
	StackLimit = 416

	memoryAbove   = 448          // M[] is below
	bufferAt      = -memoryAbove // 8 bytes
	sourceAt      = bufferAt + 8 // objects of the source
	destinationAt = sourceAt + 4 // and of the destination
	offsetAt      = sourceAt + 8 // a load's place
	partAt        = offsetAt + 8 // a load's bytes so far; up to -StackLimit
)

// slot is the place of M[n].
func slot(n uint32) int16 { return int16(-memoryAbove - 4*(int(n)+1)) }

// objectsAt is the place of what a load at offset k gets.
func objectsAt(k uint32) (int16, bool) {
	switch k {
	case pcapfilter.SourceObjects:
		return sourceAt, true
	case pcapfilter.DestinationObjects:
		return destinationAt, true
	}
	return 0, false
}

// Hook is what a program is put into.
type Hook struct {
	// Direct is set for programs that may read a packet's bytes in place (traffic
	// control); then they do where all of them can be.
	Direct bool
	// Link is what packets begin with.
	Link pcapfilter.LinkType
}

// Inline makes instructions that decide like p on the packet of R6, a struct
// __sk_buff, for the middle of a program: a tag that the kernel keeps beside the
// packet (VLAN offload) is seen where it was on the wire. R7 and R8 are the bits
// of pcapfilter.SourceObjects and DestinationObjects. R0 is not 0 for a packet
// that is accepted. R6 is kept, all other registers are not, and of the stack
// what is more than StackLimit below R10 is overwritten.
func Inline(p pcapfilter.Program, hook Hook) (asm.Instructions, error) {
	if err := p.Check(); err != nil {
		return nil, fmt.Errorf("filter: %w", err)
	}
	const done = "filter_done"
	code := asm.Instructions{
		asm.StoreMem(asm.R10, sourceAt, asm.R7, asm.Word),
		asm.StoreMem(asm.R10, destinationAt, asm.R8, asm.Word),
	}
	if hook.Link == pcapfilter.Ethernet {
		code = append(code,
			asm.LoadMem(asm.R1, context, skbVLANPresent, asm.Word),
			asm.JNE.Imm(asm.R1, 0, "filter_tagged"))
	}
	if hook.Direct {
		code = append(code,
			asm.LoadMem(asm.R7, context, skbData, asm.Word),
			asm.LoadMem(asm.R8, context, skbDataEnd, asm.Word),
			asm.LoadMem(asm.R9, context, skbLen, asm.Word),
			asm.Mov.Reg(asm.R1, asm.R8),
			asm.Sub.Reg(asm.R1, asm.R7),
			asm.JLT.Reg(asm.R1, asm.R9, "filter_parts")) // some are elsewhere
		direct, err := compileDirect(p, done)
		if err != nil {
			return nil, err
		}
		code = append(code, direct...)
	}
	parts := compileLoads(p, "filter_loads", done, false)
	parts[0] = parts[0].WithSymbol("filter_parts")
	code = append(code, parts...)
	if hook.Link == pcapfilter.Ethernet {
		code = append(code,
			asm.LoadMem(regTag, context, skbVLANProto, asm.Word).WithSymbol("filter_tagged"),
			asm.HostTo(asm.BE, regTag, asm.Half),
			asm.LSh.Imm(regTag, 16),
			asm.LoadMem(asm.R1, context, skbVLANTCI, asm.Word),
			asm.And.Imm(asm.R1, 0xffff),
			asm.Or.Reg(regTag, asm.R1))
		code = append(code, compileLoads(p, "filter_tag", done, true)...)
	}
	return append(code, asm.Mov.Reg(asm.R0, asm.R0).WithSymbol(done)), nil
}

// compileDirect reads the bytes between R7 and R8, and the packet's length in R9.
// Words that are on the stack are constants for cbpfc, ones that p has nowhere.
func compileDirect(p pcapfilter.Program, done string) (asm.Instructions, error) {
	constants := map[uint32]bool{}
	for _, in := range p {
		constants[in.K] = true
	}
	marker := uint32(0x6f626a00)
	for constants[marker] || constants[marker+4] {
		marker += 8
	}
	marked := make(pcapfilter.Program, len(p))
	for i, in := range p {
		if _, ok := objectsAt(in.K); ok && in.Op == 0x20 {
			in = bpf.RawInstruction{Op: 0, K: marker + in.K - pcapfilter.SourceObjects}
		}
		marked[i] = in
	}
	code, err := Compile(marked, Options{
		Registers: Registers{
			PacketStart: asm.R7, PacketEnd: asm.R8, Length: asm.R9,
			Working: [4]asm.Register{asm.R0, asm.R1, asm.R2, asm.R3},
		},
		Result: asm.R0, Next: done, Prefix: "filter_direct", StackUsed: memoryAbove,
	})
	if err != nil {
		return nil, err
	}
	for i, in := range code {
		if in.OpCode.Class() != asm.ALUClass || in.OpCode.ALUOp() != asm.Mov || in.OpCode.Source() != asm.ImmSource {
			continue
		}
		if offset, ok := objectsAt(uint32(in.Constant) - marker + pcapfilter.SourceObjects); ok {
			load := asm.LoadMem(in.Dst, asm.R10, offset, asm.Word)
			code[i].OpCode, code[i].Src, code[i].Offset, code[i].Constant = load.OpCode, load.Src, load.Offset, 0
		}
	}
	return code, nil
}
