package pcapng

import (
	"encoding/binary"
	"net"
)

const (
	byteOrderMagic uint32 = 0x1A2B3C4D // section 4.1
	versionMajor   uint16 = 1
	versionMinor   uint16 = 0
)

// Options of a Section Header Block (section 4.1).
const (
	shbHardware uint16 = 2
	shbOS       uint16 = 3
	shbUserAppl uint16 = 4
)

// A Section is a Section Header Block. Empty fields are left out.
type Section struct {
	Hardware    string // machine that made the section
	OS          string // operating system of that machine
	Application string // program that made the section
	Comments    []string
}

// Append appends s as a block. The section's length is left open, as of a stream.
func (s Section) Append(dst []byte) []byte {
	start := len(dst)
	dst = beginBlock(dst, TypeSection)
	dst = binary.LittleEndian.AppendUint32(dst, byteOrderMagic)
	dst = binary.LittleEndian.AppendUint16(dst, versionMajor)
	dst = binary.LittleEndian.AppendUint16(dst, versionMinor)
	dst = binary.LittleEndian.AppendUint64(dst, 1<<64-1)
	options := len(dst)
	dst = appendComments(dst, s.Comments)
	dst = appendText(dst, shbHardware, s.Hardware)
	dst = appendText(dst, shbOS, s.OS)
	dst = appendText(dst, shbUserAppl, s.Application)
	dst = appendEnd(dst, options)
	return endBlock(dst, start)
}

// Options of an Interface Description Block (section 4.2).
const (
	ifName        uint16 = 2
	ifDescription uint16 = 3
	ifMACAddr     uint16 = 6
	ifSpeed       uint16 = 8
	ifTSResol     uint16 = 9
	ifFilter      uint16 = 11
	ifOS          uint16 = 12
)

// An Interface is an Interface Description Block. Empty fields are left out.
type Interface struct {
	Name        string
	Description string
	OS          string           // operating system of the interface's machine
	MAC         net.HardwareAddr // left out unless 6 bytes long
	SpeedBPS    uint64           // bits per second
	LinkType    uint16           // https://www.tcpdump.org/linktypes.html
	SnapLen     uint32           // bytes kept of each packet, 0: all
	Filter      string           // expression of pcap-filter(7) that its packets match
	Comments    []string
}

// Append appends i as a block. Interfaces are numbered from 0 in the order in
// which a section has them; timestamps of their packets are in ns.
func (i Interface) Append(dst []byte) []byte {
	start := len(dst)
	dst = beginBlock(dst, TypeInterface)
	dst = binary.LittleEndian.AppendUint16(dst, i.LinkType)
	dst = append(dst, 0, 0)
	dst = binary.LittleEndian.AppendUint32(dst, i.SnapLen)
	options := len(dst)
	dst = appendComments(dst, i.Comments)
	dst = appendText(dst, ifName, i.Name)
	dst = appendText(dst, ifDescription, i.Description)
	if len(i.MAC) == 6 {
		dst = appendOption(dst, ifMACAddr, i.MAC)
	}
	if i.SpeedBPS != 0 {
		dst = appendUint64(dst, ifSpeed, i.SpeedBPS)
	}
	dst = appendOption(dst, ifTSResol, []byte{9}) // 10^-9 s
	if i.Filter != "" {                           // 0: the filter is text
		dst = appendOption(dst, ifFilter, append([]byte{0}, cleanText(i.Filter, maxOptionLen-1)...))
	}
	dst = appendText(dst, ifOS, i.OS)
	dst = appendEnd(dst, options)
	return endBlock(dst, start)
}
