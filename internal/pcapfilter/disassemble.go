package pcapfilter

import (
	"fmt"

	"golang.org/x/net/bpf"
)

var (
	operatorNames = map[uint16]string{
		opAdd: "add", opSub: "sub", opMul: "mul", opDiv: "div", opMod: "mod", opOr: "or", opAnd: "and", opXor: "xor",
		opLsh: "lsh", opRsh: "rsh", opNeg: "neg",
	}
	jumpNames = map[uint16]string{opJeq: "jeq", opJgt: "jgt", opJge: "jge", opJset: "jset"}
	sizeNames = map[uint16]string{sizeW: "", sizeH: "h", sizeB: "b"}
)

// disassemble writes one instruction as libpcap does: what it does, with what,
// and where a jump leads.
func disassemble(in bpf.RawInstruction, at int) string {
	switch in.Op & 7 {
	case classLd:
		return describe("ld"+sizeNames[in.Op&0x18], loadOperand(in))
	case classLdx:
		return describe("ldx"+sizeNames[in.Op&0x18], loadOperand(in))
	case classSt:
		return describe("st", fmt.Sprintf("M[%d]", in.K))
	case classStx:
		return describe("stx", fmt.Sprintf("M[%d]", in.K))
	case classAlu:
		return describe(operatorNames[in.Op&0xf0], mathOperand(in))
	case classJmp:
		if in.Op&0xf0 == opJa {
			return describe("ja", fmt.Sprint(at+1+int(int32(in.K))))
		}
		operand := "x"
		if in.Op&sourceX == 0 {
			operand = fmt.Sprintf("#0x%x", in.K)
		}
		return fmt.Sprintf("%-8s %-16s jt %d\tjf %d", jumpNames[in.Op&0xf0], operand, at+1+int(in.Jt), at+1+int(in.Jf))
	case classRet:
		if in.Op&0x18 == returnA {
			return describe("ret", "")
		}
		return describe("ret", fmt.Sprintf("#%d", in.K))
	}
	if in.Op&toA != 0 {
		return describe("txa", "")
	}
	return describe("tax", "")
}

func describe(name, operand string) string { return fmt.Sprintf("%-8s %s", name, operand) }

func loadOperand(in bpf.RawInstruction) string {
	switch in.Op & 0xe0 {
	case modeImm:
		return fmt.Sprintf("#0x%x", in.K)
	case modeLen:
		return "#pktlen"
	case modeMem:
		return fmt.Sprintf("M[%d]", in.K)
	case modeMsh:
		return fmt.Sprintf("4*([%d]&0xf)", in.K)
	case modeInd:
		return fmt.Sprintf("[x + %d]", in.K)
	}
	switch in.K {
	case SourceObjects:
		return "#srcobjects"
	case DestinationObjects:
		return "#dstobjects"
	}
	return fmt.Sprintf("[%d]", in.K)
}

func mathOperand(in bpf.RawInstruction) string {
	operator := in.Op & 0xf0
	switch {
	case operator == opNeg:
		return ""
	case in.Op&sourceX != 0:
		return "x"
	case operator == opAnd || operator == opOr || operator == opXor:
		return fmt.Sprintf("#0x%x", in.K)
	}
	return fmt.Sprintf("#%d", in.K)
}
