package pcapfilter_test

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
)

// packet is bytes and how many there were on the wire.
type packet struct {
	data    []byte
	wireLen int
}

func concat(parts ...[]byte) []byte {
	var all []byte
	for _, part := range parts {
		all = append(all, part...)
	}
	return all
}

func be16(n int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(n)) }
func be32(n int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(n)) }

var (
	macs = [][]byte{
		{0x02, 0x42, 0xac, 0x11, 0x00, 0x02}, {0x02, 0x42, 0xac, 0x11, 0x00, 0x03}, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		{0x01, 0x00, 0x5e, 0x00, 0x00, 0x01}, {0x12, 0x34, 0x56, 0x78, 0x90, 0x12},
	}
	addresses4 = []string{"10.1.2.3", "10.1.2.4", "10.1.2.9", "10.2.2.3", "192.168.1.5", "172.16.0.1", "224.0.0.1", "255.255.255.255", "192.9.200.1", "127.0.0.1", "0.0.0.0", "10.0.2.9"}
	addresses6 = []string{"2001:db8::1", "2001:db8::2", "fe80::42:acff:fe11:2", "ff02::1", "::1", "2001:db8:1::1", "::ffff:10.1.2.3"}
	portPool   = []int{80, 443, 53, 22, 8080, 8443, 20, 21, 123, 67, 68, 6081, 4789, 500, 1024, 65535, 0, 6443, 7, 1500}
	protocols  = []int{6, 17, 132, 1, 58, 2, 50, 51, 47, 103, 112, 9, 44, 89, 0}
)

// craft makes packets. With the same seed they are the same.
type craft struct{ *rand.Rand }

func pick[T any](c craft, from []T) T { return from[c.IntN(len(from))] }

func (c craft) noise(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(c.Uint32())
	}
	return b
}

func (c craft) transport(protocol int) []byte {
	payload := concat(pick(c, [][]byte{[]byte("GET / HTTP/1.1\r\n"), []byte("HTTP/1.1 200 OK"), {}, {0, 5, 0x81, 0x80}}), c.noise(c.IntN(80)))
	ports := concat(be16(pick(c, portPool)), be16(pick(c, portPool)))
	switch protocol {
	case 6:
		flags := pick(c, []byte{0x02, 0x12, 0x10, 0x18, 0x11, 0x04, 0x14, 0xc2, 0x00})
		words := pick(c, []int{5, 5, 8, 15})
		return concat(ports, c.noise(8), []byte{byte(words << 4), flags}, c.noise(6), c.noise((words-5)*4), payload)
	case 17:
		if c.IntN(3) == 0 {
			return concat(be16(pick(c, portPool)), be16(6081), be16(8), be16(0), c.geneve())
		}
		return concat(ports, be16(8+len(payload)), be16(0), payload)
	case 132:
		return concat(ports, c.noise(8), []byte{pick(c, []byte{0, 1, 2})}, payload)
	case 1, 58:
		return concat([]byte{pick(c, []byte{8, 0, 3, 5, 9, 11, 128, 129, 133, 134, 135, 137}), pick(c, []byte{0, 4})}, c.noise(6), payload)
	}
	return concat([]byte{byte(c.IntN(6)), byte(c.IntN(6))}, payload)
}

func (c craft) geneve() []byte {
	words := c.IntN(3)
	head := concat([]byte{byte(words)}, []byte{0})
	if c.IntN(8) == 0 {
		head[0] |= 0x40
	}
	vni := concat(be32(pick(c, []int{5, 0xb, 0xffffff})<<8), c.noise(words*4))
	switch c.IntN(3) {
	case 0:
		return concat(head, be16(0x0800), vni, c.ipv4(6, false))
	case 1:
		return concat(head, be16(0x86dd), vni, c.ipv6(6))
	}
	return concat(head, be16(0x6558), vni, c.ethernet(2))
}

func (c craft) ipv4(protocol int, fragments bool) []byte {
	words := pick(c, []int{5, 5, 5, 6, 15})
	offset := 0
	if fragments {
		offset = pick(c, []int{0, 0x2000, 0x2010, 0x0010, 0x4000, 0x1fff})
	}
	body := c.transport(protocol)
	src, dst := netip.MustParseAddr(pick(c, addresses4)).As4(), netip.MustParseAddr(pick(c, addresses4)).As4()
	return concat([]byte{byte(0x40 | words), pick(c, []byte{0, 0xb8, 5})}, be16(words*4+len(body)), c.noise(2), be16(offset),
		[]byte{pick(c, []byte{64, 1, 255, 4}), byte(protocol)}, c.noise(2), src[:], dst[:], c.noise((words-5)*4), body)
}

func (c craft) ipv6(protocol int) []byte {
	body, next := c.transport(protocol), protocol
	for range c.IntN(3) { // extension headers
		kind := pick(c, []int{0, 43, 44, 60})
		size := 0
		if kind != 44 {
			size = c.IntN(2)
		}
		body = concat([]byte{byte(next), byte(size)}, c.noise(6+8*size), body)
		next = kind
	}
	src, dst := netip.MustParseAddr(pick(c, addresses6)).As16(), netip.MustParseAddr(pick(c, addresses6)).As16()
	return concat([]byte{0x60, 0, 0, 0}, be16(len(body)), []byte{byte(next), pick(c, []byte{64, 1})}, src[:], dst[:], body)
}

