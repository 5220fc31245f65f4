//go:build linux

package packets

import (
	"testing"

	"github.com/cilium/ebpf/asm"

	bpf "github.com/kubectl-retina/kubectl-retina/bpf/packets"
	"github.com/kubectl-retina/kubectl-retina/internal/pcapfilter"
	filterbpf "github.com/kubectl-retina/kubectl-retina/internal/pcapfilter/ebpf"
)

// TestStackIsFree: the verifier does not notice when the filter overwrites what
// the program around it still needs.
func TestStackIsFree(t *testing.T) {
	spec, err := bpf.LoadPackets()
	if err != nil {
		t.Fatal(err)
	}
	for name, program := range spec.Programs {
		used, markers := int64(0), 0
		for i, in := range program.Instructions {
			switch {
			case in.OpCode == asm.LoadImmOp(asm.DWord) && uint64(in.Constant) == marker:
				markers++
			case in.OpCode.Class().IsLoad() && in.Src == asm.R10, in.OpCode.Class().IsStore() && in.Dst == asm.R10:
				used = max(used, -int64(in.Offset))
			case i > 0 && program.Instructions[i-1].Src == asm.R10 && in.OpCode.Class() == asm.ALU64Class && in.OpCode.ALUOp() == asm.Add:
				used = max(used, -in.Constant)
			}
		}
		if used == 0 || used > filterbpf.StackLimit || markers != 1 {
			t.Errorf("%s uses %d bytes of the stack, at most %d are free; it has %d places for a filter", name, used, filterbpf.StackLimit, markers)
		}
	}
}

// TestRoomForFilters: what the command lets through must fit.
func TestRoomForFilters(t *testing.T) {
	spec, err := bpf.LoadPackets()
	if err != nil {
		t.Fatal(err)
	}
	for name, program := range spec.Programs {
		length := pcapfilter.KernelRoom
		for _, in := range program.Instructions {
			length += int(in.Width())
		}
		if length > maxProgram {
			t.Errorf("%s has %d instructions with the longest filter, at most %d are possible", name, length, maxProgram)
		}
	}
}
