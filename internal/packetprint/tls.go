package packetprint

import (
	"encoding/binary"
	"fmt"
)

const (
	tlsRecordLen    = 5
	tlsHandshakeLen = 4
	tlsRandomLen    = 32
	maxTLSRecord    = 1<<14 + 2048 // RFC 5246, section 6.2.3
	maxALPN         = 8            // that are told
)

// Kinds of TLS records (RFC 8446, section 5.1).
const (
	tlsChange    = 20
	tlsAlert     = 21
	tlsHandshake = 22
	tlsData      = 23
)

// Extensions of a hello (RFC 8446, section 4.2).
const (
	tlsServerName = 0
	tlsALPN       = 16
	tlsVersions   = 43
)

// tls decodes the first record, if there seems to be one. gopacket's decoder does
// not look into handshakes. A hello that goes on in the next segment is told as far
// as it is there.
func (d *decoder) tls(c *Content, p part) {
	if len(p.b) < tlsRecordLen || p.b[0] < tlsChange || p.b[0] > tlsData || p.b[1] != 3 || p.b[2] > 4 {
		return
	}
	length := int(binary.BigEndian.Uint16(p.b[3:]))
	if length == 0 || length > maxTLSRecord {
		return
	}
	kind := p.b[0]
	b := p.skip(tlsRecordLen).limit(length).b
	t := &TLS{Message: "Handshake"}
	switch {
	case kind == tlsChange:
		t.Message = "ChangeCipherSpec"
	case kind == tlsAlert:
		t.Message = "Alert"
	case kind == tlsData:
		t.Message = "ApplicationData"
	case len(b) > tlsHandshakeLen && b[0] == 1 && b[1] == 0:
		t.Message = "ClientHello"
		t.hello(b[tlsHandshakeLen:], true)
	case len(b) > tlsHandshakeLen && b[0] == 2 && b[1] == 0:
		t.Message = "ServerHello"
		t.hello(b[tlsHandshakeLen:], false)
	}
	c.TLS = t
	text := t.Message
	if t.Version != "" {
		text += ", " + t.Version
	}
	if t.SNI != "" {
		text += ", SNI " + t.SNI
	}
	c.Info += ": TLS " + text
	if t.Version != "" && len(b) < length {
		c.say("[|tls]")
	}
	d.layer("TLS", "%s, record of %d bytes", text, length)
}

// hello reads a hello as far as it is there.
func (t *TLS) hello(b []byte, client bool) {
	r := octets(b)
	legacy, ok := r.take(2)
	if !ok {
		return
	}
	version := binary.BigEndian.Uint16(legacy)
	defer func() { t.Version = tlsVersion(version) }()
	if _, ok := r.take(tlsRandomLen); !ok {
		return
	}
	if _, ok := r.vector(1); !ok { // session ID
		return
	}
	if client {
		if _, ok := r.vector(2); !ok { // cipher suites
			return
		}
		if _, ok := r.vector(1); !ok { // compression methods
			return
		}
	} else if _, ok := r.take(3); !ok { // cipher suite, compression method
		return
	}
	extensions, _ := r.vector(2) // what there is of them
	for {
		typ, ok := extensions.take(2)
		if !ok {
			return
		}
		value, ok := extensions.vector(2)
		if !ok {
			return
		}
		switch binary.BigEndian.Uint16(typ) {
		case tlsServerName:
			t.serverName(value)
		case tlsALPN:
			t.alpn(value)
		case tlsVersions:
			if client {
				version = max(version, newest(value))
			} else if len(value) == 2 {
				version = binary.BigEndian.Uint16(value)
			}
		}
	}
}

// serverName reads the first name of a server (RFC 6066, section 3).
func (t *TLS) serverName(value octets) {
	list, _ := value.vector(2)
	if kind, ok := list.take(1); ok && kind[0] == 0 {
		if name, ok := list.vector(2); ok {
			t.SNI = clean(string(name), maxText)
		}
	}
}

func (t *TLS) alpn(value octets) {
	for list, _ := value.vector(2); len(t.ALPN) < maxALPN; {
		name, ok := list.vector(1)
		if !ok {
			return
		}
		t.ALPN = append(t.ALPN, clean(string(name), maxText))
	}
}

// newest is the highest version of a client's list, without those that are there to
// be ignored (RFC 8701).
func newest(value octets) (version uint16) {
	list, _ := value.vector(1)
	for {
		b, ok := list.take(2)
		if !ok {
			return version
		}
		if v := binary.BigEndian.Uint16(b); v>>8 == 3 {
			version = max(version, v)
		}
	}
}

func tlsVersion(version uint16) string {
	switch {
	case version == 0x300:
		return "SSL 3.0"
	case version>>8 == 3:
		return fmt.Sprintf("TLS 1.%d", version&0xff-1)
	}
	return fmt.Sprintf("version 0x%04x", version)
}

// octets are read from the front.
type octets []byte

// take returns the first n bytes, if they are there.
func (o *octets) take(n int) (octets, bool) {
	if n > len(*o) {
		return nil, false
	}
	taken := (*o)[:n]
	*o = (*o)[n:]
	return taken, true
}

// vector returns what a length of so many bytes says that there is, and whether
// it is all there: if not, then what there is of it.
func (o *octets) vector(size int) (octets, bool) {
	b, ok := o.take(size)
	if !ok {
		return nil, false
	}
	n := 0
	for _, c := range b {
		n = n<<8 | int(c)
	}
	if n > len(*o) {
		rest := *o
		*o = nil
		return rest, false
	}
	return o.take(n)
}
