package pcapfilter

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/net/bpf"
)

// Program is instructions of classic BPF. It jumps forward only and ends in
// every case: with a number of bytes to keep, 0 for a packet that it rejects.
type Program []bpf.RawInstruction

// String lists the program for people, as tcpdump -d does.
func (p Program) String() string {
	var b strings.Builder
	for i, in := range p {
		fmt.Fprintf(&b, "(%03d) %s\n", i, disassemble(in, i))
	}
	return b.String()
}

// C lists the program as initializers of C, as tcpdump -dd does.
func (p Program) C() string {
	var b strings.Builder
	for _, in := range p {
		fmt.Fprintf(&b, "{ 0x%x, %d, %d, 0x%08x },\n", in.Op, in.Jt, in.Jf, in.K)
	}
	return b.String()
}

// Decimal lists the program as numbers, its length first, as tcpdump -ddd does.
func (p Program) Decimal() string {
	var b strings.Builder
	fmt.Fprintln(&b, len(p))
	for _, in := range p {
		fmt.Fprintf(&b, "%d %d %d %d\n", in.Op, in.Jt, in.Jf, in.K)
	}
	return b.String()
}

// ParseDecimal reads what Decimal writes.
func ParseDecimal(text string) (Program, error) {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	n, err := strconv.Atoi(strings.TrimSpace(lines[0]))
	if err != nil || n != len(lines)-1 {
		return nil, fmt.Errorf("program of %d lines begins with %q", len(lines)-1, lines[0])
	}
	p := make(Program, n)
	for i, line := range lines[1:] {
		in := &p[i]
		if _, err := fmt.Sscan(line, &in.Op, &in.Jt, &in.Jf, &in.K); err != nil {
			return nil, fmt.Errorf("instruction %d %q: %w", i, line, err)
		}
	}
	return p, nil
}

// Match reports whether the program accepts a packet, of which packet has the
// first bytes and wireLen is the whole length. Whoever reads beyond packet
// rejects it.
func (p Program) Match(packet []byte, wireLen int) bool {
	return p.Run(packet, wireLen) != 0
}

// Run is what the program returns for a packet, as Match takes it. A program that
// Compile has not made may be wrong: then the result is 0.
func (p Program) Run(packet []byte, wireLen int) uint32 {
	m := machine{packet: packet, length: uint32(wireLen)}
	for pc := 0; pc >= 0 && pc < len(p); {
		in := p[pc]
		pc++
		switch in.Op & 7 {
		case classRet:
			if in.Op&0x18 == returnA {
				return m.a
			}
			return in.K
		case classJmp:
			pc += m.jump(in)
		default:
			if !m.step(in) {
				return 0
			}
		}
	}
	return 0
}

// machine is the state of a program that runs.
type machine struct {
	a, x   uint32
	memory [slots]uint32
	packet []byte
	length uint32
}

func (m *machine) jump(in bpf.RawInstruction) int {
	operator := in.Op & 0xf0
	if operator == opJa {
		return int(int32(in.K))
	}
	if compare(operator, m.a, m.operand(in)) {
		return int(in.Jt)
	}
	return int(in.Jf)
}

func (m *machine) operand(in bpf.RawInstruction) uint32 {
	if in.Op&sourceX != 0 {
		return m.x
	}
	return in.K
}

// step is false where the program ends early.
func (m *machine) step(in bpf.RawInstruction) bool {
	ok := true
	switch in.Op & 7 {
	case classLd:
		m.a, ok = m.load(in)
	case classLdx:
		m.x, ok = m.load(in)
	case classSt:
		ok = m.store(in.K, m.a)
	case classStx:
		ok = m.store(in.K, m.x)
	case classAlu:
		m.a, ok = m.calculate(in)
	case classMisc:
		if in.Op&toA != 0 {
			m.a = m.x
		} else {
			m.x = m.a
		}
	}
	return ok
}

func (m *machine) store(slot, n uint32) bool {
	if slot >= slots {
		return false
	}
	m.memory[slot] = n
	return true
}

// calculate shifts everything out with 32 bits and more.
func (m *machine) calculate(in bpf.RawInstruction) (uint32, bool) {
	return calculate(in.Op&0xf0, m.a, m.operand(in))
}

func (m *machine) load(in bpf.RawInstruction) (uint32, bool) {
	at := uint64(in.K)
	switch in.Op & 0xe0 {
	case modeImm:
		return in.K, true
	case modeLen:
		return m.length, true
	case modeMem:
		if in.K >= slots {
			return 0, false
		}
		return m.memory[in.K], true
	case modeMsh:
		if at >= uint64(len(m.packet)) {
			return 0, false
		}
		return uint32(m.packet[at]&0xf) * 4, true
	case modeInd:
		at += uint64(m.x)
	}
	size := uint64(4)
	switch in.Op & 0x18 {
	case sizeH:
		size = 2
	case sizeB:
		size = 1
	}
	if at+size > uint64(len(m.packet)) {
		return 0, false
	}
	bytes := m.packet[at : at+size]
	switch size {
	case 1:
		return uint32(bytes[0]), true
	case 2:
		return uint32(binary.BigEndian.Uint16(bytes)), true
	}
	return binary.BigEndian.Uint32(bytes), true
}
