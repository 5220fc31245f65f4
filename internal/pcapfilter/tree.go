package pcapfilter

import "net/netip"

// expr is a node of the syntax tree, in which nothing is abbreviated.
type expr interface {
	// where is the part of the source that the node comes from.
	where() place
}

type combination struct {
	or          bool // else and
	left, right expr
}

type negation struct{ x expr }

// match is qualifiers and what they qualify.
type match struct {
	place
	qualifier qualifier
	id        id
}

// protocolTest is a protocol's name alone.
type protocolTest struct {
	place
	protocol string
}

// relation compares two numbers.
type relation struct {
	place
	operator    string // > >= = != < <=
	left, right arithmetic
}

// castTest is broadcast or multicast.
type castTest struct {
	place
	protocol  string // or ""
	multicast bool
}

// lengthTest is less or greater: at most, at least.
type lengthTest struct {
	place
	greater bool
	n       uint32
}

// byteTest is byte N operator M.
type byteTest struct {
	place
	index, value uint32
	operator     string // & | < > =
}

// layer is a header that moves the offsets of all that follows.
type layer struct {
	place
	name   string  // vlan, mpls, pppoed, pppoes, geneve
	number *uint32 // nil: any
}

// llcTest is llc with a type or without.
type llcTest struct {
	place
	kind string // or ""
}

func (c *combination) where() place { return c.left.where().to(c.right.where()) }
func (n *negation) where() place    { return n.x.where() }
func (p place) where() place        { return p }

// A qualifier says what kind of thing an id is.
type qualifier struct {
	protocol  string // or ""
	direction string // "", src, dst, "src or dst", "src and dst", or addr1..4, ra, ta
	kind      string // "", host, net, port, portrange, proto, protochain, gateway
	object    bool   // of counts instead of protocol and kind
	of        ObjectKind
	undefined bool // there is no qualifier that an id could use
}

type idKind uint8

const (
	idName idKind = iota
	idNumber
	idIPv4   // text, perhaps with a prefix or a mask
	idIPv6   // address, perhaps with a prefix
	idMAC    // text
	idARCnet // text
	idObject // namespace and text
)

// id is what follows qualifiers.
type id struct {
	kind      idKind
	text      string
	number    uint32     // of idNumber
	address   netip.Addr // of idIPv6
	mask      string     // after idIPv4, or ""
	prefix    *uint32    // after idIPv4 and idIPv6, or nil
	namespace string     // of idObject, or ""
}

// arithmetic is an expression that is a number.
type arithmetic interface{ where() place }

type number struct {
	place
	value uint32
}

// length is len: the packet's length on the wire.
type length struct{ place }

// access reads from a header.
type access struct {
	place
	protocol string
	index    arithmetic
	size     uint32
}

type calculation struct {
	operator    string
	left, right arithmetic
}

type minus struct {
	place
	x arithmetic
}

func (c *calculation) where() place { return c.left.where().to(c.right.where()) }
