//go:build linux

package ebpf

import (
	"fmt"

	"github.com/cilium/ebpf/asm"
	"golang.org/x/net/bpf"

	"github.com/kubectl-retina/kubectl-retina/internal/pcapfilter"
)

// Registers of a program that reads the packet with bpf_skb_load_bytes: any
// packet, also one whose bytes are not in one place, for any program type.
// BPF_LD_ABS would do so too, but where it fails it ends the whole program with 0,
// which for traffic control means that no other program is asked.
const (
	context = asm.R6 // struct __sk_buff
	regA    = asm.R7
	regX    = asm.R8
	regTag  = asm.R9 // TPID and TCI of a tag that is not in the packet's bytes
)

// Of a packet with such a tag, the tag comes behind the two addresses.
const (
	tagAt  = 12
	tagEnd = tagAt + 4
)

// loads makes instructions of a program, one after the other.
type loads struct {
	program pcapfilter.Program
	code    asm.Instructions
	prefix  string
	done    string
	tagged  bool
	next    string // symbol of the next instruction
	labels  int
}

// compileLoads makes instructions that decide like p, into R0, and go on at done.
// When tagged, p sees the tag of regTag in its place.
func compileLoads(p pcapfilter.Program, prefix, done string, tagged bool) asm.Instructions {
	l := &loads{program: p, prefix: prefix, done: done, tagged: tagged}
	l.clearMemory()
	targets := jumpTargets(p)
	for i, in := range p {
		if targets[i] {
			l.mark(l.target(i))
		}
		l.instruction(i, in)
	}
	if len(l.code.ReferenceOffsets()[l.reject()]) > 0 { // the kernel wants no code that is never reached
		l.mark(l.reject())
		l.add(asm.Mov.Imm32(asm.R0, 0), asm.Ja.Label(done))
	}
	return l.code
}

// jumpTargets are the instructions that jumps lead to.
func jumpTargets(p pcapfilter.Program) map[int]bool {
	targets := map[int]bool{}
	for i, in := range p {
		if in.Op&7 == 5 {
			if in.Op&0xf0 == 0 {
				targets[i+1+int(in.K)] = true
				continue
			}
			targets[i+1+int(in.Jt)], targets[i+1+int(in.Jf)] = true, true
		}
	}
	return targets
}

func (l *loads) target(i int) string { return fmt.Sprintf("%s_%d", l.prefix, i) }
func (l *loads) reject() string      { return l.prefix + "_reject" }

// label is a symbol for a place inside one instruction.
func (l *loads) label() string {
	l.labels++
	return fmt.Sprintf("%s_in_%d", l.prefix, l.labels)
}

func (l *loads) add(instructions ...asm.Instruction) {
	if l.next != "" {
		instructions[0] = instructions[0].WithSymbol(l.next)
		l.next = ""
	}
	l.code = append(l.code, instructions...)
}

// mark gives the next instruction a symbol; one that it has already stays with an
// instruction that does nothing.
func (l *loads) mark(symbol string) {
	if l.next != "" {
		l.add(asm.Mov.Reg(asm.R0, asm.R0))
	}
	l.next = symbol
}

// clearMemory writes 0 to the slots that are used.
func (l *loads) clearMemory() {
	used := map[uint32]bool{}
	for _, in := range l.program {
		if class := in.Op & 7; (class == 2 || class == 3 || class < 2 && in.Op&0xe0 == 0x60) && !used[in.K] {
			used[in.K] = true
			l.add(asm.StoreImm(asm.R10, slot(in.K), 0, asm.Word))
		}
	}
	// A and X begin as 0.
	l.add(asm.Mov.Imm32(regA, 0), asm.Mov.Imm32(regX, 0))
}

func (l *loads) instruction(i int, in bpf.RawInstruction) {
	switch in.Op & 7 {
	case 0:
		l.load(in)
	case 1:
		l.loadX(in)
	case 2:
		l.add(asm.StoreMem(asm.R10, slot(in.K), regA, asm.Word))
	case 3:
		l.add(asm.StoreMem(asm.R10, slot(in.K), regX, asm.Word))
	case 4:
		l.math(in)
	case 5:
		l.jump(i, in)
	case 6:
		l.leave(in)
	default:
		if in.Op&0x80 != 0 {
			l.add(asm.Mov.Reg32(regA, regX))
		} else {
			l.add(asm.Mov.Reg32(regX, regA))
		}
	}
}

