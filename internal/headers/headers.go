// Package headers tells a packet's headers from its payload, so that a capture
// can leave the payload on the node.
//
// It knows the headers of Ethernet with VLAN tags (IEEE 802.1Q), MPLS (RFC 3032),
// ARP (RFC 826), IPv4 (RFC 791), IPv6 and its extension headers (RFC 8200), IP in
// IP (RFC 2003, RFC 4213), AH (RFC 4302), TCP (RFC 9293), UDP (RFC 768), UDP-Lite
// (RFC 3828), SCTP (RFC 9260), ICMP (RFC 792) and ICMPv6 (RFC 4443). What is not
// known is payload; nothing is guessed from port numbers.
package headers

import (
	"encoding/binary"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// Lengths of headers that have no options, in bytes.
const (
	ethernetLen  = 14
	vlanLen      = 4
	mplsLen      = 4
	arpLen       = 8 // before the addresses
	ipv4Len      = 20
	ipv6Len      = 40
	extensionLen = 8 // the least
	tcpLen       = 20
	udpLen       = 8
	icmpLen      = 8
	sctpLen      = 12
)

// EtherTypes (IEEE 802 numbers, as listed by IANA).
const (
	etherIPv4  = 0x0800
	etherARP   = 0x0806
	etherVLAN  = 0x8100
	etherIPv6  = 0x86dd
	etherMPLS  = 0x8847
	etherMPLSM = 0x8848 // multicast
	etherQinQ  = 0x88a8
	etherQinQ9 = 0x9100 // before 802.1ad
)

// Protocol numbers (IANA), also of IPv6's extension headers.
const (
	protoHopByHop    = 0
	protoICMP        = 1
	protoIPv4        = 4
	protoTCP         = 6
	protoUDP         = 17
	protoIPv6        = 41
	protoRouting     = 43
	protoFragment    = 44
	protoAH          = 51
	protoICMPv6      = 58
	protoDestination = 60
	protoSCTP        = 132
	protoMobility    = 135
	protoUDPLite     = 136
)

// Length returns how many bytes of packet, of a link type as in wire.Interface,
// are headers: 0..len(packet). A header that is cut or that contradicts itself is
// headers up to the end of the one before it, except that the end of packet may
// cut the last one. A fragment behind the first has no header but those of IP.
func Length(linkType uint16, packet []byte) int {
	w := walker{packet: packet}
	switch linkType {
	case wire.LinkTypeEthernet:
		w.ethernet()
	case wire.LinkTypeRaw:
		w.ip()
	}
	return w.end
}

// A walker goes from header to header.
type walker struct {
	packet []byte // up to where IP says that it ends
	end    int    // of the headers so far
}

// rest is what lies behind the headers so far.
func (w *walker) rest() []byte { return w.packet[w.end:] }

// pass takes n more bytes as a header and says whether they are all there.
func (w *walker) pass(n int) bool {
	whole := n <= len(w.rest())
	w.end = min(w.end+n, len(w.packet))
	return whole
}

func (w *walker) ethernet() {
	if !w.pass(ethernetLen) {
		return
	}
	for {
		switch binary.BigEndian.Uint16(w.packet[w.end-2:]) {
		case etherVLAN, etherQinQ, etherQinQ9:
			if !w.pass(vlanLen) {
				return
			}
			continue
		case etherIPv4:
			w.ipv4()
		case etherIPv6:
			w.ipv6()
		case etherMPLS, etherMPLSM:
			w.mpls()
		case etherARP:
			w.arp()
		}
		return
	}
}

// mpls passes the labels. What they carry is known only if it looks like IP.
func (w *walker) mpls() {
	for w.pass(mplsLen) {
		if bottom := w.packet[w.end-2]&1 != 0; bottom {
			w.ip()
			return
		}
	}
}

func (w *walker) arp() {
	if b := w.rest(); len(b) >= arpLen {
		w.pass(arpLen + 2*(int(b[4])+int(b[5])))
		return
	}
	w.pass(arpLen)
}

// ip passes a packet of either version.
func (w *walker) ip() {
	b := w.rest()
	if len(b) == 0 {
		return
	}
	switch b[0] >> 4 {
	case 4:
		w.ipv4()
	case 6:
		w.ipv6()
	}
}

// limit ends the packet n bytes behind the headers so far: what follows is
// padding of the link. 0 means that IP does not say, as in a packet that is longer
// than its length field can tell (RFC 2675, and the segments that Linux offloads).
func (w *walker) limit(n int) {
	if n > 0 && n < len(w.rest()) {
		w.packet = w.packet[:w.end+n]
	}
}

func (w *walker) ipv4() {
	b := w.rest()
	if len(b) < ipv4Len {
		w.pass(ipv4Len)
		return
	}
	length, total := int(b[0]&0x0f)*4, int(binary.BigEndian.Uint16(b[2:]))
	if b[0]>>4 != 4 || length < ipv4Len || total != 0 && total < length {
		return
	}
	w.limit(total)
	laterFragment := binary.BigEndian.Uint16(b[6:])&0x1fff != 0
	if w.pass(length) && !laterFragment {
		w.protocol(b[9])
	}
}

func (w *walker) ipv6() {
	b := w.rest()
	if len(b) < ipv6Len {
		w.pass(ipv6Len)
		return
	}
	if b[0]>>4 != 6 {
		return
	}
	w.pass(ipv6Len)
	w.limit(int(binary.BigEndian.Uint16(b[4:])))
	w.protocol(b[6])
}

// protocol passes what IP carries. Each step passes at least one byte, so it
// ends.
func (w *walker) protocol(number byte) {
	for {
		b := w.rest()
		if len(b) == 0 {
			return
		}
		length := extensionLen
		switch number {
		case protoHopByHop, protoRouting, protoDestination, protoMobility:
			if len(b) >= extensionLen {
				length = (int(b[1]) + 1) * 8
			}
		case protoAH:
			if len(b) >= extensionLen {
				length = (int(b[1]) + 2) * 4
			}
		case protoFragment:
			if len(b) >= extensionLen && binary.BigEndian.Uint16(b[2:])&0xfff8 != 0 {
				w.pass(extensionLen)
				return
			}
		default:
			w.last(number)
			return
		}
		if !w.pass(length) {
			return
		}
		number = b[0]
	}
}

// last passes the header behind which no other protocol number is.
func (w *walker) last(number byte) {
	switch number {
	case protoTCP:
		w.tcp()
	case protoUDP, protoUDPLite:
		w.pass(udpLen)
	case protoICMP, protoICMPv6:
		w.pass(icmpLen)
	case protoSCTP:
		w.pass(sctpLen)
	case protoIPv4:
		w.ipv4()
	case protoIPv6:
		w.ipv6()
	}
}

func (w *walker) tcp() {
	b := w.rest()
	if len(b) < tcpLen {
		w.pass(tcpLen)
		return
	}
	if length := int(b[12]>>4) * 4; length >= tcpLen {
		w.pass(length)
	}
}
