package pcapng

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// Directions of a packet, as bits of the flags word (section 4.3.1).
const (
	FlagInbound  uint32 = 1
	FlagOutbound uint32 = 2
)

// Options of an Enhanced Packet Block (section 4.3).
const (
	epbFlags     uint16 = 2
	epbDropCount uint16 = 4
)

// MaxPacketLen is the most bytes of a packet that a block holds. Wireshark
// refuses a file with a longer one, and libpcap has the same limit.
const MaxPacketLen = 256 << 10

const (
	epbHeaderLen = 28                         // type .. original length
	epbFlagsLen  = 12                         // epb_flags and the end of the options
	epbMinLen    = epbHeaderLen + 4           // no data, no options
	vlanTagLen   = 4                          // TPID and TCI (IEEE 802.1Q)
	vlanTagAt    = 12                         // after both MAC addresses
	maxEPBLen    = epbMinLen + MaxPacketLen*2 // generous to options
)

// AppendEPB appends an Enhanced Packet Block with the first capLen bytes of
// data, a packet of wireLen bytes seen on interface ifID at tsNS. flags is the
// flags word, left out when 0. capLen may be less than len(data), as in a slot
// of a ring buffer; it is cut to that and to MaxPacketLen.
func AppendEPB(dst []byte, ifID uint32, tsNS int64, capLen, wireLen, flags uint32, data []byte) []byte {
	capLen = min(capLen, uint32(len(data)), MaxPacketLen)
	dst, room := ReserveEPB(dst, ifID, tsNS, capLen, wireLen, flags)
	copy(room, data[:capLen])
	return dst
}

// AppendEPBVLAN is AppendEPB for a frame whose VLAN tag the kernel keeps beside
// it: the tag is put back where it was on the wire, after the MAC addresses, and
// both lengths count it. A caller with a snaplen passes a capLen 4 below it.
func AppendEPBVLAN(dst []byte, ifID uint32, tsNS int64, capLen, wireLen, flags uint32, data []byte, tpid, tci uint16) []byte {
	capLen = min(capLen, uint32(len(data)), MaxPacketLen-vlanTagLen)
	wireLen += vlanTagLen
	if capLen < vlanTagAt {
		return AppendEPB(dst, ifID, tsNS, capLen, wireLen, flags, data)
	}
	dst, room := ReserveEPB(dst, ifID, tsNS, capLen+vlanTagLen, wireLen, flags)
	copy(room, data[:vlanTagAt])
	binary.BigEndian.PutUint16(room[vlanTagAt:], tpid)
	binary.BigEndian.PutUint16(room[vlanTagAt+2:], tci)
	copy(room[vlanTagAt+vlanTagLen:], data[vlanTagAt:capLen])
	return dst
}

// ReserveEPB appends an Enhanced Packet Block without its data and returns the
// place for it besides: capLen bytes, at most MaxPacketLen, which the caller
// fills before dst grows again.
func ReserveEPB(dst []byte, ifID uint32, tsNS int64, capLen, wireLen, flags uint32) (block, data []byte) {
	capLen = min(capLen, MaxPacketLen)
	length := EPBLen(capLen, flags)
	start := len(dst)
	dst = slices.Grow(dst, length)[:start+length]
	b := dst[start:]
	binary.LittleEndian.PutUint32(b[0:], TypePacket)
	binary.LittleEndian.PutUint32(b[4:], uint32(length))
	binary.LittleEndian.PutUint32(b[8:], ifID)
	Packet(b).SetTimeNS(tsNS)
	binary.LittleEndian.PutUint32(b[20:], capLen)
	binary.LittleEndian.PutUint32(b[24:], max(wireLen, capLen))
	end := epbHeaderLen + padded(int(capLen))
	clear(b[epbHeaderLen+capLen : end])
	if flags != 0 {
		binary.LittleEndian.PutUint16(b[end:], epbFlags)
		binary.LittleEndian.PutUint16(b[end+2:], 4)
		binary.LittleEndian.PutUint32(b[end+4:], flags)
		binary.LittleEndian.PutUint32(b[end+8:], 0)
	}
	binary.LittleEndian.PutUint32(b[length-4:], uint32(length))
	return dst, b[epbHeaderLen : epbHeaderLen+capLen : epbHeaderLen+capLen]
}

// EPBLen returns the length of the block that AppendEPB makes of capLen bytes.
func EPBLen(capLen, flags uint32) int {
	n := epbMinLen + padded(int(capLen))
	if flags != 0 {
		n += epbFlagsLen
	}
	return n
}

// A Packet is one whole Enhanced Packet Block. It comes from NextPacket, which
// has checked it, so its methods cannot fail.
type Packet []byte

