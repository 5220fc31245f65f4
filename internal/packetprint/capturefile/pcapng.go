package capturefile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/bits"
	"net/netip"
	"strings"
	"time"
)

// Block types (section 10.1).
const (
	typeSection   uint32 = 0x0A0D0D0A
	typeInterface uint32 = 1
	typeObsolete  uint32 = 2 // Packet Block, appendix A
	typeSimple    uint32 = 3
	typeNames     uint32 = 4
	typePacket    uint32 = 6
)

// Options (sections 3.5, 4.1 to 4.3).
const (
	optEnd      = 0
	optComment  = 1
	shbUserAppl = 4
	ifName      = 2
	ifDesc      = 3
	ifTSResol   = 9
	ifTSOffset  = 14
	epbFlags    = 2
	byteOrder   = 0x1A2B3C4D
	blockMin    = 12
	recordIPv4  = 1
	recordIPv6  = 2
	recordEnd   = 0
)

// clock is how an interface counts time.
type clock struct {
	perSecond uint64
	offset    int64 // seconds
	snapLen   uint32
}

// ngReader reads a pcapng file.
type ngReader struct {
	r      io.Reader
	begun  []byte // the type of the first block, until it is read
	order  binary.ByteOrder
	clocks []clock
	packet Packet
	memory []byte
}

// next returns the next item, and passes blocks that are none.
func (n *ngReader) next() (Item, error) {
	for {
		typ, body, err := n.block()
		if err != nil {
			return nil, err
		}
		var item Item
		switch typ {
		case typeSection:
			item, err = n.section(body)
		case typeInterface:
			item, err = n.iface(body)
		case typeNames:
			item, err = n.names(body)
		case typePacket:
			item, err = n.enhanced(body)
		case typeSimple:
			item, err = n.simple(body)
		case typeObsolete:
			item, err = n.obsolete(body)
		default:
			continue
		}
		if err != nil {
			return nil, err
		}
		return item, nil
	}
}

// block reads a whole block and returns what is between its lengths.
func (n *ngReader) block() (typ uint32, body []byte, err error) {
	var header [8]byte
	rest := header[copy(header[:], n.begun):]
	if n.begun != nil {
		err = readFull(n.r, rest)
	} else {
		_, err = io.ReadFull(n.r, rest)
	}
	n.begun = nil
	if err != nil {
		return 0, nil, err
	}
	read := 0
	var magic [4]byte
	if binary.LittleEndian.Uint32(header[:]) == typeSection { // the same in either order
		if err := readFull(n.r, magic[:]); err != nil {
			return 0, nil, err
		}
		read = len(magic)
		switch uint32(byteOrder) {
		case binary.LittleEndian.Uint32(magic[:]):
			n.order = binary.LittleEndian
		case binary.BigEndian.Uint32(magic[:]):
			n.order = binary.BigEndian
		default:
			return 0, nil, fmt.Errorf("section's byte order is %x", magic)
		}
	}
	typ = n.order.Uint32(header[:])
	length := n.order.Uint32(header[4:])
	if length < blockMin || length > maxBlockLen || length%4 != 0 || int(length) < blockMin+read {
		return 0, nil, fmt.Errorf("block of type %#x is %d bytes long", typ, length)
	}
	n.memory = grown(n.memory, int(length)-8)
	copy(n.memory, magic[:read])
	if err := readFull(n.r, n.memory[read:]); err != nil {
		return 0, nil, err
	}
	body = n.memory[:len(n.memory)-4]
	if again := n.order.Uint32(n.memory[len(body):]); again != length {
		return 0, nil, fmt.Errorf("block of type %#x begins with length %d and ends with %d", typ, length, again)
	}
	return typ, body, nil
}

// options calls visit for each option. What does not fit is passed over: nothing
// of it is needed to read on.
func (n *ngReader) options(b []byte, visit func(code uint16, value []byte)) {
	for len(b) >= 4 {
		code, length := n.order.Uint16(b), int(n.order.Uint16(b[2:]))
		if code == optEnd || length > len(b)-4 {
			return
		}
		visit(code, b[4:4+length])
		b = b[min(4+(length+3)&^3, len(b)):]
	}
}

func (n *ngReader) section(b []byte) (Item, error) {
	if len(b) < 16 {
		return nil, fmt.Errorf("section header is %d bytes long", len(b))
	}
	if major := n.order.Uint16(b[4:]); major != 1 {
		return nil, fmt.Errorf("section is of pcapng version %d", major)
	}
	n.clocks = n.clocks[:0]
	s := new(Section)
	n.options(b[16:], func(code uint16, value []byte) {
		switch code {
		case optComment:
			s.Comments = append(s.Comments, text(value))
		case shbUserAppl:
			s.Application = text(value)
		}
	})
	return s, nil
}

