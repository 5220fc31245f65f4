package pcapfilter

import "golang.org/x/net/bpf"

// KernelRoom is how many instructions of eBPF a filter may have: jumps in the kernel
// reach over 32,767, and the program that it is put into has some itself.
const KernelRoom = 1<<15 - 1 - 2048

// Of a packet with a VLAN tag that the kernel keeps beside it, the tag is from here
// to there.
const (
	tagFrom = 12
	tagTo   = 16
)

// KernelSize is an upper bound of how many instructions of eBPF the program becomes
// for packets that begin with link. The kernel has the bytes of a packet in up to three
// ways, and each instruction is there for each of them.
func (p Program) KernelSize(link LinkType) int {
	const (
		around  = 3 + 6      // keep the objects, go on, look where the bytes are
		frame   = 2 + 2      // A and X are 0, and what rejects
		beside  = 2 + 6      // look for a tag, and get it
		slotted = slots + 20 // M is 0; and as much again as a margin
	)
	size := around + 2*frame + slotted
	if link == Ethernet {
		size += beside + frame + slotted
	}
	checked := make([]int64, len(p))
	for i := range checked {
		checked[i] = unreached
	}
	for i, in := range p {
		size += directSize(in) + loadsSize(in, false) + p.checks(i, checked)
		if link == Ethernet {
			size += loadsSize(in, true)
		}
	}
	return size
}

// unreached is more bytes than a packet has.
const unreached = 1 << 40

// checks is how many instructions check that the bytes which instruction i reads in
// place are there. checked is how many bytes were on all ways to each instruction: it
// is known up to i, and goes on to those behind it.
func (p Program) checks(i int, checked []int64) int {
	in, size := p[i], 0
	if i == 0 || checked[i] == unreached {
		checked[i] = 0
	}
	now := checked[i]
	if end := int64(in.K) + int64(loadBytes(in)); fromPacket(in) && in.Op&0xe0 != modeInd && end > now {
		now, size = end, 3
	}
	reach := func(to int64) {
		if to < int64(len(p)) {
			checked[to] = min(checked[to], now)
		}
	}
	next := int64(i) + 1
	switch {
	case in.Op&7 == classRet:
	case in.Op&7 == classJmp && in.Op&0xf0 == opJa:
		reach(next + int64(in.K))
	case in.Op&7 == classJmp:
		reach(next + int64(in.Jt))
		reach(next + int64(in.Jf))
	default:
		reach(next)
	}
	return size
}

// loadBytes is how many bytes an instruction loads from the packet.
func loadBytes(in bpf.RawInstruction) int {
	switch {
	case in.Op&0x18 == sizeB || in.Op&7 == classLdx:
		return 1
	case in.Op&0x18 == sizeH:
		return 2
	}
	return 4
}

// fromPacket reports whether an instruction loads bytes of the packet.
func fromPacket(in bpf.RawInstruction) bool {
	mode := in.Op & 0xe0
	switch in.Op & 7 {
	case classLd:
		return mode == modeAbs || mode == modeInd
	case classLdx:
		return mode == modeMsh
	}
	return false
}

// directSize is for bytes that are read in place, with the check that they are there
// only where that depends on X.
func directSize(in bpf.RawInstruction) int {
	if fromPacket(in) {
		if in.Op&0xe0 == modeInd {
			return 9 + 2 + 2 // check, far offset, load and order of bytes
		}
		if in.K <= 1<<15-1 {
			return 1 + more(in)
		}
		return 3 + more(in)
	}
	return otherSize(in, in.K > 1<<31-1)
}

// more is what is done to loaded bytes in place: their order, or a header's length.
func more(in bpf.RawInstruction) int {
	if in.Op&7 == classLdx {
		return 2
	}
	return 1
}

// otherSize is for instructions that read nothing of the packet; wide: their constant
// needs an instruction of its own in a comparison.
func otherSize(in bpf.RawInstruction, wide bool) int {
	switch in.Op & 7 {
	case classLd, classLdx, classRet:
		return 2
	case classAlu:
		switch in.Op & 0xf0 {
		case opNeg:
			return 3
		case opDiv, opMod:
			return 2
		}
	case classJmp:
		n := 1
		if wide {
			n++
		}
		if in.Op&0xf0 == opJset || in.Jt != 0 && in.Jf != 0 {
			n++
		}
		return n
	}
	return 1
}

// loadsSize is for bytes that the kernel is asked for; tagged: around a VLAN tag.
func loadsSize(in bpf.RawInstruction, tagged bool) int {
	const (
		read     = 8  // without the order of bytes
		part     = 24 // of one byte by itself
		bytewise = 4
	)
	if !fromPacket(in) {
		return otherSize(in, false)
	}
	size, k := loadBytes(in), int64(in.K)
	indirect := in.Op&0xe0 == modeInd
	switch {
	case indirect && (!tagged || k >= tagTo):
		return 2 + 1 + read + more(in)
	case indirect:
		return 2 + 5 + bytewise + size*part + read + more(in)
	case tagged && k < tagTo && k+int64(size) > tagFrom:
		return 1 + bytewise + size*part + more(in)
	}
	return read + more(in)
}