// leave returns 1 for any number of bytes.
func (l *loads) leave(in bpf.RawInstruction) {
	switch {
	case in.Op&0x10 != 0:
		l.add(asm.Mov.Reg32(asm.R0, regA))
	case in.K == 0:
		l.add(asm.Mov.Imm32(asm.R0, 0))
	default:
		l.add(asm.Mov.Imm32(asm.R0, 1))
	}
	l.add(asm.Ja.Label(l.done))
}

// constant is a number as the assembler wants it: with its highest bit as sign.
func constant(k uint32) int32 { return int32(k) }

func (l *loads) math(in bpf.RawInstruction) {
	operator := map[uint16]asm.ALUOp{
		0x00: asm.Add, 0x10: asm.Sub, 0x20: asm.Mul, 0x30: asm.Div, 0x40: asm.Or, 0x50: asm.And,
		0x60: asm.LSh, 0x70: asm.RSh, 0x90: asm.Mod, 0xa0: asm.Xor,
	}
	code := in.Op & 0xf0
	switch {
	case code == 0x80:
		l.add(asm.Mov.Imm32(asm.R0, 0), asm.Sub.Reg32(asm.R0, regA), asm.Mov.Reg32(regA, asm.R0))
	case in.Op&8 == 0:
		l.add(operator[code].Imm32(regA, constant(in.K)))
	default:
		if code == 0x30 || code == 0x90 { // a division by zero rejects
			l.add(asm.JEq.Imm32(regX, 0, l.reject()))
		}
		l.add(operator[code].Reg32(regA, regX))
	}
}

func (l *loads) jump(i int, in bpf.RawInstruction) {
	code := in.Op & 0xf0
	if code == 0 {
		l.add(asm.Ja.Label(l.target(i + 1 + int(in.K))))
		return
	}
	operator := map[uint16]asm.JumpOp{0x10: asm.JEq, 0x20: asm.JGT, 0x30: asm.JGE, 0x40: asm.JSet}[code]
	inverse := map[uint16]asm.JumpOp{0x10: asm.JNE, 0x20: asm.JLE, 0x30: asm.JLT}[code]
	yes, no := int(in.Jt), int(in.Jf)
	if yes == 0 && no != 0 && code != 0x40 {
		operator, yes, no = inverse, no, yes
	}
	to := l.target(i + 1 + yes)
	if in.Op&8 != 0 {
		l.add(operator.Reg32(regA, regX, to))
	} else {
		l.add(operator.Imm32(regA, constant(in.K), to))
	}
	if no != 0 {
		l.add(asm.Ja.Label(l.target(i + 1 + no)))
	}
}

func (l *loads) loadX(in bpf.RawInstruction) {
	switch in.Op & 0xe0 {
	case 0x00:
		l.add(asm.Mov.Imm32(regX, constant(in.K)))
	case 0x60:
		l.add(asm.LoadMem(regX, asm.R10, slot(in.K), asm.Word))
	case 0x80:
		l.length(regX)
	default: // an IPv4 header's length
		l.fetch(regX, 1, in.K, false)
		l.add(asm.And.Imm32(regX, 0xf), asm.LSh.Imm32(regX, 2))
	}
}

func (l *loads) load(in bpf.RawInstruction) {
	size := map[uint16]int{0x00: 4, 0x08: 2, 0x10: 1}[in.Op&0x18]
	switch in.Op & 0xe0 {
	case 0x00:
		l.add(asm.Mov.Imm32(regA, constant(in.K)))
	case 0x60:
		l.add(asm.LoadMem(regA, asm.R10, slot(in.K), asm.Word))
	case 0x80:
		l.length(regA)
	case 0x40:
		l.fetch(regA, size, in.K, true)
	default:
		if offset, ok := objectsAt(in.K); ok {
			l.add(asm.LoadMem(regA, asm.R10, offset, asm.Word))
			return
		}
		l.fetch(regA, size, in.K, false)
	}
}

// length is of the packet on the wire: with its tag.
func (l *loads) length(to asm.Register) {
	l.add(asm.LoadMem(to, context, skbLen, asm.Word))
	if l.tagged {
		l.add(asm.Add.Imm32(to, tagEnd-tagAt))
	}
}

