package pcapng

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
)

// Interface returns an Interface Description Block's content. Its packets'
// timestamps must be in ns; options that Interface does not have are left out.
func (b Block) Interface() (Interface, error) {
	if b.Type() != TypeInterface || len(b.Body()) < 8 {
		return Interface{}, fmt.Errorf("block of type %#x and %d bytes is no interface", b.Type(), len(b))
	}
	i := Interface{LinkType: binary.LittleEndian.Uint16(b.Body()), SnapLen: binary.LittleEndian.Uint32(b.Body()[4:])}
	resolution := byte(6) // the format's default, 10^-6 s
	err := walkOptions(b.Body()[8:], func(o Option) error {
		switch {
		case o.Code == OptComment:
			i.Comments = append(i.Comments, string(o.Value))
		case o.Code == ifName:
			i.Name = string(o.Value)
		case o.Code == ifDescription:
			i.Description = string(o.Value)
		case o.Code == ifOS:
			i.OS = string(o.Value)
		case o.Code == ifFilter && len(o.Value) > 0 && o.Value[0] == 0:
			i.Filter = string(o.Value[1:])
		case o.Code == ifMACAddr && len(o.Value) == 6:
			i.MAC = net.HardwareAddr(bytes.Clone(o.Value))
		case o.Code == ifSpeed && len(o.Value) == 8:
			i.SpeedBPS = binary.LittleEndian.Uint64(o.Value)
		case o.Code == ifTSResol && len(o.Value) == 1:
			resolution = o.Value[0]
		}
		return nil
	})
	if err == nil && resolution != 9 {
		err = fmt.Errorf("interface %q has timestamps of resolution %#x, not ns", i.Name, resolution)
	}
	return i, err
}

// Names returns a Name Resolution Block's content.
func (b Block) Names() ([]Name, error) {
	if b.Type() != TypeNames {
		return nil, fmt.Errorf("block of type %#x has no names", b.Type())
	}
	var names []Name
	for rest := b.Body(); len(rest) >= 4; {
		record, length := binary.LittleEndian.Uint16(rest), int(binary.LittleEndian.Uint16(rest[2:]))
		if record == nrbEnd {
			return names, nil
		}
		if padded(length) > len(rest)-4 {
			return nil, fmt.Errorf("name record of %d bytes does not fit into %d", length, len(rest)-4)
		}
		size, value := 4, rest[4:4+length]
		if record == nrbIPv6 {
			size = 16
		}
		if (record == nrbIPv4 || record == nrbIPv6) && length > size {
			addr, _ := netip.AddrFromSlice(value[:size])
			for text := range bytes.SplitSeq(bytes.TrimRight(value[size:], "\x00"), []byte{0}) {
				names = append(names, Name{Addr: addr, Name: string(text)})
			}
		}
		rest = rest[4+padded(length):]
	}
	return names, nil
}

// A PcapReader reads a pcap file as AppendPcapHeader and AppendPcapRecord write
// it. It is not safe for concurrent use.
type PcapReader struct {
	LinkType uint16
	SnapLen  uint32

	r     io.Reader
	block []byte
	data  []byte
}

// NewPcapReader returns a PcapReader on r, which the caller keeps and closes. It
// reads the file's header. Give it a buffered r.
func NewPcapReader(r io.Reader) (*PcapReader, error) {
	var header [24]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return nil, fmt.Errorf("pcap header: %w", err)
	}
	if magic := binary.LittleEndian.Uint32(header[:]); magic != pcapMagicNS {
		return nil, fmt.Errorf("file begins with %x, not with a pcap header with timestamps in ns", header[:4])
	}
	return &PcapReader{r: r, LinkType: binary.LittleEndian.Uint16(header[20:]), SnapLen: binary.LittleEndian.Uint32(header[16:])}, nil
}

// Next returns the next packet, on interface 0, which is valid until the
// following call. At the end of the file the error is io.EOF, and
// io.ErrUnexpectedEOF when it ends within a packet.
func (r *PcapReader) Next() (Packet, error) {
	var header [16]byte
	if _, err := io.ReadFull(r.r, header[:]); err != nil {
		return nil, err
	}
	capLen, wireLen := binary.LittleEndian.Uint32(header[8:]), binary.LittleEndian.Uint32(header[12:])
	if capLen > MaxPacketLen || capLen > wireLen {
		return nil, fmt.Errorf("packet of %d bytes with %d captured", wireLen, capLen)
	}
	if int(capLen) > cap(r.data) {
		r.data = make([]byte, capLen)
	}
	r.data = r.data[:capLen]
	if _, err := io.ReadFull(r.r, r.data); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	timeNS := int64(binary.LittleEndian.Uint32(header[:]))*1e9 + int64(binary.LittleEndian.Uint32(header[4:]))
	r.block = AppendEPB(r.block[:0], 0, timeNS, capLen, wireLen, 0, r.data)
	return Packet(r.block), nil
}
