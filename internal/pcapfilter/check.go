package pcapfilter

import (
	"errors"
	"fmt"

	"golang.org/x/net/bpf"
)

// MaxProgram is how many instructions a program has at most: as many as the
// kernel takes of classic BPF.
const MaxProgram = 4096

// Words that are no part of a packet. A program loads them like words at these
// offsets, which no packet has: whoever puts it into the kernel provides them.
const (
	// SourceObjects and DestinationObjects have bit N set when the packet's source
	// or destination is an address of the Nth object of Filter.Objects.
	SourceObjects      = 0xffffe000
	DestinationObjects = 0xffffe004
)

// Check reports the first thing that makes p unusable, for programs that come
// from elsewhere: every instruction is one of classic BPF, jumps lead forward and
// stay inside, memory slots exist, nothing is divided by zero or shifted out, and
// no way leads beyond the end.
func (p Program) Check() error {
	switch {
	case len(p) == 0:
		return errors.New("a program has no instruction")
	case len(p) > MaxProgram:
		return fmt.Errorf("a program has %d instructions, and may have %d", len(p), MaxProgram)
	case p[len(p)-1].Op&7 != classRet:
		return errors.New("the last instruction does not return")
	}
	for i, in := range p {
		if !known(in) {
			return fmt.Errorf("instruction %d, {0x%x %d %d 0x%x}, is not of classic BPF", i, in.Op, in.Jt, in.Jf, in.K)
		}
		left := uint32(len(p) - i - 1) // instructions after it
		switch {
		case in.Op&7 != classJmp:
		case in.Op&0xf0 == opJa:
			if in.K >= left {
				return fmt.Errorf("instruction %d jumps out of the program", i)
			}
		case uint32(in.Jt) >= left || uint32(in.Jf) >= left:
			return fmt.Errorf("instruction %d jumps out of the program", i)
		}
	}
	return nil
}

// known reports whether an instruction is one that programs may have.
func known(in bpf.RawInstruction) bool {
	switch in.Op & 7 {
	case classLd:
		return knownLoad(in)
	case classLdx:
		switch in.Op {
		case classLdx | modeImm, classLdx | modeLen, classLdx | modeMsh | sizeB:
			return true
		case classLdx | modeMem:
			return in.K < slots
		}
	case classSt, classStx:
		return in.Op&^7 == 0 && in.K < slots
	case classAlu:
		return knownMath(in)
	case classJmp:
		switch in.Op &^ 7 {
		case opJa, opJeq, opJgt, opJge, opJset, opJeq | sourceX, opJgt | sourceX, opJge | sourceX, opJset | sourceX:
			return true
		}
	case classRet:
		return in.Op == classRet || in.Op == classRet|returnA
	case classMisc:
		return in.Op == classMisc || in.Op == classMisc|toA
	}
	return false
}

// knownLoad takes no offset that the kernel gives a meaning of its own.
func knownLoad(in bpf.RawInstruction) bool {
	switch in.Op {
	case classLd | modeImm, classLd | modeLen:
		return true
	case classLd | modeMem:
		return in.K < slots
	case classLd | modeAbs | sizeW:
		if in.K == SourceObjects || in.K == DestinationObjects {
			return true
		}
		return in.K <= farthest
	case classLd | modeAbs | sizeH, classLd | modeAbs | sizeB,
		classLd | modeInd | sizeW, classLd | modeInd | sizeH, classLd | modeInd | sizeB:
		return in.K <= farthest
	}
	return false
}

func knownMath(in bpf.RawInstruction) bool {
	if in.Op > 0xff {
		return false
	}
	byX := in.Op&sourceX != 0
	switch in.Op & 0xf0 {
	case opAdd, opSub, opMul, opOr, opAnd, opXor:
		return true
	case opDiv, opMod:
		return byX || in.K != 0
	case opLsh, opRsh:
		return byX || in.K < 32
	case opNeg:
		return !byX
	}
	return false
}
