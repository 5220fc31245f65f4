package pcapfilter

// EtherTypes, and 802.2 service access points where the number is at most
// maxFrameLength.
const (
	typeIPv4, typeIPv6, typeARP, typeRARP  = 0x0800, 0x86dd, 0x0806, 0x8035
	typeVLAN, typeVLAN8021ad, typeVLANQinQ = 0x8100, 0x88a8, 0x9100
	typeMPLS, typePPPoED, typePPPoES       = 0x8847, 0x8863, 0x8864
	typeEthernet                           = 0x6558 // inside Geneve
	typeATalk, typeAARP, typeIPX           = 0x809b, 0x80f3, 0x8137
	typeMOPDL, typeMOPRC, typeDECnet       = 0x6001, 0x6002, 0x6003
	typeLAT, typeSCA, typeLoopback         = 0x6004, 0x6007, 0x9000
	sapSTP, sapIPX, sapNetBEUI, sapISO     = 0x42, 0xe0, 0xf0, 0xfe
	sapIP, sapSNAP                         = 0x06, 0xaa
	maxFrameLength                         = 1500
)

// Numbers of protocols over IP and over OSI.
const (
	protocolICMP, protocolIGMP, protocolTCP, protocolIGRP, protocolUDP = 1, 2, 6, 9, 17
	protocolFragment, protocolESP, protocolAH, protocolICMP6           = 44, 50, 51, 58
	protocolPIM, protocolVRRP, protocolSCTP                            = 103, 112, 132
	osiCLNP, osiESIS, osiISIS                                          = 0x81, 0x82, 0x83
)

type linkKind uint8

const (
	linkEthernet linkKind = iota
	linkRaw
	linkPPP // inside PPPoE
)

// offset is a place in the packet: k bytes after base, which is noValue for the
// packet's beginning.
type offset struct {
	base valueID
	k    uint32
}

func (o offset) plus(k uint32) offset { return offset{o.base, o.k + k} }

// generator makes conditions of a tree. It goes through the tree from left to
// right, because a word like vlan moves the offsets for all that follows it,
// and not only for what it is combined with by and.
type generator struct {
	*values
	options Options

	link    linkKind
	header  offset // of the link layer
	etype   offset // the type field of the link layer
	payload offset // after the link layer
	network uint32 // from payload to the network layer
	llc     uint32 // from payload to what follows an 802.2 header
	labels  int    // MPLS labels so far
	geneve  bool   // the link layer is inside Geneve, and perhaps there is none
	slot    uint32 // next free one
	objects []ObjectRef
}

func generate(tree expr, link LinkType, opts Options) (c condition, v *values, err error) {
	defer catch(&err)
	g := &generator{values: newValues(), options: opts, objects: (&Filter{tree}).Objects()}
	g.header, g.etype, g.payload = offset{noValue, 0}, offset{noValue, 12}, offset{noValue, 14}
	g.llc = 3
	if link == Raw {
		g.link, g.payload, g.llc = linkRaw, offset{noValue, 0}, 0
	}
	if tree == nil {
		return fixed(true), g.values, nil
	}
	return g.condition(tree), g.values, nil
}

func (g *generator) condition(tree expr) condition {
	switch e := tree.(type) {
	case *combination:
		left := g.condition(e.left)
		right := g.condition(e.right)
		if e.or {
			return either{left, right}
		}
		return both{left, right}
	case *negation:
		return inverse{g.condition(e.x)}
	case *match:
		return g.match(e)
	case *protocolTest:
		return g.protocol(e.place, e.protocol)
	case *relation:
		return g.relation(e)
	case *castTest:
		return g.cast(e)
	case *lengthTest:
		if e.greater {
			return test{opJge, g.length(), g.constant(e.n)}
		}
		return inverse{test{opJgt, g.length(), g.constant(e.n)}}
	case *byteTest:
		return g.byteTest(e)
	case *layer:
		return g.layer(e)
	case *llcTest:
		return g.llcTest(e)
	}
	panic("a tree has no other nodes")
}

// at loads size bytes, k after an offset.
func (g *generator) at(o offset, k uint32, size uint8) valueID {
	return g.load(size, o.base, o.k+k)
}

// equal tests whether size bytes at k after an offset are n.
func (g *generator) equal(o offset, k uint32, size uint8, n uint32) condition {
	return test{opJeq, g.at(o, k, size), g.constant(n)}
}

// masked is equal for the bits of a mask.
func (g *generator) masked(o offset, k uint32, size uint8, n, mask uint32) condition {
	return test{opJeq, g.math(opAnd, g.at(o, k, size), g.constant(mask)), g.constant(n)}
}

// bytes tests for a sequence, from its end, four bytes at a time.
func (g *generator) bytes(o offset, k uint32, sequence []byte) condition {
	var tests []condition
	for end := len(sequence); end > 0; {
		size := 4
		for size > end {
			size /= 2
		}
		end -= size
		var n uint32
		for _, b := range sequence[end : end+size] {
			n = n<<8 | uint32(b)
		}
		tests = append(tests, g.equal(o, k+uint32(end), uint8(size), n))
	}
	return all(tests...)
}

// net is where the network layer begins.
func (g *generator) net() offset { return g.payload.plus(g.network) }

// directed applies a direction to a test of a source or a destination.
func directed(direction string, test func(source bool) condition) condition {
	switch direction {
	case "src":
		return test(true)
	case "dst":
		return test(false)
	case "src and dst":
		return both{test(true), test(false)}
	}
	return either{test(true), test(false)}
}

func (g *generator) byteTest(b *byteTest) condition {
	loaded, n := g.at(g.header, b.index, 1), g.constant(b.value)
	switch b.operator {
	case "=":
		return test{opJeq, loaded, n}
	case "<":
		return inverse{test{opJge, loaded, n}}
	case ">":
		return test{opJgt, loaded, n}
	case "&":
		return inverse{test{opJeq, g.math(opAnd, loaded, n), g.constant(0)}}
	}
	return inverse{test{opJeq, g.math(opOr, loaded, n), g.constant(0)}}
}
