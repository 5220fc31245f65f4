package metrics

import (
	"slices"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// Names of the plugins that fill in the fields of a [Report].
const (
	PluginForward    = "packetforward" // packets and bytes
	PluginDrops      = "dropreason"
	PluginFlows      = "packetparser"
	PluginRetransmit = "tcpretrans"
	PluginDNS        = "dns"
	PluginStats      = "linuxutil"
	PluginAPIServer  = "apiserver"
)

// Measured tells whether a plugin ran, at least in part, on a node, and the node
// has said what it counted; on any of the nodes when node is "".
func (r *Report) Measured(plugin, node string) bool {
	if !slices.Contains(r.Plugins, plugin) {
		return false
	}
	for i := range r.Nodes {
		n := &r.Nodes[i]
		if (node == "" || n.Name == node) && n.Samples > 0 && n.unsupported(plugin) == nil {
			return true
		}
	}
	return false
}

// unsupported returns why a plugin does not work at all on n. Nil: it does.
func (n *Node) unsupported(plugin string) *wire.PluginError {
	for i := range n.Unsupported {
		if n.Unsupported[i].Plugin == plugin && !n.Unsupported[i].Partial {
			return &n.Unsupported[i]
		}
	}
	return nil
}
