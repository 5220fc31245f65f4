package pcapfilter

// Opcodes of classic BPF, as in the kernel's linux/bpf_common.h.
const (
	classLd, classLdx, classSt, classStx, classAlu, classJmp, classRet, classMisc = 0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07

	sizeW, sizeH, sizeB = 0x00, 0x08, 0x10

	modeImm, modeAbs, modeInd, modeMem, modeLen, modeMsh = 0x00, 0x20, 0x40, 0x60, 0x80, 0xa0

	opAdd, opSub, opMul, opDiv, opOr, opAnd, opLsh, opRsh, opNeg, opMod, opXor = 0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x80, 0x90, 0xa0

	opJa, opJeq, opJgt, opJge, opJset = 0x00, 0x10, 0x20, 0x30, 0x40

	sourceX = 0x08 // X instead of the constant
	returnA = 0x10 // A instead of the constant
	toA     = 0x80 // TXA instead of TAX

	slots = 16 // words of memory
)

// loadSize is the size bits for a number of bytes.
func loadSize(bytes uint8) uint16 {
	switch bytes {
	case 1:
		return sizeB
	case 2:
		return sizeH
	}
	return sizeW
}

// calculate is what an ALU instruction computes. It is false for a division by
// zero, which ends a program.
func calculate(operator uint16, a, b uint32) (uint32, bool) {
	switch operator {
	case opAdd:
		return a + b, true
	case opSub:
		return a - b, true
	case opMul:
		return a * b, true
	case opOr:
		return a | b, true
	case opAnd:
		return a & b, true
	case opXor:
		return a ^ b, true
	case opLsh:
		return a << b, true
	case opRsh:
		return a >> b, true
	case opDiv, opMod:
		if b == 0 {
			return 0, false
		}
		if operator == opDiv {
			return a / b, true
		}
		return a % b, true
	}
	return -a, true // opNeg
}
