package metrics

import (
	"cmp"
	"strings"
)

// Interface is what the kernel counts of one interface of a target, from
// packetforward. A target's interfaces add up to its packets and bytes: of a node only
// its uplinks are here.
type Interface struct {
	Target Party `json:"target"`
	// Name is the ifname in the target's netns. It is empty for what is known of no
	// single one any more.
	Name       string `json:"name"`
	PacketsIn  uint64 `json:"packetsIn"` // towards the target
	PacketsOut uint64 `json:"packetsOut"`
	BytesIn    uint64 `json:"bytesIn"` // with link-layer headers
	BytesOut   uint64 `json:"bytesOut"`
}

type interfaceKey struct {
	target partyKey
	name   string
}

func (i *Interface) key() interfaceKey { return interfaceKey{i.Target.key(), i.Name} }

func (k interfaceKey) compare(l interfaceKey) int {
	return cmp.Or(k.target.compare(l.target), strings.Compare(k.name, l.name))
}

func (i *Interface) merge(other *Interface) {
	i.PacketsIn, i.PacketsOut = plus(i.PacketsIn, other.PacketsIn), plus(i.PacketsOut, other.PacketsOut)
	i.BytesIn, i.BytesOut = plus(i.BytesIn, other.BytesIn), plus(i.BytesOut, other.BytesOut)
}

func (i *Interface) since(before *Interface) {
	if i.PacketsIn < before.PacketsIn || i.PacketsOut < before.PacketsOut || i.BytesIn < before.BytesIn || i.BytesOut < before.BytesOut {
		return
	}
	i.PacketsIn, i.PacketsOut = i.PacketsIn-before.PacketsIn, i.PacketsOut-before.PacketsOut
	i.BytesIn, i.BytesOut = i.BytesIn-before.BytesIn, i.BytesOut-before.BytesOut
}
