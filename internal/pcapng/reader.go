package pcapng

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// MaxBlockLen is the longest block that a Reader accepts, in bytes.
const MaxBlockLen = 1 << 20

// A Block is one whole block, from its type to its second length.
type Block []byte

// Type returns the block's type.
func (b Block) Type() uint32 { return binary.LittleEndian.Uint32(b) }

// Body returns what lies between the block's two lengths.
func (b Block) Body() []byte { return b[8 : len(b)-4] }

// Packet returns the block as a packet, checked as by NextPacket.
func (b Block) Packet() (Packet, error) {
	p, _, err := NextPacket(b)
	return p, err
}

// Options returns the options of a section header, an interface, a packet or
// interface statistics, and none for other blocks. The values alias b.
func (b Block) Options() ([]Option, error) {
	skip := len(b.Body())
	switch b.Type() {
	case TypeSection:
		skip = 16
	case TypeInterface:
		skip = 8
	case TypeStatistics:
		skip = 12
	case TypePacket:
		p, err := b.Packet()
		if err != nil {
			return nil, err
		}
		skip = len(b.Body()) - len(p.options())
	}
	if skip > len(b.Body()) {
		return nil, fmt.Errorf("block of type %#x has %d bytes", b.Type(), len(b))
	}
	var options []Option
	err := walkOptions(b.Body()[skip:], func(o Option) error {
		options = append(options, o)
		return nil
	})
	return options, err
}

// A Reader reads the blocks of a file. It is not safe for concurrent use.
type Reader struct {
	r     io.Reader
	block []byte
	begun bool
}

// NewReader returns a Reader on r, which the caller keeps and closes. Reads are
// of a few bytes, then of a block: give it a buffered r.
func NewReader(r io.Reader) *Reader { return &Reader{r: r} }

// Next returns the next block, which is valid until the following call. At the
// end of the file the error is io.EOF, and io.ErrUnexpectedEOF when it ends
// within a block. The file must begin with a section header, and every section
// must be little-endian and of version 1.
func (r *Reader) Next() (Block, error) {
	var header [8]byte
	if _, err := io.ReadFull(r.r, header[:]); err != nil {
		return nil, err
	}
	blockType, length := binary.LittleEndian.Uint32(header[:]), binary.LittleEndian.Uint32(header[4:])
	if !r.begun && blockType != TypeSection {
		return nil, fmt.Errorf("file begins with %x, not with a pcapng section header", header[:4])
	}
	r.begun = true
	if length < blockOverhead || length > MaxBlockLen || length%4 != 0 {
		return nil, fmt.Errorf("block of type %#x is %d bytes long", blockType, length)
	}
	if int(length) > cap(r.block) {
		r.block = make([]byte, length)
	}
	r.block = r.block[:length]
	copy(r.block, header[:])
	if _, err := io.ReadFull(r.r, r.block[len(header):]); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	if again := binary.LittleEndian.Uint32(r.block[length-4:]); again != length {
		return nil, fmt.Errorf("block of type %#x begins with length %d and ends with %d", blockType, length, again)
	}
	if blockType == TypeSection {
		return r.block, checkSection(r.block)
	}
	return r.block, nil
}

func checkSection(b Block) error {
	body := b.Body()
	switch {
	case len(body) < 16:
		return fmt.Errorf("section header is %d bytes long", len(b))
	case binary.LittleEndian.Uint32(body) != byteOrderMagic:
		return fmt.Errorf("section's byte order %x is not little-endian", body[:4])
	case binary.LittleEndian.Uint16(body[4:]) != versionMajor:
		return fmt.Errorf("section is of pcapng version %d", binary.LittleEndian.Uint16(body[4:]))
	}
	return nil
}
