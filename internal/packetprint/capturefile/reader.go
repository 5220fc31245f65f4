// Package capturefile reads the packets of capture files that anybody has
// written: pcapng (draft-ietf-opsawg-pcapng; the sections named here are that
// document's) of either byte order and with times of any unit, and pcap
// (draft-ietf-opsawg-pcap). Package pcapng reads only what this project writes,
// and is strict.
//
// Files are untrusted: a length is checked before memory is taken for it.
package capturefile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"
)

// Bounds of what is believed.
const (
	maxPacketLen  = 256 << 10 // that of Wireshark and libpcap
	maxBlockLen   = 16 << 20
	maxInterfaces = 1 << 16 // of one section
)

// A Section begins a file, or another one in the same file: interfaces are
// numbered from 0 again.
type Section struct {
	Application string
	Comments    []string
}

// An Interface is where packets come from.
type Interface struct {
	ID          int // in the section
	Name        string
	Description string
	LinkType    uint16 // https://www.tcpdump.org/linktypes.html
	SnapLen     uint32 // 0: all
}

// A Name gives an address a name.
type Name struct {
	Addr netip.Addr
	Name string
}

// Names are names of addresses, for the packets that follow.
type Names []Name

// A Packet is one captured packet.
type Packet struct {
	Interface int
	Time      time.Time // zero for a block that has none
	WireLen   int
	Inbound   bool
	Outbound  bool
	Data      []byte // until the next block is read
}

// An Item is what a file consists of: a *Section, *Interface, Names or *Packet.
// Texts are as the file has them.
type Item any

// A Reader reads one file. It is not safe for concurrent use.
type Reader struct {
	next func() (Item, error)
}

// ErrFormat is the error of a file that begins like none of a format that is read.
var ErrFormat = errors.New("neither pcapng nor pcap")

// Magic numbers of pcap files (draft-ietf-opsawg-pcap, section 4).
const (
	magicUS uint32 = 0xA1B2C3D4
	magicNS uint32 = 0xA1B23C4D
)

// NewReader returns a Reader on r, which the caller keeps and closes. Give it a
// buffered r: it reads what it needs and no more.
func NewReader(r io.Reader) (*Reader, error) {
	var magic [4]byte
	if _, err := io.ReadFull(r, magic[:]); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("%w: too short", ErrFormat)
	} else if err != nil {
		return nil, err
	}
	if binary.LittleEndian.Uint32(magic[:]) == typeSection {
		n := &ngReader{r: r, begun: magic[:]}
		return &Reader{n.next}, nil
	}
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		switch m := order.Uint32(magic[:]); m {
		case magicUS, magicNS:
			p := &pcapReader{r: r, order: order, unit: time.Microsecond}
			if m == magicNS {
				p.unit = time.Nanosecond
			}
			return &Reader{p.next}, nil
		}
	}
	return nil, fmt.Errorf("%w: begins with %x", ErrFormat, magic)
}

// Next returns the next item. At the end of the file the error is io.EOF, and
// io.ErrUnexpectedEOF when it ends within a block.
func (r *Reader) Next() (Item, error) { return r.next() }

// readFull is io.ReadFull for what must be there.
func readFull(r io.Reader, b []byte) error {
	_, err := io.ReadFull(r, b)
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
