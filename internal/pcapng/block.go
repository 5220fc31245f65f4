// Package pcapng writes and reads the blocks of the pcapng capture file format
// (draft-ietf-opsawg-pcapng; the sections named here are that document's), and
// writes the older pcap format.
//
// Everything is little-endian, and timestamps are nanoseconds since 1970 UTC.
// Encoders append to a slice and allocate only when it must grow. What is read
// is untrusted: a length is checked before it is used.
package pcapng

import (
	"encoding/binary"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Block types (section 10.1).
const (
	TypeSection    uint32 = 0x0A0D0D0A // section 4.1
	TypeInterface  uint32 = 1          // section 4.2
	TypeNames      uint32 = 4          // section 4.5
	TypeStatistics uint32 = 5          // section 4.6
	TypePacket     uint32 = 6          // section 4.3, Enhanced Packet Block
)

// Options that any block may have (section 3.5).
const (
	optEnd     uint16 = 0
	OptComment uint16 = 1 // opt_comment, in UTF-8
)

// blockOverhead is the length of a block without a body: type, length, length.
const blockOverhead = 12

// maxOptionLen bounds an option's value: its length is 16 bits and a multiple
// of 4 when padded.
const maxOptionLen = 1<<16 - 4

// An Option is one option of a block: its code and value, without padding.
type Option struct {
	Code  uint16
	Value []byte
}

func padded(n int) int { return (n + 3) &^ 3 }

// beginBlock appends a block's type and a place for its length.
func beginBlock(dst []byte, blockType uint32) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, blockType)
	return append(dst, 0, 0, 0, 0)
}

// endBlock fills in both lengths of the block that began at start.
func endBlock(dst []byte, start int) []byte {
	length := uint32(len(dst) - start + 4)
	binary.LittleEndian.PutUint32(dst[start+4:], length)
	return binary.LittleEndian.AppendUint32(dst, length)
}

// appendOption appends one option (section 3.5).
func appendOption(dst []byte, code uint16, value []byte) []byte {
	dst = binary.LittleEndian.AppendUint16(dst, code)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(value)))
	dst = append(dst, value...)
	return appendPadding(dst, len(value))
}

func appendPadding(dst []byte, n int) []byte {
	for ; n%4 != 0; n++ {
		dst = append(dst, 0)
	}
	return dst
}

// appendText appends a string option, or nothing for an empty string.
func appendText(dst []byte, code uint16, text string) []byte {
	if text == "" {
		return dst
	}
	return appendOption(dst, code, []byte(cleanText(text, maxOptionLen)))
}

func appendComments(dst []byte, comments []string) []byte {
	for _, comment := range comments {
		dst = appendText(dst, OptComment, comment)
	}
	return dst
}

func appendUint64(dst []byte, code uint16, n uint64) []byte {
	dst = binary.LittleEndian.AppendUint16(dst, code)
	dst = binary.LittleEndian.AppendUint16(dst, 8)
	return binary.LittleEndian.AppendUint64(dst, n)
}

// appendTimeOption appends a timestamp option, whose halves are in the order of
// a packet's timestamp and not in that of an integer.
func appendTimeOption(dst []byte, code uint16, timeNS int64) []byte {
	dst = binary.LittleEndian.AppendUint16(dst, code)
	dst = binary.LittleEndian.AppendUint16(dst, 8)
	return appendTime(dst, timeNS)
}

func appendTime(dst []byte, timeNS int64) []byte {
	t := uint64(max(timeNS, 0))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(t>>32))
	return binary.LittleEndian.AppendUint32(dst, uint32(t))
}

// appendEnd ends a list of options that began at start; a block without options
// has no end of them either.
func appendEnd(dst []byte, start int) []byte {
	if len(dst) == start {
		return dst
	}
	return append(dst, 0, 0, 0, 0)
}

// cleanText returns text as UTF-8 (section 3.6.3) of at most limit bytes. Control
// characters are replaced, because readers print these strings to terminals and
// some of them come from the nodes.
func cleanText(text string, limit int) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return unicode.ReplacementChar
		}
		return r
	}, text)
	if len(text) <= limit {
		return text
	}
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit]
}

// walkOptions calls visit for each option in b until it returns an error.
func walkOptions(b []byte, visit func(Option) error) error {
	for len(b) >= 4 {
		code, length := binary.LittleEndian.Uint16(b), int(binary.LittleEndian.Uint16(b[2:]))
		if code == optEnd {
			if length != 0 || len(b) != 4 {
				return fmt.Errorf("end of options is followed by %d bytes", len(b)-4)
			}
			return nil
		}
		if padded(length) > len(b)-4 {
			return fmt.Errorf("option %d of %d bytes does not fit into %d", code, length, len(b)-4)
		}
		if err := visit(Option{Code: code, Value: b[4 : 4+length]}); err != nil {
			return err
		}
		b = b[4+padded(length):]
	}
	if len(b) != 0 {
		return fmt.Errorf("%d bytes are left after the options", len(b))
	}
	return nil
}
