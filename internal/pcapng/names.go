package pcapng

import (
	"encoding/binary"
	"net/netip"
	"strings"
)

// Records of a Name Resolution Block (section 4.5).
const (
	nrbEnd  uint16 = 0
	nrbIPv4 uint16 = 1
	nrbIPv6 uint16 = 2
)

const (
	// maxNameLen is what a record keeps of a name: Wireshark's own limit.
	maxNameLen = 255
	// maxNamesLen is where one Name Resolution Block ends and the next begins,
	// far below the longest block that readers accept.
	maxNamesLen = 64 << 10
)

// A Name gives an address a name.
type Name struct {
	Addr netip.Addr
	Name string
}

// AppendNames appends names as Name Resolution Blocks, none for no names. A name
// that is empty or whose address is not valid is left out.
func AppendNames(dst []byte, names []Name) []byte {
	start := -1
	for _, n := range names {
		name := strings.ReplaceAll(cleanText(n.Name, maxNameLen), "\n", " ")
		addr := n.Addr.Unmap().WithZone("")
		if name == "" || !addr.IsValid() {
			continue
		}
		if start < 0 {
			start = len(dst)
			dst = beginBlock(dst, TypeNames)
		}
		dst = appendName(dst, addr, name)
		if len(dst)-start > maxNamesLen {
			dst = endNames(dst, start)
			start = -1
		}
	}
	if start >= 0 {
		dst = endNames(dst, start)
	}
	return dst
}

func appendName(dst []byte, addr netip.Addr, name string) []byte {
	record, value := nrbIPv4, addr.AsSlice()
	if addr.Is6() {
		record = nrbIPv6
	}
	length := len(value) + len(name) + 1
	dst = binary.LittleEndian.AppendUint16(dst, record)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(length))
	dst = append(dst, value...)
	dst = append(dst, name...)
	dst = append(dst, 0)
	return appendPadding(dst, length)
}

func endNames(dst []byte, start int) []byte {
	dst = binary.LittleEndian.AppendUint16(dst, nrbEnd)
	dst = binary.LittleEndian.AppendUint16(dst, 0)
	return endBlock(dst, start)
}
