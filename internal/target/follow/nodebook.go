package follow

import (
	"net/netip"
	"slices"
)

// nodeRecord is what is kept of a node.
type nodeRecord struct {
	name   string
	zone   string
	addrs  []netip.Addr
	ranges []netip.Prefix // of its pods
}

func (n *nodeRecord) key() string { return "/" + n.name }

func (b *book) setNode(node *nodeRecord) {
	b.removeNode(node.name)
	b.nodes[node.name] = node
	for _, addr := range node.addrs {
		b.nodeAddrs[addr] = node.name
	}
	for _, prefix := range node.ranges {
		b.ranges.add(prefix)
	}
}

func (b *book) removeNode(name string) {
	node := b.nodes[name]
	if node == nil {
		return
	}
	delete(b.nodes, name)
	for _, addr := range node.addrs {
		if b.nodeAddrs[addr] == name {
			delete(b.nodeAddrs, addr)
		}
	}
	for _, prefix := range node.ranges {
		b.ranges.remove(prefix)
	}
}

// A rangeSet tells quickly whether an address is in one of many ranges, which
// have few lengths.
type rangeSet struct {
	ranges  map[netip.Prefix]int // how often each was added
	lengths []int                // of ranges, sorted
}

func (r *rangeSet) add(prefix netip.Prefix) {
	if r.ranges == nil {
		r.ranges = make(map[netip.Prefix]int)
	}
	r.ranges[prefix.Masked()]++
	if i, found := slices.BinarySearch(r.lengths, prefix.Bits()); !found {
		r.lengths = slices.Insert(r.lengths, i, prefix.Bits())
	}
}

func (r *rangeSet) remove(prefix netip.Prefix) {
	prefix = prefix.Masked()
	if r.ranges[prefix]--; r.ranges[prefix] <= 0 {
		delete(r.ranges, prefix)
	}
}

func (r *rangeSet) contains(addr netip.Addr) bool {
	for _, length := range r.lengths {
		if prefix, err := addr.Prefix(length); err == nil && r.ranges[prefix] > 0 {
			return true
		}
	}
	return false
}