// tunnel is an IP packet with Geneve.
func (c craft) tunnel() []byte {
	inner := c.geneve()
	udp := concat(be16(pick(c, portPool)), be16(6081), be16(8+len(inner)), be16(0), inner)
	if c.IntN(2) == 0 {
		outer := c.ipv6(59) // no next header
		return concat(outer[:6], []byte{17}, outer[7:40], udp)
	}
	outer := c.ipv4(17, false)
	return concat(outer[:int(outer[0]&0xf)*4], udp)
}

func (c craft) ip() []byte {
	if c.IntN(6) == 0 {
		return c.tunnel()
	}
	if c.IntN(3) == 0 {
		return c.ipv6(pick(c, protocols))
	}
	return c.ipv4(pick(c, protocols), c.IntN(3) == 0)
}

func (c craft) arp() []byte {
	src, dst := netip.MustParseAddr(pick(c, addresses4)).As4(), netip.MustParseAddr(pick(c, addresses4)).As4()
	return concat(be16(1), be16(0x0800), []byte{6, 4}, be16(1+c.IntN(4)), pick(c, macs), src[:], pick(c, macs), dst[:])
}

// ethernet makes a frame; depth bounds what is inside what.
func (c craft) ethernet(depth int) []byte {
	return concat(pick(c, macs), pick(c, macs), c.typed(depth))
}

// typed is an EtherType or length and what follows it.
func (c craft) typed(depth int) []byte {
	kind := c.IntN(14)
	if depth == 0 {
		kind = c.IntN(4)
	}
	switch kind {
	case 0, 1:
		if depth > 0 && c.IntN(2) == 0 {
			tunnel := c.tunnel()
			return concat(be16(map[byte]int{4: 0x0800, 6: 0x86dd}[tunnel[0]>>4]), tunnel)
		}
		return concat(be16(0x0800), c.ipv4(pick(c, protocols), c.IntN(3) == 0))
	case 2:
		return concat(be16(0x86dd), c.ipv6(pick(c, protocols)))
	case 3:
		return concat(be16(pick(c, []int{0x0806, 0x8035})), c.arp())
	case 4, 5, 6:
		return concat(be16(pick(c, []int{0x8100, 0x88a8, 0x9100})), be16(pick(c, []int{0, 100, 200, 300, 4095})|c.IntN(16)<<12), c.typed(depth-1))
	case 7, 8:
		return concat(be16(0x8847), c.mpls())
	case 9, 10:
		ppp := concat(be16(0x0021), c.ipv4(pick(c, protocols), false))
		switch c.IntN(4) {
		case 0:
			ppp = concat(be16(0x0057), c.ipv6(pick(c, protocols)))
		case 1:
			ppp = concat(be16(pick(c, []int{0x27, 0x2b, 0x281, 0xc021})), c.noise(40))
		}
		return concat(be16(0x8864), []byte{0x11, 0}, be16(pick(c, []int{5, 0x27, 0xffff})), be16(len(ppp)), ppp)
	case 11:
		return concat(be16(pick(c, []int{0x8863, 0x6001, 0x6002, 0x6003, 0x6004, 0x6007, 0x809b, 0x80f3, 0x8137, 0x9000, 0x88cc})),
			pick(c, [][]byte{{0, 0, 0x81, 0x06}, {0, 0, 0x02}, {0, 0, 0x06}, {}}), c.noise(60))
	}
	llc := pick(c, [][]byte{
		{0xfe, 0xfe, 3, 0x83, 27, 1, 0, 15}, {0xfe, 0xfe, 3, 0x83, 27, 1, 0, 26}, {0xfe, 0xfe, 3, 0x81}, {0xfe, 0xfe, 3, 0x82}, {0x42, 0x42, 3}, {0xf0, 0xf0, 3},
		{0xe0, 0xe0, 3}, {0xff, 0xff}, {0xaa, 0xaa, 3, 0, 0, 0, 0x81, 0x37}, {0xaa, 0xaa, 3, 8, 0, 7, 0x80, 0x9b}, {0xaa, 0xaa, 3, 0, 0, 0, 0x80, 0xf3},
		{0x06, 0x06, 3}, {0x42, 0x42, byte(c.IntN(256))},
	})
	return concat(be16(pick(c, []int{46, 1500, 100})), llc, c.noise(60))
}

func (c craft) mpls() []byte {
	var stack []byte
	for range c.IntN(3) {
		stack = concat(stack, be32(c.label()<<12|64))
	}
	return concat(stack, be32(c.label()<<12|0x100|64), c.ip())
}

func (c craft) label() int { return pick(c, []int{5, 7, 1024, 100000, 1048575}) }

// packets makes n packets, a fifth of them cut off.
func (c craft) packets(raw bool, n int) []packet {
	var all []packet
	for range n {
		data := c.ethernet(3)
		if raw {
			data = c.ip()
		}
		if c.IntN(20) == 0 {
			data = c.noise(c.IntN(100))
		}
		p := packet{data, len(data)}
		if c.IntN(5) == 0 {
			p.data = data[:c.IntN(len(data)+1)]
		}
		all = append(all, p)
	}
	return all
}
