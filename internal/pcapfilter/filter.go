package pcapfilter

import (
	"fmt"
	"net/netip"
)

// LinkType is what a packet begins with.
type LinkType uint8

const (
	Ethernet LinkType = iota // an Ethernet header; VLAN tags are in the packet's bytes
	Raw                      // an IPv4 or IPv6 header, as its first four bits say
)

func (l LinkType) String() string {
	switch l {
	case Ethernet:
		return "Ethernet"
	case Raw:
		return "raw IP"
	}
	return fmt.Sprintf("link type %d", uint8(l))
}

// ObjectKind is a kind of Kubernetes object that a filter can name.
type ObjectKind uint8

// The kinds that have words in the language.
const (
	Pod       ObjectKind = iota // pod
	Namespace                   // ns: all pods in it
	Service                     // svc
	Node                        // node
)

func (k ObjectKind) String() string {
	switch k {
	case Pod:
		return "pod"
	case Namespace:
		return "namespace"
	case Service:
		return "service"
	case Node:
		return "node"
	}
	return fmt.Sprintf("object kind %d", uint8(k))
}

func (k ObjectKind) word() string {
	for word, kind := range objectWords {
		if kind == k {
			return word
		}
	}
	return ""
}

// ObjectRef is a Kubernetes object as a filter names it.
type ObjectRef struct {
	Kind      ObjectKind
	Namespace string // "" where none is written: of a Pod or Service, the caller's own
	Name      string
}

// A Resolver returns the addresses of a host, at least one.
type Resolver func(name string) ([]netip.Addr, error)

// Options are what a filter is compiled with. The zero value compiles filters
// without names of hosts and objects.
type Options struct {
	// SnapLen is what the program returns for a packet that it accepts; 0 means
	// 262144.
	SnapLen uint32
	// Resolver looks up names of hosts. nil: a filter that has one is refused.
	Resolver Resolver
	// Objects returns the current addresses of a Kubernetes object; there may be
	// none. nil: a filter that names one is refused.
	Objects func(ObjectRef) ([]netip.Addr, error)
	// LiveObjects makes a program that loads SourceObjects and DestinationObjects
	// instead of comparing addresses, so that they can change while it is used.
	// Objects is not asked then.
	LiveObjects bool
	// Netmask is of the network that packets are taken from, for ip broadcast. The
	// zero value: it is not known, and a filter that needs it is refused.
	Netmask netip.Addr
}

// MaxObjects is how many objects a filter can name that is compiled for
// LiveObjects: each has a bit of a word.
const MaxObjects = 32

// Filter is a valid expression. It does not change, so several goroutines may
// use it.
type Filter struct {
	tree expr // nil: accepts everything
}

// Parse checks an expression and everything in it that depends neither on the
// link type nor on Options. The empty expression accepts every packet. An error
// is an *Error, with its hint as package hint has them.
func Parse(expr string) (*Filter, error) {
	tree, err := parse(expr)
	if err != nil {
		return nil, err
	}
	f := &Filter{tree}
	// What Ethernet cannot compile, no link type can.
	if _, _, err := generate(tree, Ethernet, anyNames()); err != nil {
		return nil, err
	}
	return f, nil
}

// anyNames are options that know every name.
func anyNames() Options {
	some := []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, 1}), netip.MustParseAddr("2001:db8::1")}
	return Options{
		Resolver: func(string) ([]netip.Addr, error) { return some, nil },
		Objects:  func(ObjectRef) ([]netip.Addr, error) { return some, nil },
		Netmask:  netip.AddrFrom4([4]byte{}),
	}
}

// Compile makes the program for packets of a link type. It fails for what that
// link type cannot have, for names that cannot be resolved, and for a filter
// that no packet can pass.
func (f *Filter) Compile(link LinkType, opts Options) (Program, error) {
	if opts.SnapLen == 0 {
		opts.SnapLen = 262144
	}
	condition, values, err := generate(f.tree, link, opts)
	if err != nil {
		return nil, err
	}
	g := newGraph(values)
	root := g.optimize(g.initialize(g.lower(condition, accept, reject)))
	if root == reject {
		return nil, rejectsAll(f.tree, link)
	}
	return emit(g, root, f.tree, opts.SnapLen)
}

func rejectsAll(tree expr, link LinkType) (err error) {
	defer catch(&err)
	wholeOf(tree).fail("", "no packet can pass this filter on %s", link)
	return nil
}

// wholeOf is a tree's place; of a tree with several expressions the first's.
func wholeOf(tree expr) place {
	if b, ok := tree.(*combination); ok && wholeOf(b.left).expr != wholeOf(b.right).expr {
		return wholeOf(b.left)
	}
	return tree.where()
}

// Empty reports whether the filter accepts every packet because it is the empty
// expression.
func (f *Filter) Empty() bool { return f == nil || f.tree == nil }

// Objects returns the Kubernetes objects that the filter names, in its order,
// each once.
func (f *Filter) Objects() []ObjectRef {
	var refs []ObjectRef
	seen := make(map[ObjectRef]bool)
	walk(f.tree, func(e expr) {
		if m, ok := e.(*match); ok && m.id.kind == idObject {
			if ref := m.ref(); !seen[ref] {
				seen[ref] = true
				refs = append(refs, ref)
			}
		}
	})
	return refs
}

func (m *match) ref() ObjectRef {
	return ObjectRef{Kind: m.qualifier.of, Namespace: m.id.namespace, Name: m.id.text}
}

// walk calls visit for the leaves of a tree, from left to right.
func walk(tree expr, visit func(expr)) {
	switch e := tree.(type) {
	case nil:
	case *combination:
		walk(e.left, visit)
		walk(e.right, visit)
	case *negation:
		walk(e.x, visit)
	default:
		visit(e)
	}
}

// And accepts what all filters accept. Empty ones count for nothing. As inside
// an expression, vlan, mpls, pppoes and geneve change what the filters after
// theirs look at.
func And(filters ...*Filter) *Filter { return combine(false, filters) }

// Or accepts what at least one filter accepts; with an empty one among them,
// everything. Of headers the same holds as for And.
func Or(filters ...*Filter) *Filter {
	for _, f := range filters {
		if f.Empty() {
			return &Filter{}
		}
	}
	return combine(true, filters)
}

func combine(or bool, filters []*Filter) *Filter {
	var tree expr
	for _, f := range filters {
		switch {
		case f.Empty():
		case tree == nil:
			tree = f.tree
		default:
			tree = &combination{or: or, left: tree, right: f.tree}
		}
	}
	return &Filter{tree}
}

// Not accepts what f does not. Not of the empty filter cannot be compiled: no
// packet passes.
func Not(f *Filter) *Filter {
	if f.Empty() {
		one := number{value: 1}
		return &Filter{&relation{place{"1 != 1", 0, 6}, "!=", one, one}}
	}
	return &Filter{&negation{f.tree}}
}
