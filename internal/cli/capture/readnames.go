package capture

import (
	"net/netip"
	"strings"

	"github.com/kubectl-retina/kubectl-retina/internal/packetprint/capturefile"
)

// maxFileNames bounds the names that are kept of a file.
const maxFileNames = 1 << 20

// fileNames are the names that a capture file has. Ours are those of the DNS, as
// Wireshark shows them best: "web-1.shop" is a pod, "web.shop.svc" a service. They
// are printed as kubectl has them, if that is no guess: where the namespace is known
// from an interface's pod or from a service.
type fileNames struct {
	ours       bool // the section is from this program
	names      map[netip.Addr]string
	namespaces map[string]bool
	nodes      map[string]bool
	changes    int // how often names were added
}

// section begins another part of a file.
func (f *fileNames) section(s *capturefile.Section) {
	f.ours = strings.HasPrefix(s.Application, "kubectl-retina ")
	if f.names == nil {
		f.names, f.namespaces, f.nodes = make(map[netip.Addr]string), make(map[string]bool), make(map[string]bool)
	}
}

// of returns the node and the pod, NAMESPACE/NAME, that an interface of ours says
// that it belongs to.
func (f *fileNames) of(i *capturefile.Interface) (node, pod string) {
	if !f.ours {
		return "", ""
	}
	for part := range strings.SplitSeq(i.Description, ", ") {
		if name, ok := strings.CutPrefix(part, "node "); ok && node == "" {
			node, f.nodes[name] = name, true
		}
		if name, ok := strings.CutPrefix(part, "pod "); ok && pod == "" {
			pod = name
			namespace, _, _ := strings.Cut(name, "/")
			f.namespaces[namespace] = true
		}
	}
	return node, pod
}

// add takes the names of a block. The first one of an address counts, and those of
// a later block: an address may have changed hands.
func (f *fileNames) add(names capturefile.Names) {
	f.changes++
	added := make(map[netip.Addr]bool, len(names))
	for _, n := range names {
		addr := n.Addr.Unmap()
		if added[addr] || len(f.names) >= maxFileNames {
			continue
		}
		added[addr] = true
		f.names[addr] = n.Name
		if service, ok := strings.CutSuffix(n.Name, ".svc"); ok && f.ours {
			if _, namespace, found := cutLast(service); found {
				f.namespaces[namespace] = true
			}
		}
	}
}

// name is what an address is called: "shop/web-1", "svc shop/web", a node's name,
// what another program calls it, or "".
func (f *fileNames) name(addr netip.Addr) string {
	name := f.names[addr.Unmap()]
	if !f.ours || name == "" || f.nodes[name] {
		return name
	}
	if service, ok := strings.CutSuffix(name, ".svc"); ok {
		if short, namespace, found := cutLast(service); found {
			return "svc " + namespace + "/" + short
		}
	}
	if short, namespace, _ := cutLast(name); f.namespaces[namespace] {
		return namespace + "/" + short
	}
	return name
}
