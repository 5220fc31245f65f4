package capturefile

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"
)

// pcapReader reads a pcap file after its magic number.
type pcapReader struct {
	r      io.Reader
	order  binary.ByteOrder
	unit   time.Duration
	begun  bool
	packet Packet
	memory []byte
}

func (p *pcapReader) next() (Item, error) {
	if !p.begun {
		return p.header()
	}
	var header [16]byte
	if _, err := io.ReadFull(p.r, header[:]); err != nil {
		return nil, err
	}
	capLen, wireLen := p.order.Uint32(header[8:]), p.order.Uint32(header[12:])
	if capLen > maxPacketLen {
		return nil, fmt.Errorf("packet of %d bytes with %d captured", wireLen, capLen)
	}
	p.memory = grown(p.memory, int(capLen))
	if err := readFull(p.r, p.memory); err != nil {
		return nil, err
	}
	p.packet = Packet{
		Time:    time.Unix(int64(p.order.Uint32(header[:])), int64(p.order.Uint32(header[4:]))*int64(p.unit)),
		WireLen: int(max(wireLen, capLen)), Data: p.memory,
	}
	return &p.packet, nil
}

// header reads the rest of the file's header, which describes the only interface.
func (p *pcapReader) header() (Item, error) {
	var header [20]byte
	if err := readFull(p.r, header[:]); err != nil {
		return nil, err
	}
	if major := p.order.Uint16(header[:]); major != 2 {
		return nil, fmt.Errorf("pcap of version %d", major)
	}
	p.begun = true
	// The upper half has flags.
	return &Interface{LinkType: uint16(p.order.Uint32(header[16:])), SnapLen: p.order.Uint32(header[12:])}, nil
}

// grown returns memory with a length of n, which is another one if it must be.
func grown(memory []byte, n int) []byte {
	if n > cap(memory) {
		return make([]byte, n)
	}
	return memory[:n]
}
