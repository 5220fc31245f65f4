//go:build linux

package dns

import (
	"encoding/binary"
	"strconv"
)

const (
	headerLen     = 12  // RFC 1035, section 4.1.1
	maxNameLen    = 255 // with the lengths of its labels
	recordTailLen = 10  // of a resource record, between its name and its data
	typeOPT       = 41  // RFC 6891
	opcodeQuery   = 0
	opcodeLast    = 6 // DSO; higher ones are not assigned
)

// message is what is read of a DNS message.
type message struct {
	id       uint16
	response bool
	opcode   uint8
	code     uint16 // of a response, with the upper bits of EDNS
	question bool   // there is one; a server that refuses may leave it out
	name     string // of the first question, as in wire.DNSSample
	typ      uint16
}

// parse reads a message. Of one that is cut the end may be missing; then an extended
// code is not found, and all else is. ok is false for what is no message.
func parse(b []byte) (m message, ok bool) {
	if len(b) < headerLen {
		return m, false
	}
	m.id = binary.BigEndian.Uint16(b)
	m.response = b[2]&0x80 != 0
	m.opcode = b[2] >> 3 & 15
	questions := binary.BigEndian.Uint16(b[4:])
	if m.opcode > opcodeLast || questions == 0 && !m.response {
		return m, false
	}
	if m.response {
		m.code = uint16(b[3] & 15)
	}
	if questions == 0 {
		m.code |= extendedCode(b, headerLen, records(b)) << 4
		return m, true
	}
	name, next, ok := appendName(nil, b, headerLen)
	if !ok || next+4 > len(b) {
		return m, false
	}
	m.question, m.name, m.typ = true, string(name), binary.BigEndian.Uint16(b[next:])
	if !m.response {
		return m, true
	}
	next += 4
	for range questions - 1 { // nobody asks two at once, but it is allowed
		if next, ok = skipName(b, next); !ok {
			return m, true
		}
		next += 4
	}
	m.code |= extendedCode(b, next, records(b)) << 4
	return m, true
}

// records is how many there are after the questions.
func records(b []byte) int {
	return int(binary.BigEndian.Uint16(b[6:])) + int(binary.BigEndian.Uint16(b[8:])) + int(binary.BigEndian.Uint16(b[10:]))
}

// extendedCode looks for the OPT record and returns the upper eight bits of the
// response's code, or 0.
func extendedCode(b []byte, at, records int) uint16 {
	for range records {
		next, ok := skipName(b, at)
		if !ok || next+recordTailLen > len(b) {
			return 0
		}
		if binary.BigEndian.Uint16(b[next:]) == typeOPT {
			return uint16(b[next+4])
		}
		at = next + recordTailLen + int(binary.BigEndian.Uint16(b[next+8:]))
	}
	return 0
}

// skipName returns where what follows a name begins.
func skipName(b []byte, at int) (next int, ok bool) {
	for at < len(b) {
		switch length := int(b[at]); {
		case length == 0:
			return at + 1, true
		case length >= 0xc0:
			return at + 2, at+2 <= len(b)
		case length >= 0x40:
			return 0, false
		default:
			at += 1 + length
		}
	}
	return 0, false
}

// appendName appends the name at an offset in the form of wire.DNSSample, and
// returns where what follows it begins. A pointer must lead back to before the part of
// the name that it is in, so this ends.
func appendName(to, b []byte, at int) (name []byte, next int, ok bool) {
	length, begin := 0, at
	for {
		if at >= len(b) {
			return nil, 0, false
		}
		label := int(b[at])
		length += 1 + label
		switch {
		case label == 0:
			if next == 0 {
				next = at + 1
			}
			if len(to) == 0 {
				return append(to, '.'), next, true
			}
			return to[:len(to)-1], next, true
		case label >= 0xc0:
			if at+2 > len(b) {
				return nil, 0, false
			}
			if next == 0 {
				next = at + 2
			}
			target := int(binary.BigEndian.Uint16(b[at:]) & 0x3fff)
			if target >= begin || target < headerLen {
				return nil, 0, false
			}
			length -= 1 + label
			at, begin = target, target
		case label >= 0x40 || at+1+label > len(b) || length >= maxNameLen:
			return nil, 0, false
		default:
			to = append(appendLabel(to, b[at+1:at+1+label]), '.')
			at += 1 + label
		}
	}
}

// appendLabel appends a label in lower case, escaped as RFC 4343, section 2.1 has it.
func appendLabel(to, label []byte) []byte {
	for _, c := range label {
		switch {
		case c == '.' || c == '\\':
			to = append(to, '\\', c)
		case c <= ' ' || c >= 0x7f:
			to = append(to, '\\', '0'+c/100, '0'+c/10%10, '0'+c%10)
		case 'A' <= c && c <= 'Z':
			to = append(to, c+'a'-'A')
		default:
			to = append(to, c)
		}
	}
	return to
}

// codeName is the name of a response code in the registry of IANA.
func codeName(code uint16) string {
	if int(code) < len(codes) && codes[code] != "" {
		return codes[code]
	}
	return "RCODE" + strconv.Itoa(int(code))
}

var codes = [...]string{
	"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET", "NOTAUTH", "NOTZONE", "DSOTYPENI",
	16: "BADVERS", 23: "BADCOOKIE",
}

// typeName is the name of a record type, and whether it has one.
func typeName(typ uint16) (string, bool) {
	if name, ok := types[typ]; ok {
		return name, true
	}
	return "TYPE" + strconv.Itoa(int(typ)), false
}

var types = map[uint16]string{
	1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 13: "HINFO", 15: "MX", 16: "TXT", 28: "AAAA", 29: "LOC", 33: "SRV", 35: "NAPTR",
	37: "CERT", 39: "DNAME", 43: "DS", 44: "SSHFP", 46: "RRSIG", 47: "NSEC", 48: "DNSKEY", 50: "NSEC3", 51: "NSEC3PARAM", 52: "TLSA",
	59: "CDS", 60: "CDNSKEY", 61: "OPENPGPKEY", 62: "CSYNC", 63: "ZONEMD", 64: "SVCB", 65: "HTTPS", 99: "SPF", 249: "TKEY", 250: "TSIG",
	251: "IXFR", 252: "AXFR", 255: "ANY", 256: "URI", 257: "CAA",
}
