package pcapng

import (
	"encoding/binary"
	"math"
)

// pcapMagicNS begins a pcap file with ns timestamps
// (draft-ietf-opsawg-pcap, section 4).
const pcapMagicNS uint32 = 0xA1B23C4D

// AppendPcapHeader appends the header of a pcap file with timestamps in ns
// (draft-ietf-opsawg-pcap, section 4). All packets of the file have linkType.
func AppendPcapHeader(dst []byte, linkType uint16, snapLen uint32) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, pcapMagicNS)
	dst = binary.LittleEndian.AppendUint16(dst, 2)
	dst = binary.LittleEndian.AppendUint16(dst, 4)
	dst = append(dst, 0, 0, 0, 0, 0, 0, 0, 0)
	dst = binary.LittleEndian.AppendUint32(dst, snapLen)
	return binary.LittleEndian.AppendUint32(dst, uint32(linkType))
}

// AppendPcapRecord appends p as a packet record of a pcap file
// (draft-ietf-opsawg-pcap, section 5). Its time ends in the year 2106.
func AppendPcapRecord(dst []byte, p Packet) []byte {
	seconds, ns := uint64(p.TimeNS())/1e9, uint64(p.TimeNS())%1e9
	dst = binary.LittleEndian.AppendUint32(dst, uint32(min(seconds, math.MaxUint32)))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(ns))
	dst = binary.LittleEndian.AppendUint32(dst, p.CapLen())
	dst = binary.LittleEndian.AppendUint32(dst, p.WireLen())
	return append(dst, p.Data()...)
}