// fetch loads size bytes at k, or at X plus k.
func (l *loads) fetch(to asm.Register, size int, k uint32, plusX bool) {
	if plusX {
		l.add(asm.Mov.Reg32(asm.R2, regX), asm.Add.Imm(asm.R2, int32(k)))
	}
	switch {
	case !l.tagged || !plusX && int(k)+size <= tagAt:
		l.read(to, size, k, plusX)
	case k >= tagEnd:
		if plusX {
			l.add(asm.Sub.Imm(asm.R2, tagEnd-tagAt))
		}
		l.read(to, size, k-(tagEnd-tagAt), plusX)
	case plusX:
		l.fetchAround(to, size)
	default:
		l.add(asm.Mov.Imm32(asm.R2, int32(k)))
		l.bytewise(to, size)
	}
}

// fetchAround loads at R2, which may be anywhere.
func (l *loads) fetchAround(to asm.Register, size int) {
	before, behind, out := l.label(), l.label(), l.label()
	l.add(asm.JLE.Imm(asm.R2, int32(tagAt-size), before), asm.JGE.Imm(asm.R2, tagEnd, behind))
	l.bytewise(to, size)
	l.add(asm.Ja.Label(out))
	l.mark(behind)
	l.add(asm.Sub.Imm(asm.R2, tagEnd-tagAt))
	l.mark(before)
	l.read(to, size, 0, true)
	l.mark(out)
}

// read loads size bytes of the packet at k, or at R2 when it is known already.
func (l *loads) read(to asm.Register, size int, k uint32, inR2 bool) {
	if inR2 {
		l.add(asm.JGT.Imm(asm.R2, 1<<31-1, l.reject())) // the helper takes 32 bits
	} else {
		l.add(asm.Mov.Imm32(asm.R2, constant(k)))
	}
	l.loadBytes(size)
	switch size {
	case 1:
		l.add(asm.LoadMem(to, asm.R10, bufferAt, asm.Byte))
	case 2:
		l.add(asm.LoadMem(to, asm.R10, bufferAt, asm.Half), asm.HostTo(asm.BE, to, asm.Half))
	default:
		l.add(asm.LoadMem(to, asm.R10, bufferAt, asm.Word), asm.HostTo(asm.BE, to, asm.Word))
	}
}

// loadBytes has the kernel copy bytes at R2 to the buffer.
func (l *loads) loadBytes(size int) {
	l.add(
		asm.Mov.Reg(asm.R1, context),
		asm.Mov.Reg(asm.R3, asm.R10), asm.Add.Imm(asm.R3, bufferAt),
		asm.Mov.Imm(asm.R4, int32(size)),
		asm.FnSkbLoadBytes.Call(),
		asm.JNE.Imm(asm.R0, 0, l.reject()),
	)
}

// bytewise loads bytes at R2 one by one: from the tag, and from before and behind
// it.
func (l *loads) bytewise(to asm.Register, size int) {
	l.add(asm.StoreMem(asm.R10, offsetAt, asm.R2, asm.DWord), asm.Mov.Imm(asm.R0, 0), asm.StoreMem(asm.R10, partAt, asm.R0, asm.DWord))
	for i := range size {
		inTag, behind, read, have := l.label(), l.label(), l.label(), l.label()
		l.add(asm.LoadMem(asm.R2, asm.R10, offsetAt, asm.DWord), asm.Add.Imm(asm.R2, int32(i)))
		l.add(asm.JGE.Imm(asm.R2, tagEnd, behind), asm.JGE.Imm(asm.R2, tagAt, inTag), asm.Ja.Label(read))
		l.mark(inTag)
		l.add(asm.Mov.Imm(asm.R1, tagEnd-1), asm.Sub.Reg(asm.R1, asm.R2), asm.LSh.Imm(asm.R1, 3),
			asm.Mov.Reg(asm.R0, regTag), asm.RSh.Reg(asm.R0, asm.R1), asm.And.Imm(asm.R0, 0xff), asm.Ja.Label(have))
		l.mark(behind)
		l.add(asm.Sub.Imm(asm.R2, tagEnd-tagAt))
		l.mark(read)
		l.loadBytes(1)
		l.add(asm.LoadMem(asm.R0, asm.R10, bufferAt, asm.Byte))
		l.mark(have)
		l.add(asm.LoadMem(asm.R1, asm.R10, partAt, asm.DWord), asm.LSh.Imm(asm.R1, 8), asm.Or.Reg(asm.R1, asm.R0),
			asm.StoreMem(asm.R10, partAt, asm.R1, asm.DWord))
	}
	l.add(asm.LoadMem(to, asm.R10, partAt, asm.Word))
}
