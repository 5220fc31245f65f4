package pcapng

import "encoding/binary"

// Options of an Interface Statistics Block (section 4.6).
const (
	isbStartTime uint16 = 2
	isbEndTime   uint16 = 3
)

// Counters of an Interface Statistics Block (section 4.6).
const (
	IfRecv       uint16 = 4 // isb_ifrecv: packets received from the interface
	IfDrop       uint16 = 5 // isb_ifdrop: packets lost for want of resources
	FilterAccept uint16 = 6 // isb_filteraccept: packets that the filter let through
	OSDrop       uint16 = 7 // isb_osdrop: packets dropped by the operating system
	UsrDeliv     uint16 = 8 // isb_usrdeliv: packets delivered to the file
)

// A Count is the value of one counter since the capture began.
type Count struct {
	Counter uint16 // IfRecv .. UsrDeliv
	N       uint64
}

// Statistics is an Interface Statistics Block.
type Statistics struct {
	Interface uint32  // its number in the section
	TimeNS    int64   // when the counts were taken
	StartNS   int64   // when the capture began; 0: left out
	EndNS     int64   // when the capture ended; 0: left out
	Counts    []Count // what is not known is not in it
	Comments  []string
}

// Append appends s as a block.
func (s Statistics) Append(dst []byte) []byte {
	start := len(dst)
	dst = beginBlock(dst, TypeStatistics)
	dst = binary.LittleEndian.AppendUint32(dst, s.Interface)
	dst = appendTime(dst, s.TimeNS)
	options := len(dst)
	dst = appendComments(dst, s.Comments)
	if s.StartNS != 0 {
		dst = appendTimeOption(dst, isbStartTime, s.StartNS)
	}
	if s.EndNS != 0 {
		dst = appendTimeOption(dst, isbEndTime, s.EndNS)
	}
	for _, c := range s.Counts {
		dst = appendUint64(dst, c.Counter, c.N)
	}
	dst = appendEnd(dst, options)
	return endBlock(dst, start)
}