// NextPacket splits the first Enhanced Packet Block off b. Both results alias b.
// It is an error when b begins with anything else, with a block that is damaged,
// or with one whose options this package does not know and so cannot check.
func NextPacket(b []byte) (p Packet, rest []byte, err error) {
	if len(b) < epbMinLen {
		return nil, nil, fmt.Errorf("%d bytes are no packet block", len(b))
	}
	if t := binary.LittleEndian.Uint32(b); t != TypePacket {
		return nil, nil, fmt.Errorf("block of type %#x is no packet block", t)
	}
	length := binary.LittleEndian.Uint32(b[4:])
	if length < epbMinLen || length > maxEPBLen || length%4 != 0 || int(length) > len(b) {
		return nil, nil, fmt.Errorf("packet block of %d bytes in %d", length, len(b))
	}
	p, rest = Packet(b[:length:length]), b[length:]
	if again := binary.LittleEndian.Uint32(p[length-4:]); again != length {
		return nil, nil, fmt.Errorf("packet block begins with length %d and ends with %d", length, again)
	}
	if err := p.check(); err != nil {
		return nil, nil, err
	}
	return p, rest, nil
}

// check looks at what lies between the two lengths.
func (p Packet) check() error {
	capLen, wireLen := p.CapLen(), p.WireLen()
	switch {
	case capLen > MaxPacketLen || padded(int(capLen)) > len(p)-epbMinLen:
		return fmt.Errorf("packet of %d bytes does not fit into its block of %d", capLen, len(p))
	case capLen > wireLen:
		return fmt.Errorf("packet of %d bytes with %d captured", wireLen, capLen)
	case p[15]&0x80 != 0: // the high half's top bit
		return errors.New("packet's timestamp is out of range")
	}
	options := p.options()
	if len(options) == epbFlagsLen && binary.LittleEndian.Uint32(options) == 4<<16|uint32(epbFlags) &&
		binary.LittleEndian.Uint32(options[8:]) == 0 {
		return nil // what AppendEPB writes
	}
	return walkOptions(options, func(o Option) error {
		switch {
		case o.Code == OptComment, o.Code == epbFlags && len(o.Value) == 4, o.Code == epbDropCount && len(o.Value) == 8:
			return nil
		}
		return fmt.Errorf("packet option %d of %d bytes is not known", o.Code, len(o.Value))
	})
}

// Interface returns the interface ID.
func (p Packet) Interface() uint32 { return binary.LittleEndian.Uint32(p[8:]) }

// SetInterface changes the interface ID in place.
func (p Packet) SetInterface(id uint32) { binary.LittleEndian.PutUint32(p[8:], id) }

// TimeNS returns the timestamp, ns since 1970, never negative.
func (p Packet) TimeNS() int64 {
	return int64(binary.LittleEndian.Uint32(p[12:]))<<32 | int64(binary.LittleEndian.Uint32(p[16:]))
}

// SetTimeNS changes the timestamp in place; a time before 1970 becomes 1970.
func (p Packet) SetTimeNS(tsNS int64) {
	t := uint64(max(tsNS, 0))
	binary.LittleEndian.PutUint32(p[12:], uint32(t>>32))
	binary.LittleEndian.PutUint32(p[16:], uint32(t))
}

// CapLen returns the number of captured bytes, at most MaxPacketLen.
func (p Packet) CapLen() uint32 { return binary.LittleEndian.Uint32(p[20:]) }

// WireLen returns the number of bytes that the packet had on the wire.
func (p Packet) WireLen() uint32 { return binary.LittleEndian.Uint32(p[24:]) }

// Data returns the captured bytes, which alias p.
func (p Packet) Data() []byte {
	end := epbHeaderLen + p.CapLen()
	return p[epbHeaderLen:end:end]
}

// Flags returns the flags word, 0 when there is none.
func (p Packet) Flags() (flags uint32) {
	_ = walkOptions(p.options(), func(o Option) error { // checked by NextPacket
		if o.Code == epbFlags {
			flags = binary.LittleEndian.Uint32(o.Value)
		}
		return nil
	})
	return flags
}

// AppendCommented appends p with one more option, a comment.
func (p Packet) AppendCommented(dst []byte, comment string) []byte {
	start, options := len(dst), p.options()
	dst = append(dst, p[:len(p)-4-len(options)]...)
	dst = appendText(dst, OptComment, comment)
	if len(options) == 0 && comment != "" {
		options = []byte{0, 0, 0, 0}
	}
	dst = append(dst, options...)
	return endBlock(dst, start)
}

// AppendCut appends p with only the first capLen bytes of its data, or all when
// there are fewer. dst may end where p begins, or before that in the same memory:
// then p is cut in place.
func (p Packet) AppendCut(dst []byte, capLen uint32) []byte {
	capLen = min(capLen, p.CapLen())
	start, options := len(dst), p.options()
	// Each step writes before what the next one reads.
	dst = append(dst, p[:epbHeaderLen+capLen]...)
	binary.LittleEndian.PutUint32(dst[start+20:], capLen)
	dst = appendPadding(dst, int(capLen))
	dst = append(dst, options...)
	return endBlock(dst, start)
}

func (p Packet) options() []byte {
	return p[epbHeaderLen+padded(int(p.CapLen())) : len(p)-4]
}