func (n *ngReader) iface(b []byte) (Item, error) {
	if len(b) < 8 {
		return nil, fmt.Errorf("interface block is %d bytes long", len(b))
	}
	if len(n.clocks) == maxInterfaces {
		return nil, fmt.Errorf("more than %d interfaces", maxInterfaces)
	}
	i := &Interface{ID: len(n.clocks), LinkType: n.order.Uint16(b), SnapLen: n.order.Uint32(b[4:])}
	c := clock{perSecond: 1e6, snapLen: i.SnapLen}
	n.options(b[8:], func(code uint16, value []byte) {
		switch {
		case code == ifName:
			i.Name = text(value)
		case code == ifDesc:
			i.Description = text(value)
		case code == ifTSResol && len(value) == 1:
			c.perSecond = unitsPerSecond(value[0])
		case code == ifTSOffset && len(value) == 8:
			c.offset = int64(n.order.Uint64(value))
		}
	})
	if c.perSecond == 0 {
		return nil, fmt.Errorf("interface %d has times of a unit that is too small", i.ID)
	}
	n.clocks = append(n.clocks, c)
	return i, nil
}

// unitsPerSecond is what an if_tsresol says (section 4.2), 0 if it is too many.
func unitsPerSecond(resolution byte) uint64 {
	exponent := resolution & 0x7f
	switch {
	case resolution&0x80 != 0 && exponent < 64:
		return 1 << exponent
	case resolution&0x80 == 0 && exponent < 20:
		return uint64(math.Pow10(int(exponent)))
	}
	return 0
}

// time is the time of a packet, whose interface exists.
func (c clock) time(count uint64) time.Time {
	high, low := bits.Mul64(count%c.perSecond, uint64(time.Second))
	ns, _ := bits.Div64(high, low, c.perSecond) // high is less: the remainder is
	return time.Unix(int64(count/c.perSecond)+c.offset, int64(ns))
}

func (n *ngReader) enhanced(b []byte) (Item, error) {
	if len(b) < 20 {
		return nil, fmt.Errorf("packet block is %d bytes long", len(b))
	}
	count := uint64(n.order.Uint32(b[4:]))<<32 | uint64(n.order.Uint32(b[8:]))
	return n.captured(n.order.Uint32(b), count, n.order.Uint32(b[12:]), n.order.Uint32(b[16:]), b[20:])
}

// obsolete reads a Packet Block, whose interface has 16 bits and is followed by a
// count of drops.
func (n *ngReader) obsolete(b []byte) (Item, error) {
	if len(b) < 20 {
		return nil, fmt.Errorf("packet block is %d bytes long", len(b))
	}
	count := uint64(n.order.Uint32(b[4:]))<<32 | uint64(n.order.Uint32(b[8:]))
	return n.captured(uint32(n.order.Uint16(b)), count, n.order.Uint32(b[12:]), n.order.Uint32(b[16:]), b[20:])
}

// captured is a packet with the data that b begins with, and then its options.
func (n *ngReader) captured(id uint32, count uint64, capLen, wireLen uint32, b []byte) (Item, error) {
	switch {
	case int64(id) >= int64(len(n.clocks)):
		return nil, fmt.Errorf("packet on interface %d of %d", id, len(n.clocks))
	case capLen > maxPacketLen || int64(capLen) > int64(len(b)):
		return nil, fmt.Errorf("packet of %d bytes in a block of %d", capLen, len(b))
	}
	n.packet = Packet{Interface: int(id), Time: n.clocks[id].time(count), WireLen: int(max(wireLen, capLen)), Data: b[:capLen]}
	n.options(b[min(int(capLen+3)&^3, len(b)):], func(code uint16, value []byte) {
		if code == epbFlags && len(value) == 4 {
			direction := n.order.Uint32(value) & 3
			n.packet.Inbound, n.packet.Outbound = direction == 1, direction == 2
		}
	})
	return &n.packet, nil
}

// simple reads a Simple Packet Block (section 4.4): of the first interface, without
// a time, and cut to the interface's snaplen.
func (n *ngReader) simple(b []byte) (Item, error) {
	if len(b) < 4 || len(n.clocks) == 0 {
		return nil, fmt.Errorf("simple packet block is %d bytes long and on interface 0 of %d", len(b), len(n.clocks))
	}
	wireLen := n.order.Uint32(b)
	capLen := min(wireLen, uint32(len(b)-4))
	if n.clocks[0].snapLen != 0 {
		capLen = min(capLen, n.clocks[0].snapLen)
	}
	if capLen > maxPacketLen || wireLen > math.MaxInt32 {
		return nil, fmt.Errorf("packet of %d bytes with %d captured", wireLen, capLen)
	}
	n.packet = Packet{WireLen: int(wireLen), Data: b[4 : 4+capLen]}
	return &n.packet, nil
}

func (n *ngReader) names(b []byte) (Item, error) {
	var names Names
	for len(b) >= 4 {
		record, length := n.order.Uint16(b), int(n.order.Uint16(b[2:]))
		if record == recordEnd {
			break
		}
		if length > len(b)-4 {
			return nil, fmt.Errorf("name of %d bytes in a block with %d left", length, len(b)-4)
		}
		size := map[uint16]int{recordIPv4: 4, recordIPv6: 16}[record]
		if value := b[4 : 4+length]; size > 0 && length > size {
			addr, _ := netip.AddrFromSlice(value[:size])
			for name := range bytes.SplitSeq(bytes.TrimRight(value[size:], "\x00"), []byte{0}) {
				names = append(names, Name{Addr: addr, Name: string(name)})
			}
		}
		b = b[min(4+(length+3)&^3, len(b)):]
	}
	return names, nil
}

// text is the value of an option, which some writers end with a zero.
func text(value []byte) string { return strings.TrimRight(string(value), "\x00") }
